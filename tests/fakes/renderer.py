"""`FakeRenderer`: the renderer port in memory, for tests of what stands on it.

It behaves as ``tests/ports/test_renderer_port.py`` demands of every renderer; what the next jobs do is scripted.
"""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable

from PIL import Image, UnidentifiedImageError

from services.contracts.events import Phase
from services.gpu_worker.graph import Graph, GraphError, bind_graph, model_files
from services.gpu_worker.ports import (
    BadInputImage,
    CheckpointMissing,
    ComfyUIUnreachable,
    DeadlineExceeded,
    GraphRefused,
    Interrupted,
    OnProgress,
    RenderedImage,
    RendererInfo,
    RenderError,
    Rendering,
    RenderJob,
)


class FakeRenderer:
    """Draws plain squares at once, unless told otherwise."""

    def __init__(
        self,
        checkpoints: tuple[str, ...] = ("v1-5-pruned-emaonly.safetensors",),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ran: list[RenderJob] = []  #: jobs that reached the "GPU", in order
        self.interrupted: list[str] = []  #: prompt ids that `interrupt` was called with
        self.alive = True  #: false: nothing answers
        self._checkpoints = checkpoints
        self._clock = clock
        self._script: deque[RenderError | str] = deque()
        self._done: dict[str, Rendering] = {}
        self._current: str | None = None
        self._stop = threading.Event()
        self._goes_on = threading.Event()
        self._end: RenderError | None = None
        self._closed = False
        self._loaded: tuple[str, ...] = ()

    def fail_next(self, error: RenderError) -> None:
        """Let the next job without a script raise this once it runs."""
        self._script.append(error)

    def hang_next(self, *, ignoring_interrupt: bool = False, until_told: bool = False) -> None:
        """Let the next job without a script run for ever, or until `go_on`."""
        self._goes_on.clear()
        self._script.append("stuck" if ignoring_interrupt else "wait" if until_told else "hang")

    def go_on(self) -> None:
        """Let a job that hangs until told end well."""
        self._goes_on.set()
        self._stop.set()

    def fail_when_told(self, error: RenderError) -> None:
        """Let the job that hangs until told raise this at `go_on`."""
        self._end = error

    def break_next(self) -> None:
        """Let the next job without a script raise what no renderer should."""
        self._script.append("break")

    def run(self, job: RenderJob, *, deadline: float, on_progress: OnProgress) -> Rendering:
        """See `Renderer.run`."""
        if job.maybe_known and job.prompt_id in self._done:
            return self._done[job.prompt_id]
        self._stop.clear()
        self._current = job.prompt_id
        try:
            graph = self._prepare(job, deadline)
            self.ran.append(job)
            self._act(deadline, on_progress)
            return self._draw(job, graph, on_progress)
        finally:
            self._current = None

    def interrupt(self, prompt_id: str) -> bool:
        """See `Renderer.interrupt`."""
        if not self.alive:
            raise ComfyUIUnreachable("the fake is down")
        self.interrupted.append(prompt_id)
        if self._current != prompt_id:
            return False
        self._stop.set()
        return True

    def describe(self) -> RendererInfo:
        """See `Renderer.describe`."""
        if not self.alive:
            raise ComfyUIUnreachable("the fake is down")
        return RendererInfo(gpu="fake", vram_bytes=8 * 1024**3, checkpoints=self._checkpoints, loras=())

    def loaded(self) -> tuple[str, ...]:
        """See `Renderer.loaded`."""
        return self._loaded

    def ready(self) -> bool:
        """See `Renderer.ready`."""
        return self.alive and not self._closed

    def close(self) -> None:
        """See `Renderer.close`."""
        self._closed = True
        self._stop.set()

    def _prepare(self, job: RenderJob, deadline: float) -> Graph:
        if not self.alive:
            self._loaded = ()
            raise ComfyUIUnreachable("the fake is down")
        if self._closed:
            raise Interrupted("the renderer was closed")
        if self._clock() >= deadline:
            raise DeadlineExceeded("the deadline had passed before the job was posted", stuck=False)
        for entry in job.inputs:
            _check_image(entry.data)
        values = {entry.parameter: "uploaded.png" for entry in job.inputs}
        bound = {"seed": job.seed, "filename_prefix": job.filename_prefix, "batch_size": job.images, **values}
        try:
            graph = bind_graph(job.graph, job.bindings, bound)
        except GraphError as error:
            raise GraphRefused(str(error)) from error
        if missing := [name for name in model_files(graph) if name not in self._checkpoints]:
            raise CheckpointMissing(f"no file {missing[0]!r}")
        return graph

    def _act(self, deadline: float, on_progress: OnProgress) -> None:
        on_progress(Phase.STARTING, 0)
        told = self._script.popleft() if self._script else None
        if isinstance(told, RenderError):
            raise told
        if told == "break":
            raise ZeroDivisionError("a fault of ours")
        if told is None:
            return
        while self._clock() < deadline:
            stopped = self._stop.wait(min(0.05, max(0.0, deadline - self._clock())))
            if told == "wait" and self._goes_on.is_set():
                if self._end is not None:
                    raise self._end
                return
            if stopped and told != "stuck":
                raise Interrupted("stopped")
        raise DeadlineExceeded("not done in time", stuck=told == "stuck")

    def _draw(self, job: RenderJob, graph: Graph, on_progress: OnProgress) -> Rendering:
        on_progress(Phase.RUNNING, 50)
        images = tuple(_square(job.seed + index) for index in range(job.images))
        on_progress(Phase.RUNNING, 100)
        self._loaded = model_files(graph)
        self._done[job.prompt_id] = Rendering(images=images, gpu_seconds=0.01)
        return self._done[job.prompt_id]


def _square(seed: int) -> RenderedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (seed % 256, seed // 256 % 256, 127)).save(buffer, "PNG")
    return RenderedImage(data=buffer.getvalue(), width=64, height=64)


def _check_image(data: bytes) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise BadInputImage("the input is no image") from error
