"""Ends the jobs whose users have taken them back: held ones at once, running ones by an interrupt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.edge import guard
from services.chassis.logs import get_logger
from services.chassis.sync_outbox import SyncOutbox, until_acknowledged
from services.contracts.events import CancellationRequested, JobDispatched, Outcome
from services.gpu_worker import decide
from services.gpu_worker.holdings import Assignment, Holdings

log = get_logger()
#: A request ends within 14 minutes, so a cancellation that is older than this concerns nothing that could arrive.
REMEMBERED_SECONDS = 20 * 60.0
#: How far back a worker that starts reads: longer than a request lives, so that it misses none that concerns it.
LOOK_BACK = timedelta(minutes=16)
#: Between two tries to interrupt a job that ComfyUI does not have yet, or cannot be told about.
INTERRUPT_AGAIN_SECONDS = 0.5


class Taken:
    """Requests that their users have taken back, for as long as a job of theirs could arrive.  Thread-safe."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until: dict[tuple[str, str], float] = {}

    def add(self, request_id: str, user_id: str) -> None:
        """Remember one, and forget what is too old to matter."""
        now = self._monotonic()
        with self._lock:
            self._until.pop((request_id, user_id), None)  # so that the oldest stay first
            self._until[request_id, user_id] = now + REMEMBERED_SECONDS
            while self._until[oldest := next(iter(self._until))] <= now:
                del self._until[oldest]

    def covers(self, job: JobDispatched) -> bool:
        """Whether the job's own user took it back; what another user says of it counts for nothing."""
        with self._lock:
            return (job.request_id, job.reply_to.user_id) in self._until

    def __len__(self) -> int:
        return len(self._until)


class Canceller:
    """Applies cancellations to the jobs in hand.  Thread-safe; its methods do not wait.

    Each end is told in a thread of its own, since the broker may be away; there are never more than jobs in hand.
    """

    def __init__(
        self,
        taken: Taken,
        holdings: Holdings,
        outbox: SyncOutbox,
        metrics: m.Metrics,
        clock: Clock,
        *,
        interrupt: Callable[[str], bool],
        finished: Callable[[Assignment], None],
        leaving: threading.Event,
    ) -> None:
        """
        Args:
            interrupt: stops a prompt in ComfyUI, and no other; returns whether ComfyUI had it.
            finished: lets the lane's offset pass a job whose end is acknowledged.
            leaving: set once the worker waits for nobody any more.
        """
        self._taken = taken
        self._holdings = holdings
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._interrupt = interrupt
        self._finished = finished
        self._leaving = leaving

    def heard(self, event: CancellationRequested) -> None:
        """A user takes a request back."""
        self._taken.add(event.request_id, event.user_id)  # first: a job that arrives meanwhile looks there
        for assignment in self._holdings.of_request(event.request_id):
            self.arrived(assignment)

    def arrived(self, assignment: Assignment) -> None:
        """A job is in hand: end it if its user has taken it back."""
        if self._taken.covers(assignment.job):
            threading.Thread(target=self._end, args=(assignment,), name="cancel", daemon=True).start()

    def _end(self, assignment: Assignment) -> None:
        job = assignment.job
        log.info("job_cancelled", request_id=job.request_id, attempt=job.attempt)
        if self._holdings.claim(assignment):
            if (failure := guard(lambda: self._tell(assignment))) is not None:
                log.error("cancel_untold", request_id=job.request_id, error=repr(failure), exc_info=failure)
            self._holdings.finish(assignment)
            return
        # It is in a slot's hands, which tells of it; until ComfyUI has it there is nothing to interrupt.
        while self._holdings.is_running(assignment) and not self._interrupted(job.dispatch_id):
            if self._leaving.wait(INTERRUPT_AGAIN_SECONDS):
                return

    def _tell(self, assignment: Assignment) -> None:
        event = decide.cancelled(assignment.job, self._clock())
        if until_acknowledged(
            lambda: self._outbox.send(event, assignment.envelope), self._leaving, what="completed"
        ):
            self._metrics.count(m.JOBS, Outcome.CANCELLED.value, "cancelled")
            self._finished(assignment)

    def _interrupted(self, dispatch_id: str) -> bool:
        answers: list[bool] = []
        failure = guard(lambda: answers.append(self._interrupt(dispatch_id)))
        if failure is not None:
            log.warning("interrupt_failed", why=str(failure))
        return any(answers)
