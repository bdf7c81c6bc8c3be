"""The worker's life: warm up, run jobs beside the poll loop, drain, leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from services.chassis.edge import guard
from services.chassis.health import Health
from services.chassis.logs import get_logger
from services.chassis.sync_outbox import SyncOutbox
from services.gpu_worker.availability import Availability, Obstacle
from services.gpu_worker.consumer import LaneConsumer
from services.gpu_worker.holdings import Assignment, Holdings
from services.gpu_worker.reporter import Reporter
from services.gpu_worker.slot import Slot

log = get_logger()
#: How long an interrupted job may take to let go before the process leaves without it.
INTERRUPT_SECONDS = 5.0
#: Between two beats of a process that has left the fleet and waits to be ended.
IDLE_SECONDS = 1.0


class Worker:
    """Joins the poll loop, the slots and the reporter; `run` returns when told to stop and drained."""

    def __init__(
        self,
        consumer: LaneConsumer,
        holdings: Holdings,
        reporter: Reporter,
        slots: Sequence[Slot],
        outbox: SyncOutbox,
        health: Health,
        availability: Availability,
        *,
        interrupt: Callable[[str], bool],
        abandoning: threading.Event,
        grace_seconds: float,
    ) -> None:
        """
        Args:
            interrupt: stops a prompt in ComfyUI, and no other.
            abandoning: set by this object once it waits for no job any more; the slots look at it too.
            grace_seconds: how long running jobs may go on once the worker is told to leave.
        """
        self._consumer = consumer
        self._holdings = holdings
        self._reporter = reporter
        self._slots = slots
        self._outbox = outbox
        self._health = health
        self._availability = availability
        self._interrupt = interrupt
        self._abandoning = abandoning
        self._grace = grace_seconds
        self._leaving = threading.Event()

    def run(self, stopping: threading.Event, reclaimed: threading.Event) -> None:
        """Poll until ``stopping`` is set and the running jobs have ended or been given back.

        ``reclaimed`` says that the machine is being taken back: then every job is given back at once.  The process
        stays until ``stopping`` all the same, since whoever watches it would start it again on a doomed machine.
        """
        self._reporter.start()
        for slot in self._slots:
            threading.Thread(target=slot.run, args=(self._leaving,), name="slot", daemon=True).start()
        while not stopping.is_set() and not reclaimed.is_set():
            self._consumer.poll()
        self._drain(reclaimed)
        self._reporter.leave()
        self._consumer.close()
        self._outbox.close()
        while not stopping.wait(IDLE_SECONDS):
            self._health.beat()

    def start_over(self) -> None:
        """The lease has lapsed: what waits was given to others.  What runs goes on, since its result may be first."""
        for assignment in self._holdings.release():
            self._consumer.finished(assignment)
        self._reporter.wake()

    def _drain(self, reclaimed: threading.Event) -> None:
        self._leaving.set()
        self._consumer.draining = True
        released = self._holdings.close()
        self._reporter.drain()
        why = "the machine is being taken back" if reclaimed.is_set() else "told to stop"
        self._availability.block(Obstacle.LEAVING, why)
        log.info("worker_draining", released=len(released), running=len(self._holdings.running()))
        self._poll_until(lambda: self._holdings.idle() or reclaimed.is_set(), self._grace)
        if not self._holdings.idle():
            self._give_back(self._holdings.running())

    def _give_back(self, running: list[Assignment]) -> None:
        """Interrupt what outlasts the grace; it is not told as failed, so the dispatcher sends it elsewhere."""
        self._abandoning.set()
        log.warning("jobs_given_back", jobs=len(running))
        for assignment in running:
            failure = guard(partial(self._interrupt, assignment.job.dispatch_id))
            if failure is not None:
                log.warning("interrupt_failed", why=str(failure))
        self._poll_until(self._holdings.idle, INTERRUPT_SECONDS)

    def _poll_until(self, done: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self._consumer.poll()  # the group keeps us, and so the lanes, until we leave
