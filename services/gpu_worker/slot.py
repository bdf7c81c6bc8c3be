"""One slot: brings its renderer up, and runs the jobs that it takes, one after another."""

from __future__ import annotations

import threading
from collections.abc import Callable

from services.chassis.edge import guard
from services.chassis.logs import get_logger
from services.gpu_worker import decide
from services.gpu_worker.availability import Availability, Obstacle
from services.gpu_worker.decide import Aftermath
from services.gpu_worker.disk import DiskWatch
from services.gpu_worker.holdings import Assignment, Holdings
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.lease import Lease
from services.gpu_worker.ports import Renderer, RenderError
from services.gpu_worker.warm_up import WarmUp

log = get_logger()
READY_SECONDS = 0.5


class Slot:
    """A renderer and the thread that feeds it; `run` is that thread's body."""

    def __init__(
        self,
        renderer: Renderer,
        runner: JobRunner,
        lease: Lease,
        holdings: Holdings,
        availability: Availability,
        disk: DiskWatch,
        *,
        warm_up: WarmUp | None,
        abandoning: threading.Event,
        finished: Callable[[Assignment], None],
        relist: Callable[[], None],
        restart_renderer: Callable[[str], None],
    ) -> None:
        """
        Args:
            warm_up: a workflow to run before the first job, and after every restart.
            abandoning: set once the worker has given its jobs back.
            finished: lets the lane's offset pass a job that is dealt with.
            relist: has the model files listed anew.
            restart_renderer: starts ComfyUI again, for a reason.
        """
        self._renderer = renderer
        self._runner = runner
        self._lease = lease
        self._holdings = holdings
        self._availability = availability
        self._disk = disk
        self._warm_up = warm_up
        self._abandoning = abandoning
        self._finished = finished
        self._relist = relist
        self._restart_renderer = restart_renderer
        self._cold = threading.Event()

    def run(self, leaving: threading.Event) -> None:
        """Run jobs until the holdings are closed; ``leaving`` ends the wait for a renderer."""
        self._await_renderer(leaving)
        while not self._holdings.is_closed():
            if (assignment := self._holdings.take(self._cold.is_set)) is not None:
                self._begin(assignment, leaving)
            elif self._cold.is_set():
                self._await_renderer(leaving)

    def cool(self) -> None:
        """ComfyUI has ended: no job is begun, and no slot offered, before it is up and warm again.  From any thread."""
        self._cold.set()
        self._availability.block(Obstacle.COMFYUI, "ComfyUI has ended and is started again")
        self._holdings.wake()

    def _begin(self, assignment: Assignment, leaving: threading.Event) -> None:
        # Asked now, not when it arrived: the process may have been stopped since, and the job given to another.
        if assignment.job.incarnation == self._lease.identity().incarnation:
            failure = self._run(assignment)
        else:
            log.warning("void_job_dropped", request_id=assignment.job.request_id)
            self._finished(assignment)
            failure = None
        self._holdings.finish(assignment)
        self._see_to(failure, leaving)

    def _run(self, assignment: Assignment) -> RenderError | None:
        outcome: list[RenderError | None] = []
        job, cause = assignment.job, assignment.envelope
        error = guard(lambda: outcome.append(self._runner.run(job, cause, self._abandoning)))
        if error is not None:
            log.error("job_crashed", request_id=job.request_id, error=repr(error), exc_info=error)
            if (untold := guard(lambda: self._runner.crashed(job, cause, self._abandoning))) is not None:
                # The dispatcher misses the job in the reports and sends it again.
                log.error("crash_untold", request_id=job.request_id, error=repr(untold), exc_info=untold)
        if not self._abandoning.is_set():
            self._finished(assignment)
        self._disk.forget(job.dispatch_id)
        return outcome[0] if outcome else None

    def _see_to(self, failure: RenderError | None, leaving: threading.Event) -> None:
        match decide.aftermath(failure):
            case Aftermath.RESTART:
                assert failure is not None, "a renderer is restarted for a reason"
                self._recover(failure, leaving)
            case Aftermath.RELIST:
                self._relist()
            case Aftermath.MAKE_ROOM:
                self._disk.struck()
            case Aftermath.CARRY_ON:
                pass

    def _recover(self, failure: RenderError, leaving: threading.Event) -> None:
        self._availability.block(Obstacle.COMFYUI, f"ComfyUI: {failure.code.value}")
        self._restart_renderer(failure.code.value)
        self._await_renderer(leaving)

    def _await_renderer(self, leaving: threading.Event) -> None:
        """Wait until ComfyUI answers and is warm: slots are offered only when a first job would start at once."""
        while not leaving.is_set():
            self._cold.clear()  # before the look, so that a death after it is seen
            if self._renderer.ready() and self._is_warm():
                self._availability.clear(Obstacle.COMFYUI)
                if not self._cold.is_set():
                    return
            self._availability.block(Obstacle.COMFYUI, "ComfyUI does not answer")
            leaving.wait(READY_SECONDS)

    def _is_warm(self) -> bool:
        """Run the warm-up, if there is one; false where ComfyUI itself did not survive it."""
        if self._warm_up is None:
            return True
        failure, prompt_id = self._warm_up.run(self._renderer)
        self._disk.forget(prompt_id)
        if failure is None:
            log.info("worker_warmed_up")
            return True
        log.error("warm_up_failed", why=str(failure))
        if decide.aftermath(failure) is Aftermath.RESTART:
            self._restart_renderer(failure.code.value)
            return False
        return True  # a fault of the workflow, or of its models, which the jobs themselves would tell of
