"""The worker's life: warm up, run jobs beside the poll loop, drain, leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from services.chassis.edge import guard
from services.chassis.health import Health
from services.chassis.logs import get_logger
from services.chassis.sync_outbox import SyncOutbox
from services.gpu_worker.consumer import LaneConsumer
from services.gpu_worker.holdings import Assignment, Holdings
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.ports import ComfyUIDied, ComfyUIUnreachable, DeadlineExceeded, Renderer, RenderError
from services.gpu_worker.reporter import Reporter

log = get_logger()
#: How long an interrupted job may take to let go before the process leaves without it.
INTERRUPT_SECONDS = 5.0
READY_SECONDS = 0.5


class Worker:
    """Joins the poll loop, the slots and the reporter; `run` returns when told to stop and drained."""

    def __init__(
        self,
        consumer: LaneConsumer,
        holdings: Holdings,
        reporter: Reporter,
        slots: list[tuple[Renderer, JobRunner]],
        outbox: SyncOutbox,
        health: Health,
        *,
        grace_seconds: float,
        restart_renderer: Callable[[str], None],
    ) -> None:
        self._consumer = consumer
        self._holdings = holdings
        self._reporter = reporter
        self._slots = slots
        self._outbox = outbox
        self._health = health
        self._grace = grace_seconds
        self._restart_renderer = restart_renderer
        self._leaving = threading.Event()
        self._abandoning = threading.Event()

    def run(self, stopping: threading.Event) -> None:
        """Poll until ``stopping`` is set and the running jobs have ended or been given back."""
        self._reporter.start()
        for renderer, runner in self._slots:
            threading.Thread(target=self._slot, args=(renderer, runner), name="slot", daemon=True).start()
        while not stopping.is_set():
            self._consumer.poll()
        self._drain()
        self._reporter.leave()
        self._consumer.close()
        self._outbox.close()

    def _drain(self) -> None:
        self._health.not_ready("draining")
        self._leaving.set()
        self._consumer.draining = True
        released = self._holdings.close()
        self._reporter.drain()
        log.info("worker_draining", released=len(released), running=len(self._holdings.running()))
        self._poll_until(lambda: not self._holdings.running(), self._grace)
        if running := self._holdings.running():
            self._give_back(running)

    def _give_back(self, running: list[Assignment]) -> None:
        """Interrupt what outlasts the grace; it is not told as failed, so the dispatcher sends it elsewhere."""
        self._abandoning.set()
        log.warning("jobs_given_back", jobs=len(running))
        for assignment in running:
            for renderer, _ in self._slots:
                guard(partial(renderer.interrupt, assignment.job.dispatch_id))
        self._poll_until(lambda: not self._holdings.running(), INTERRUPT_SECONDS)

    def _poll_until(self, done: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self._consumer.poll()  # the group keeps us, and so the lanes, until we leave

    def _slot(self, renderer: Renderer, runner: JobRunner) -> None:
        self._await_renderer(renderer)
        while (assignment := self._holdings.take()) is not None:
            failure = self._run(runner, assignment)
            self._holdings.finish(assignment)
            if isinstance(failure, ComfyUIDied | ComfyUIUnreachable):
                self._recover(renderer, str(failure.code))
            elif isinstance(failure, DeadlineExceeded) and failure.stuck:
                self._recover(renderer, "stuck")

    def _run(self, runner: JobRunner, assignment: Assignment) -> RenderError | None:
        outcome: list[RenderError | None] = []
        job, cause = assignment.job, assignment.envelope
        error = guard(lambda: outcome.append(runner.run(job, cause, self._abandoning)))
        if error is not None:
            log.error("job_crashed", request_id=job.request_id, error=repr(error), exc_info=error)
            if (untold := guard(lambda: runner.crashed(job, cause, self._abandoning))) is not None:
                # The dispatcher misses the job in the reports and sends it again.
                log.error("crash_untold", request_id=job.request_id, error=repr(untold), exc_info=untold)
        if not self._abandoning.is_set():
            self._consumer.finished(assignment)
        return outcome[0] if outcome else None

    def _recover(self, renderer: Renderer, why: str) -> None:
        self._reporter.set_available(False)
        self._health.not_ready(f"ComfyUI: {why}")
        log.error("renderer_lost", why=why)
        self._restart_renderer(why)
        self._await_renderer(renderer)

    def _await_renderer(self, renderer: Renderer) -> None:
        """Wait until ComfyUI answers: a worker offers slots only when its first job would start at once."""
        while not self._leaving.is_set():
            if renderer.ready():
                self._reporter.set_available(True)
                self._health.ready()
                return
            self._health.not_ready("ComfyUI does not answer")
            self._leaving.wait(READY_SECONDS)
