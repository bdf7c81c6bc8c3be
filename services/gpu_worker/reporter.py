"""The worker's reports: every period, and at once when something changed that the dispatcher must know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from services.chassis.clock import Clock
from services.chassis.edge import guard
from services.chassis.logs import get_logger
from services.chassis.sync_outbox import SyncOutbox
from services.contracts.topics import WORKERS
from services.gpu_worker import decide
from services.gpu_worker.holdings import Holdings
from services.gpu_worker.ports import ComfyUIUnreachable, Renderer, RendererInfo
from services.gpu_worker.settings import WorkerSettings

log = get_logger()

_UNKNOWN = RendererInfo(gpu="", vram_bytes=0, checkpoints=(), loras=(), loaded=())
#: How often model files are listed anew; an operator who adds one waits at most so long.
DESCRIBE_SECONDS = 30.0


class Reporter:
    """A thread that reports; the setters may be called from any thread."""

    def __init__(
        self,
        me: decide.Identity,
        settings: WorkerSettings,
        holdings: Holdings,
        renderer: Renderer,
        outbox: SyncOutbox,
        clock: Clock,
        lanes: Callable[[], set[int]],
    ) -> None:
        self._me = me
        self._settings = settings
        self._holdings = holdings
        self._renderer = renderer
        self._outbox = outbox
        self._clock = clock
        self._lanes = lanes
        self._wake = threading.Event()
        self._stopped = False
        self._draining = False
        self._available = False
        self._sequence = 0
        self._info = _UNKNOWN
        self._described_at = float("-inf")
        self._thread = threading.Thread(target=self._loop, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def wake(self) -> None:
        """Report now."""
        self._wake.set()

    def set_available(self, available: bool) -> None:
        """Say whether ComfyUI can draw; without it the worker offers no slots."""
        self._available = available
        self._wake.set()

    def drain(self) -> None:
        """Say that the worker is leaving."""
        self._draining = True
        self._wake.set()

    def leave(self) -> None:
        """Stop reporting, and say that the worker is gone."""
        self._stopped = True
        self._wake.set()
        self._thread.join(5.0)
        self._outbox.tombstone(WORKERS, self._me.worker_id)

    def _loop(self) -> None:
        while not self._stopped:
            # A thread that ended would leave a worker that draws and counts as lost.
            if (failure := guard(self._report)) is not None:
                log.error("report_failed", error=repr(failure), exc_info=failure)
            self._wake.wait(self._settings.worker_report_seconds)
            self._wake.clear()

    def _report(self) -> None:
        self._sequence += 1
        event = decide.report(
            self._me,
            self._sequence,
            self._clock(),
            lanes=self._lanes(),
            slots=self._settings.worker_slots if self._available else 0,
            held_limit=self._settings.worker_held_limit if self._available else 0,
            jobs=self._holdings.reported(),
            info=self._described(),
            draining=self._draining,
            price_per_hour=self._settings.worker_price_per_hour or None,
        )
        self._outbox.send_soon(event, None)

    def _described(self) -> RendererInfo:
        now = time.monotonic()
        if self._available and now - self._described_at > DESCRIBE_SECONDS:
            try:
                self._info = self._renderer.describe()
                self._described_at = now
            except ComfyUIUnreachable:
                pass  # the last known description stands; a job's own failure says more
        return self._info
