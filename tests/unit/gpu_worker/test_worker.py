"""The worker's end: what it finishes, what it gives back, and what it does not tell."""

from __future__ import annotations

import pytest

from services.contracts.events import Outcome
from tests.fakes.renderer import FakeRenderer
from tests.harness.waiting import eventually
from tests.unit.gpu_worker.lives import Life


def test_a_worker_that_is_told_to_stop_finishes_its_running_job() -> None:
    """Within the grace period: the images are nearly there."""
    renderer = FakeRenderer()
    renderer.hang_next(until_told=True)
    life = Life(renderer, grace_seconds=30.0)
    job = life.give()
    eventually(lambda: renderer.ran)
    life.stopping.set()
    eventually(lambda: "draining" in life.reporter.said)
    renderer.go_on()
    life.ended()
    assert life.outcomes() == [(job.job.dispatch_id, Outcome.SUCCEEDED)]
    assert (life.lanes.passed, renderer.interrupted) == ([job], [])


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
    assert life.reporter.said == ["draining", "gone"]
    assert life.lanes.closed


def test_a_worker_that_leaves_begins_no_job_that_it_holds() -> None:
    """The dispatcher sees that it is not reported any more, and sends it elsewhere."""
    renderer = FakeRenderer()
    renderer.hang_next(until_told=True)
    life = Life(renderer)
    life.give(dispatch_id="running")
    eventually(lambda: renderer.ran)
    life.give(dispatch_id="held")
    life.stopping.set()
    eventually(lambda: "draining" in life.reporter.said)
    assert [job.dispatch_id for job in life.holdings.reported()] == ["running"]
    renderer.go_on()
    life.ended()
    assert [job.prompt_id for job in renderer.ran] == ["running"]
    assert [job.job.dispatch_id for job in life.lanes.passed] == ["running"]


@pytest.mark.parametrize("already_stopping", [False, True])
def test_a_machine_that_is_taken_back_gives_its_jobs_back_at_once(already_stopping: bool) -> None:
    """Also one that had been told to stop, and was waiting for its job: the grace is more than there is."""
    renderer = FakeRenderer()
    renderer.hang_next()
    life = Life(renderer, grace_seconds=3600.0)
    job = life.give()
    eventually(lambda: renderer.ran)
    if already_stopping:
        life.stopping.set()
        eventually(lambda: "draining" in life.reporter.said)
    life.reclaimed.set()
    eventually(lambda: life.lanes.closed)
    assert renderer.interrupted == [job.job.dispatch_id]
    assert (life.lanes.passed, life.outbox.completed) == ([], [])
    life.stop()


def test_a_process_on_a_machine_that_is_taken_back_stays_until_it_is_ended() -> None:
    """Whoever watches it would start it again, and it would take jobs on a doomed machine."""
    life = Life(FakeRenderer())
    life.reclaimed.set()
    eventually(lambda: life.lanes.closed)
    assert life.is_alive()
    assert life.health.readiness() == "the machine is being taken back"
    assert life.health.liveness() is None
    life.stop()


def test_f1_a_crash_that_cannot_be_told_before_the_worker_leaves_is_not_passed() -> None:
    """The lane's next owner reads it again, and the dispatcher misses it in the reports."""
    renderer = FakeRenderer()
    renderer.break_next()
    life = Life(renderer, grace_seconds=0.0)
    life.outbox.failures = 1_000
    life.give()
    eventually(lambda: life.outbox.failures < 1_000)
    life.stop()
    assert (life.lanes.passed, life.outbox.completed) == ([], [])
    assert life.lanes.closed
