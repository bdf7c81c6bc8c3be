"""Runs the loopback ComfyUI in a thread with an event loop of its own, for synchronous callers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from services.sandbox.comfyui.faults import Fault
from services.sandbox.comfyui.runs import Run
from services.sandbox.comfyui.server import ComfyUISandbox
from services.sandbox.comfyui.settings import SandboxSettings

T = TypeVar("T")
_CALL_SECONDS = 10.0


class SandboxThread:
    """The handle of a loopback ComfyUI that runs in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sandbox: ComfyUISandbox) -> None:
        self._loop = loop
        self._sandbox = sandbox

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._sandbox.url

    def arm(self, fault: Fault) -> None:
        """Arm a fault."""
        self._call(lambda: self._sandbox.faults.arm(fault))

    def disarm(self) -> None:
        """Forget every fault and let hanging jobs go on."""
        self._call(lambda: self._sandbox.faults.disarm())

    def release(self) -> None:
        """Let hanging jobs go on; what has not struck yet stays armed."""
        self._call(lambda: self._sandbox.faults.release())

    def runs(self) -> list[Run]:
        """What was posted since it started."""
        return self._call(lambda: self._sandbox.runs.runs())

    def counters(self) -> dict[str, int]:
        """Counts since it started."""
        return self._call(lambda: dict(self._sandbox.runs.counters))

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        self._await(self._sandbox.start())

    def stop(self) -> None:
        """Stop it; everything it knew is lost."""
        self._await(self._sandbox.stop())

    def die(self) -> None:
        """Make it vanish like a killed process."""
        self._call(lambda: self._sandbox.on_exit())

    def _call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return self._await(run())

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_SECONDS)


@contextlib.contextmanager
def serve_in_thread(settings: SandboxSettings | None = None) -> Iterator[SandboxThread]:
    """Serve a loopback ComfyUI until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="comfyui-sandbox", daemon=True)
    thread.start()
    handle = SandboxThread(loop, ComfyUISandbox(settings))
    handle.start()
    try:
        yield handle
    finally:
        handle.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CALL_SECONDS)
        loop.close()
