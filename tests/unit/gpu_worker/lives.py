"""The worker's life around its jobs: what it does with one that crashes, and with one that it gives back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.chassis.clock import system_clock
from services.chassis.health import Health
from services.chassis.metrics import Metrics
from services.contracts.events import Outcome
from services.gpu_worker.holdings import Assignment, Holdings
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.ports import OnProgress, Rendering, RenderJob
from services.gpu_worker.worker import Worker
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.renderer import FakeRenderer
from tests.harness.waiting import eventually
from tests.unit.gpu_worker.test_holdings import ENVELOPE
from tests.unit.gpu_worker.test_jobs import Sent, a_job


class Lanes:
    """Stands in for the consumer: no records, and notes what may be passed."""

    def __init__(self, turn: threading.Event) -> None:
        self.draining = False
        self.passed: list[Assignment] = []
        self.closed = False
        self._turn = turn

    def poll(self) -> None:
        """As `LaneConsumer.poll`."""
        self._turn.wait(0.01)

    def finished(self, assignment: Assignment) -> None:
        """As `LaneConsumer.finished`."""
        self.passed.append(assignment)

    def close(self) -> None:
        """As `LaneConsumer.close`."""
        self.closed = True


class Reporter:
    """Stands in for the reporter."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self) -> None:
        """As `Reporter.start`."""

    def set_available(self, available: bool) -> None:
        """As `Reporter.set_available`."""
        self.said.append("available" if available else "unavailable")

    def drain(self) -> None:
        """As `Reporter.drain`."""
        self.said.append("draining")

    def leave(self) -> None:
        """As `Reporter.leave`."""
        self.said.append("gone")


class Outbox(Sent):
    """Keeps what was sent."""

    def close(self) -> None:
        """As `SyncOutbox.close`."""


class Life:
    """A worker of one slot in a thread, on fakes."""

    def __init__(self, renderer: FakeRenderer, grace_seconds: float = 30.0) -> None:
        self.stopping = threading.Event()
        self.renderer = renderer
        self.lanes = Lanes(threading.Event())
        self.reporter = Reporter()
        self.outbox = Outbox()
        self.holdings = Holdings()
        self.restarts: list[str] = []
        outbox: Any = self.outbox
        runner = JobRunner(renderer, FakeObjectStore(), outbox, Metrics("gpu_worker"), system_clock)
        worker = Worker(
            self.lanes,  # type: ignore[arg-type]  # all that a worker uses of a consumer
            self.holdings,
            self.reporter,  # type: ignore[arg-type]  # all that a worker uses of a reporter
            [(renderer, runner)],
            outbox,
            Health(),
            grace_seconds=grace_seconds,
            restart_renderer=self.restarts.append,
        )
        self._thread = threading.Thread(target=worker.run, args=(self.stopping,), daemon=True)
        self._thread.start()

    def give(self, offset: int = 0) -> Assignment:
        """Let a job arrive."""
        assignment = Assignment(job=a_job(), envelope=ENVELOPE, lane=0, offset=offset)
        self.holdings.add(assignment)
        return assignment

    def stop(self) -> None:
        """SIGTERM, and wait until it has left."""
        self.stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


class Broken(FakeRenderer):
    """Raises what no renderer should."""

    def run(self, job: RenderJob, *, deadline: float, on_progress: OnProgress) -> Rendering:
        """See `Renderer.run`."""
        raise ZeroDivisionError("a fault of ours")


@pytest.fixture
def broken() -> Iterator[Life]:
    """A worker whose renderer has a fault."""
    life = Life(Broken())
    yield life
    life.stop()


def test_f1_a_crash_is_told_before_the_job_counts_as_done(broken: Life) -> None:
    """While the broker is away it is sent again; dropped, the request would hang until its worker is missed."""
    broken.outbox.failures = 2
    job = broken.give()
    eventually(lambda: broken.lanes.passed)
    assert broken.lanes.passed == [job]
    (event,) = broken.outbox.completed
    assert event.error is not None
    assert (event.outcome, event.error.code) == (Outcome.FAILED, "internal_error")


def test_f1_a_crash_that_cannot_be_told_before_the_worker_leaves_is_not_passed() -> None:
    """The lane's next owner reads it again, and the dispatcher misses it in the reports."""
    life = Life(Broken(), grace_seconds=0.0)
    life.outbox.failures = 1_000
    life.give()
    eventually(lambda: life.outbox.failures < 1_000)
    life.stop()
    assert (life.lanes.passed, life.outbox.completed) == ([], [])
    assert life.lanes.closed


def test_a_job_that_outlasts_the_grace_is_given_back() -> None:
    """Interrupted, not told as failed, and not passed."""
    renderer = FakeRenderer()
    renderer.hang_next()
    life = Life(renderer, grace_seconds=0.0)
    job = life.give()
    eventually(lambda: renderer.ran)
    life.stop()
    assert renderer.interrupted == [job.job.dispatch_id]
    assert (life.lanes.passed, life.outbox.completed) == ([], [])
    assert life.reporter.said == ["available", "draining", "gone"]
