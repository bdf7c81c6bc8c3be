"""A first job that nobody waits for: it loads the models before the worker offers a slot."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import msgspec

from services.chassis.settings import SettingsError
from services.gpu_worker.ports import FOLDER, Renderer, RenderError, RenderJob

_SEED = 1


class WarmUp:
    """A workflow to run once on every ComfyUI that has come up."""

    def __init__(self, graph: str, seconds: float) -> None:
        """``graph`` is ComfyUI's API format, as JSON text; ``seconds`` is how long it may take.

        Raises:
            ValueError: it is no graph, or saves no image.
        """
        self._graph = graph
        self._seconds = seconds
        self._bindings = {"filename_prefix": _prefixes(graph)}

    def run(self, renderer: Renderer) -> tuple[RenderError | None, str]:
        """Draw it and throw the images away; returns how it failed, if it did, and the id that it ran under."""
        prompt_id = f"warm-up-{uuid.uuid4().hex}"
        job = RenderJob(
            prompt_id=prompt_id,
            graph=self._graph,
            bindings=self._bindings,
            seed=_SEED,
            images=1,
            filename_prefix=f"{FOLDER}/{prompt_id}",
        )
        deadline = time.monotonic() + self._seconds
        try:
            renderer.run(job, deadline=deadline, on_progress=lambda phase, percent: None)
        except RenderError as failure:
            return failure, prompt_id
        return None, prompt_id


def open_warm_up(path: str, seconds: float) -> WarmUp | None:
    """The warm-up that the settings name, if any.

    Raises:
        SettingsError: the file cannot be read, or holds no workflow.
    """
    if not path:
        return None
    try:
        return WarmUp(Path(path).expanduser().read_text(encoding="utf-8"), seconds)
    except (OSError, ValueError) as error:
        raise SettingsError(f"WORKER_WARM_UP is no workflow in ComfyUI's API format: {error}.") from error


def _prefixes(graph: str) -> list[str]:
    try:
        nodes = msgspec.json.decode(graph, type=dict[str, dict[str, object]])
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    places = [f"{node_id}.filename_prefix" for node_id, node in nodes.items() if _saves(node)]
    if not places:
        raise ValueError("it has no SaveImage node")
    return places


def _saves(node: dict[str, object]) -> bool:
    return node.get("class_type") == "SaveImage"
