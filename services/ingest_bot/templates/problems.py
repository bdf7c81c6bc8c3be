"""What is wrong with a workflow's files.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.contracts.errors import PermanentError

GRAPH = "graph.json"
MANIFEST = "manifest.yaml"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where, and what was found instead of what was expected."""

    file: str
    field: str  #: such as ``parameters.ar.default``, or empty for the file as a whole
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.field, self.text) if part)


class WorkflowError(PermanentError, ValueError):
    """Workflows cannot be used; lists every fault that was found, one a line."""

    def __init__(self, folder: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{folder}{'/' if p.file else ': '}{p}" for p in self.problems))
