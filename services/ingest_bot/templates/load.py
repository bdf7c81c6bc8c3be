"""Reads workflow folders: ``<folder>/<name>/graph.json`` and ``manifest.yaml``.  The engine's only I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.check import check
from services.ingest_bot.templates.graph import read_graph
from services.ingest_bot.templates.manifest import read_manifest
from services.ingest_bot.templates.problems import GRAPH, MANIFEST, Problem, WorkflowError
from services.ingest_bot.templates.workflow import Workflow

#: The workflows that ship.
BUILT_IN = Path(__file__).parent.parent / "workflows"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


def load_catalogue(folders: Sequence[Path] = ()) -> Catalogue:
    """The built-in workflows and those of ``folders``, where a later one replaces an earlier of the same name.

    Raises:
        WorkflowError: with every fault of the first folder that has any.
    """
    workflows: dict[str, Workflow] = {}
    for root in (BUILT_IN, *folders):
        for folder in _subfolders(root):
            workflows[folder.name] = load_workflow(folder)
    return Catalogue.of(workflows.values())


def load_workflow(folder: Path) -> Workflow:
    """Read and check one folder.

    Raises:
        WorkflowError: naming file, field, what was found and what was expected.
    """
    if not _NAME.fullmatch(folder.name):
        text = "a workflow's folder has lower-case letters, digits and dashes, and starts with a letter"
        raise WorkflowError(str(folder), [Problem("", "", text)])
    graph = read_graph(_read(folder, GRAPH))
    manifest = read_manifest(_read(folder, MANIFEST))
    faults = [*(graph if isinstance(graph, list) else ()), *(manifest if isinstance(manifest, list) else ())]
    if isinstance(graph, list) or isinstance(manifest, list):
        raise WorkflowError(str(folder), faults)
    if problems := check(manifest, graph):
        raise WorkflowError(str(folder), problems)
    return Workflow.build(folder.name, manifest, graph)


def _subfolders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")
    except OSError as error:
        text = f"cannot be read ({error.strerror}); expected a folder of workflows"
        raise WorkflowError(str(root), [Problem("", "", text)]) from error


def _read(folder: Path, name: str) -> Any:
    try:
        text = (folder / name).read_text(encoding="utf-8")
        return json.loads(text) if name == GRAPH else yaml.safe_load(text)
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); expected {GRAPH} and {MANIFEST}"
    except (ValueError, yaml.YAMLError) as error:
        problem = f"is not {'JSON' if name == GRAPH else 'YAML'} in UTF-8: {' '.join(str(error).split())}"
    raise WorkflowError(str(folder), [Problem(name, "", problem)])
