"""What ComfyUI's events say of one prompt, one frame at a time.

Pure: no socket, no clock.  ComfyUI sends, over a connection shared by all jobs of a client: ``status``,
``execution_start``, ``execution_cached``, ``progress_state``, ``executing``, ``progress``, ``executed``,
``execution_success`` or ``execution_error`` or ``execution_interrupted``, and ``executing`` with no node some time
after that.  Custom nodes add types of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from services.contracts.events import Phase
from services.gpu_worker.adapters import comfyui_failures
from services.gpu_worker.graph import Graph
from services.gpu_worker.ports import RenderError

#: About the server or the connection, not about a prompt.
_NOT_ABOUT_A_PROMPT = frozenset({"status", "feature_flags", "progress_text"})


class OutputFile(NamedTuple):
    """An image that ComfyUI wrote, as ``/view`` names it."""

    filename: str
    subfolder: str
    type: str  #: ``output``, or ``temp`` for a preview node's


class PromptView:
    """What is known of one prompt."""

    def __init__(self, prompt_id: str, graph: Graph) -> None:
        self._prompt_id = prompt_id
        self._weights = {node_id: _weight(node["inputs"]) for node_id, node in graph.items()}
        self._done: dict[str, float] = {}  # fractions by node
        self._current: str | None = None
        self.started = False
        self.left = False  #: ComfyUI has gone on from it; if no end was seen, the history knows it
        self.phase = Phase.STARTING
        self.percent = 0
        self.files: list[OutputFile] = []
        self.succeeded = False
        self.error: RenderError | None = None
        self.ignored = 0  #: frames of types that nobody here knows
        self._handlers = {
            "execution_start": self._on_start,
            "execution_cached": self._on_cached,
            "progress_state": self._on_progress_state,
            "executing": self._on_executing,
            "progress": self._on_progress,
            "executed": self._on_executed,
            "execution_success": self._on_success,
            "execution_error": self._on_error,
            "execution_interrupted": self._on_interrupted,
        }

    @property
    def ended(self) -> bool:
        """Whether it succeeded or failed.  ``executing`` without a node says no more, and comes late."""
        return self.succeeded or self.error is not None

    def feed(self, frame: str | bytes) -> None:
        """Take in one frame.  Binary frames are preview images, which nobody asked for here."""
        if isinstance(frame, bytes):
            return
        kind, data = _parse(frame)
        handler = self._handlers.get(kind)
        if handler is None or data is None:
            self.ignored += kind not in _NOT_ABOUT_A_PROMPT
        elif data.get("prompt_id") == self._prompt_id and not self.ended:
            # After a reconnect ``executing`` comes without a prompt id: it may be about anybody's prompt.
            self.started = True
            handler(data)

    def take_history(self, entry: Mapping[str, Any]) -> None:
        """Take in the history entry of the finished prompt, which knows everything that was missed."""
        status = entry.get("status") or {}
        if status.get("status_str") != "success":
            self.error = comfyui_failures.of_history(entry)
            return
        self.files = [f for output in (entry.get("outputs") or {}).values() for f in _files(output)]
        self._on_success({})

    def _on_start(self, data: Mapping[str, Any]) -> None:
        """That it started, any event about it says."""

    def _on_cached(self, data: Mapping[str, Any]) -> None:
        self._done.update((str(node_id), 1.0) for node_id in data.get("nodes", ()))
        self._count()

    def _on_executing(self, data: Mapping[str, Any]) -> None:
        if self._current is not None:
            self._done[self._current] = 1.0
        self._current = data.get("node")
        self.left = self._current is None
        self._count()

    def _on_progress(self, data: Mapping[str, Any]) -> None:
        self.phase = Phase.RUNNING
        self._set(str(data.get("node")), data)
        self._count()

    def _on_progress_state(self, data: Mapping[str, Any]) -> None:
        for node_id, state in (data.get("nodes") or {}).items():
            if state.get("state") == "finished":
                self._done[str(node_id)] = 1.0
            else:
                self._set(str(node_id), state)
        self._count()

    def _on_executed(self, data: Mapping[str, Any]) -> None:
        self.files += [f for f in _files(data.get("output") or {}) if f not in self.files]

    def _on_success(self, data: Mapping[str, Any]) -> None:
        self.succeeded = True
        self.phase, self.percent = Phase.RUNNING, 100

    def _on_error(self, data: Mapping[str, Any]) -> None:
        self.error = comfyui_failures.of_execution_error(data)

    def _on_interrupted(self, data: Mapping[str, Any]) -> None:
        self.error = comfyui_failures.of_interruption(data)

    def _set(self, node_id: str, state: Mapping[str, Any]) -> None:
        value, top = state.get("value"), state.get("max")
        if isinstance(value, int | float) and isinstance(top, int | float) and top > 0:
            self._done[node_id] = max(self._done.get(node_id, 0.0), min(1.0, value / top))

    def _count(self) -> None:
        """Recount the percentage; only success makes it 100.  It never falls, since no node's share does."""
        total = sum(self._weights.values()) or 1.0
        done = sum(self._weights.get(node_id, 0.0) * share for node_id, share in self._done.items())
        self.percent = min(99, int(100 * done / total))


def choose_files(files: Iterable[OutputFile]) -> list[OutputFile]:
    """The job's images: what save nodes wrote; what preview nodes showed only where nothing was saved."""
    found = list(files)
    return [f for f in found if f.type == "output"] or found


def _parse(frame: str) -> tuple[str, dict[str, Any] | None]:
    try:
        message = msgspec.json.decode(frame)
    except msgspec.DecodeError:
        return "", None
    if not isinstance(message, dict):
        return "", None
    data = message.get("data")
    return str(message.get("type")), data if isinstance(data, dict) else None


def _weight(inputs: Mapping[str, Any]) -> float:
    """How much of the work a node is: a sampler counts its steps, anything else one step."""
    steps = inputs.get("steps")
    return float(steps) if isinstance(steps, int) and steps > 0 else 1.0


def _files(output: Mapping[str, Any]) -> list[OutputFile]:
    return [
        OutputFile(str(image["filename"]), str(image.get("subfolder", "")), str(image.get("type", "output")))
        for image in output.get("images") or ()
        if isinstance(image, dict) and "filename" in image
    ]
