"""The worker's reports: every period, and at once when something changed that the dispatcher must know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from services.chassis.clock import Clock
from services.chassis.edge import guard
from services.chassis.logs import get_logger
from services.chassis.retry import SendFailed
from services.chassis.sync_outbox import SyncOutbox
from services.gpu_worker import decide
from services.gpu_worker.availability import Availability
from services.gpu_worker.description import Description
from services.gpu_worker.holdings import Holdings
from services.gpu_worker.lease import Lease
from services.gpu_worker.places import Places
from services.gpu_worker.ports import Renderer, RendererInfo
from services.gpu_worker.settings import WorkerSettings

log = get_logger()

_UNKNOWN = RendererInfo(gpu="", vram_bytes=0, checkpoints=(), loras=())


class Reporter:
    """A thread that reports; the setters may be called from any thread.

    It waits for nobody but its own clock: a report that came late would count the worker as lost.
    """

    def __init__(
        self,
        lease: Lease,
        settings: WorkerSettings,
        holdings: Holdings,
        availability: Availability,
        renderers: Sequence[Renderer],
        outbox: SyncOutbox,
        clock: Clock,
        lanes: Callable[[], set[int]],
        place: Callable[[], int | None],
    ) -> None:
        """
        Args:
            lanes: those that the worker reads.
            place: the partition to report in; none is that of the worker's key.
        """
        self._lease = lease
        self._settings = settings
        self._holdings = holdings
        self._availability = availability
        self._renderers = renderers
        self._description = Description(renderers[0], changed=self.wake)
        self._places = Places(outbox, lease.identity().worker_id, place)
        self._clock = clock
        self._lanes = lanes
        self._wake = threading.Event()
        self._stopped = False
        self._draining = False
        self._incarnation = ""
        self._sequence = 0
        self._thread = threading.Thread(target=self._loop, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._description.start()
        self._thread.start()

    def wake(self) -> None:
        """Report now."""
        self._wake.set()

    def changed(self) -> None:
        """The worker can draw again, or cannot any more: report it, and list the models anew."""
        if self._availability.why_not() is None:
            self._description.refresh()
        self._wake.set()

    def relist(self) -> None:
        """A model file is not there any more: list them anew."""
        self._description.refresh()

    def checkpoints(self) -> tuple[str, ...]:
        """The files that can be loaded, as they are reported; none while they are not known."""
        return (self._description.info() or _UNKNOWN).checkpoints

    def drain(self) -> None:
        """Say that the worker is leaving."""
        self._draining = True
        self._wake.set()

    def leave(self) -> None:
        """Stop reporting, and say that the worker is gone.  Never raises."""
        self._stopped = True
        self._description.stop()
        self._wake.set()
        self._thread.join(5.0)
        try:
            self._places.leave()
        except SendFailed as error:
            # The lanes must still be let go; the dispatcher then learns of it from the silence.
            log.warning("leave_untold", why=str(error))

    def _loop(self) -> None:
        while not self._stopped:
            # A thread that ended would leave a worker that draws and counts as lost.
            if (failure := guard(self._report)) is not None:
                log.error("report_failed", error=repr(failure), exc_info=failure)
            self._wake.wait(self._settings.worker_report_seconds)
            self._wake.clear()

    def _report(self) -> None:
        me = self._lease.renew()
        self._sequence = self._sequence + 1 if me.incarnation == self._incarnation else 1
        self._incarnation = me.incarnation
        info = self._description.info()
        # A worker whose models are not known yet would be taken for one that has none.
        offering = self._availability.why_not() is None and info is not None
        event = decide.report(
            me,
            self._sequence,
            self._clock(),
            lanes=self._lanes(),
            slots=self._settings.worker_slots if offering else 0,
            held_limit=self._settings.worker_held_limit if offering else 0,
            jobs=self._holdings.reported(),
            info=info or _UNKNOWN,
            loaded=self._loaded(),
            draining=self._draining,
            price_per_hour=self._settings.worker_price_per_hour or None,
        )
        self._places.report(event)

    def _loaded(self) -> list[str]:
        """Each slot has its own view of what ComfyUI keeps in memory; what one of them used last is there."""
        return list(dict.fromkeys(name for renderer in self._renderers for name in renderer.loaded()))
