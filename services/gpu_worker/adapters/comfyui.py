"""The real renderer: one ComfyUI, over HTTP and one websocket that stays open across jobs."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from services.gpu_worker.adapters.comfyui_http import ComfyUIAway, ComfyUIHttp, Place
from services.gpu_worker.adapters.comfyui_run import Counts, JobRun, Timing
from services.gpu_worker.adapters.comfyui_socket import ComfyUISocket, SocketLost
from services.gpu_worker.ports import (
    ComfyUIDied,
    ComfyUIUnreachable,
    OnProgress,
    RendererInfo,
    RenderError,
    Rendering,
    RenderJob,
)

_DEFAULT_TIMING = Timing()


class ComfyUIRenderer:
    """Draws on one ComfyUI.

    Two connections are kept: the websocket, read by `run` alone, and HTTP.  ``client_id`` decides who hears of a
    job: keep it across a worker's restarts, so that a job taken up again is heard of too.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str = "",
        timing: Timing = _DEFAULT_TIMING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self._client_id = client_id or uuid.uuid4().hex
        self._timing = timing
        self._clock = clock
        self._http = ComfyUIHttp(url, connect_seconds=timing.connect, seconds=timing.answer)
        self._urgent = ComfyUIHttp(url, connect_seconds=timing.connect, seconds=timing.grace)
        self._socket = ComfyUISocket(url, self._client_id, connect_seconds=timing.connect)
        self._busy = threading.Lock()  # held by whoever uses the socket
        self._current: JobRun | None = None
        self._closed = False
        self._loaded: tuple[str, ...] = ()

    def run(self, job: RenderJob, *, deadline: float, on_progress: OnProgress) -> Rendering:
        """See `Renderer.run`."""
        with self._busy:
            run = JobRun(
                job,
                self._http,
                self._urgent,
                self._socket,
                client_id=self._client_id,
                deadline=deadline,
                on_progress=on_progress,
                timing=self._timing,
                counts=self.counts,
                clock=self._clock,
            )
            self._current = run
            if self._closed:  # `close` looks at `_current` only after it has said so
                run.abandon()
            try:
                rendering = run.execute()
                self._loaded = run.models
                return rendering
            except RenderError as error:
                if isinstance(error, ComfyUIDied | ComfyUIUnreachable):
                    self._loaded = ()  # whatever was in memory went with it
                raise
            finally:
                self._current = None

    def interrupt(self, prompt_id: str) -> bool:
        """See `Renderer.interrupt`."""
        run = self._current
        is_current = run is not None and run.job.prompt_id == prompt_id
        if is_current and run is not None:
            run.ask_to_stop()
        try:
            place = self._urgent.stop(prompt_id)
        except ComfyUIAway as error:
            raise ComfyUIUnreachable(str(error)) from error
        if is_current:
            self._socket.wake()  # a pending prompt leaves without an event
        return is_current or place in (Place.PENDING, Place.RUNNING)

    def describe(self) -> RendererInfo:
        """See `Renderer.describe`."""
        try:
            stats = self._urgent.system_stats()
            checkpoints = self._urgent.models("checkpoints")
            loras = self._urgent.models("loras")
        except ComfyUIAway as error:
            raise ComfyUIUnreachable(str(error)) from error
        device = _first_device(stats)
        return RendererInfo(
            gpu=_gpu_name(str(device.get("name", ""))),
            vram_bytes=int(device.get("vram_total") or 0),
            checkpoints=checkpoints,
            loras=loras,
        )

    def loaded(self) -> tuple[str, ...]:
        """See `Renderer.loaded`.  ComfyUI does not tell what is in its memory: the last job's models are."""
        return self._loaded

    def ready(self) -> bool:
        """See `Renderer.ready`."""
        try:
            self._urgent.system_stats()
            if self._busy.acquire(blocking=False):
                try:
                    if not self._socket.is_open and not self._closed:
                        self._socket.open()
                finally:
                    self._busy.release()
        except (ComfyUIAway, SocketLost):
            return False
        return not self._closed

    def close(self) -> None:
        """See `Renderer.close`.  A running job goes on in ComfyUI."""
        self._closed = True
        run = self._current
        if run is not None:
            run.abandon()
            self._socket.wake()
        with self._busy:
            self._socket.close()
        self._http.close()
        self._urgent.close()


def _first_device(stats: dict[str, Any]) -> dict[str, Any]:
    devices = stats.get("devices")
    return devices[0] if isinstance(devices, list) and devices and isinstance(devices[0], dict) else {}


def _gpu_name(name: str) -> str:
    """``cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync`` without the device and the allocator."""
    words = name.partition(" : ")[0].split()
    if len(words) > 1 and ":" in words[0]:
        words = words[1:]
    return " ".join(words)
