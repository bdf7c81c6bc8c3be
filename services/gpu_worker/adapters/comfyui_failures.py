"""What each of ComfyUI's ways to fail means to us.

Pure.  A refusal (an answer to POST /prompt), an ``execution_error`` event and a history entry each become one
`RenderError`.  Tracebacks and input values, which hold server paths and the prompt, are dropped here for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from services.gpu_worker.graph import MODEL_INPUTS
from services.gpu_worker.ports import (
    BadInputImage,
    CheckpointMissing,
    DiskFull,
    GraphRefused,
    Interrupted,
    ModelUnreadable,
    NodeFailed,
    OutOfMemory,
    RenderError,
)

_DETAIL_CHARACTERS = 300


class Raised(NamedTuple):
    """What is known of an exception in a node."""

    node_type: str
    exception: str  #: the type's full name, such as ``torch.OutOfMemoryError``
    message: str  #: lower case

    @property
    def in_loader(self) -> bool:
        """Whether the node loads a model file."""
        return "Loader" in self.node_type

    def says(self, *parts: str) -> bool:
        """Whether the message holds one of these."""
        return any(part in self.message for part in parts)


#: The first rule that fits names the failure.  Memory and disk come first: they strike in any node.
RULES: tuple[tuple[Callable[[Raised], bool], type[RenderError]], ...] = (
    (lambda r: r.exception.endswith("InterruptProcessingException"), Interrupted),
    (lambda r: r.exception.endswith("OutOfMemoryError"), OutOfMemory),
    (lambda r: r.says("out of memory", "not enough memory", "can't allocate memory"), OutOfMemory),
    (lambda r: r.says("no space left on device", "disk quota exceeded"), DiskFull),
    (lambda r: r.node_type.startswith("LoadImage"), BadInputImage),
    (lambda r: r.in_loader and r.exception.endswith("FileNotFoundError"), CheckpointMissing),
    (lambda r: r.in_loader and r.says("not found", "no such file"), CheckpointMissing),
    (lambda r: r.in_loader, ModelUnreadable),
)


def of_execution_error(data: Mapping[str, Any]) -> RenderError:
    """Name the failure that an ``execution_error`` event tells of."""
    node_type, exception = str(data.get("node_type")), str(data.get("exception_type"))
    message = str(data.get("exception_message"))
    raised = Raised(node_type, exception, message.lower())
    kind = next((kind for fits, kind in RULES if fits(raised)), NodeFailed)
    return kind(f"{node_type} {data.get('node_id')} raised {exception}: {_first_line(message)}")


def of_interruption(data: Mapping[str, Any]) -> RenderError:
    """Name the failure that an ``execution_interrupted`` event tells of."""
    return Interrupted(f"stopped in {data.get('node_type')} {data.get('node_id')}")


def of_refusal(body: Mapping[str, Any]) -> RenderError:
    """Name the failure in an answer to POST /prompt: a 400, or a 200 that refuses some of the outputs.

    Where several nodes are at fault, what no other worker could mend decides.
    """
    faults = list(_node_faults(body))
    kinds = {kind for kind, _ in faults} or {GraphRefused}
    kind = next(k for k in (GraphRefused, BadInputImage, CheckpointMissing) if k in kinds)
    error = body.get("error")
    named = str(error.get("type")) if isinstance(error, Mapping) else "some outputs refused"
    return kind("; ".join([named, *(detail for _, detail in faults)])[: 2 * _DETAIL_CHARACTERS])


def of_history(entry: Mapping[str, Any]) -> RenderError:
    """Name the failure that a history entry tells of: an interruption has the same ``status_str`` as an error."""
    status = entry.get("status") or {}
    for kind, data in reversed([tuple(message) for message in status.get("messages", ())]):
        if kind == "execution_error":
            return of_execution_error(data)
        if kind == "execution_interrupted":
            return of_interruption(data)
    return NodeFailed(f"history says {status.get('status_str')!r} without a reason")


def _node_faults(body: Mapping[str, Any]) -> Iterator[tuple[type[RenderError], str]]:
    for node_id, node in (body.get("node_errors") or {}).items():
        for error in node.get("errors", ()):
            info = error.get("extra_info") or {}
            name, kind = str(info.get("input_name", "")), str(error.get("type"))
            detail = f"{node.get('class_type')} {node_id}: {kind} {name}".rstrip()
            if name in MODEL_INPUTS:
                detail += f" {info.get('received_value')!r}"  # a file name, never a user's words
            yield _kind_of_refusal(str(node.get("class_type")), kind, name), detail


def _kind_of_refusal(class_type: str, kind: str, name: str) -> type[RenderError]:
    if kind == "value_not_in_list" and name in MODEL_INPUTS:
        return CheckpointMissing
    if class_type.startswith("LoadImage") and kind in ("custom_validation_failed", "value_not_in_list"):
        return BadInputImage
    return GraphRefused


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0][:_DETAIL_CHARACTERS]
