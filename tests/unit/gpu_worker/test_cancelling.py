"""Jobs that their users take back: before they arrive, while they wait, while they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from services.chassis.clock import system_clock
from services.chassis.metrics import Metrics
from services.chassis.object_store import ObjectStoreUnreachable, StoredObject
from services.contracts.events import CancellationRequested, InputImage, Outcome
from services.gpu_worker import cancelling
from services.gpu_worker.cancelling import REMEMBERED_SECONDS, Taken
from services.gpu_worker.holdings import Assignment
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.ports import ComfyUIUnreachable, NodeFailed
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.renderer import FakeRenderer
from tests.harness.waiting import eventually
from tests.unit.gpu_worker.lives import Life
from tests.unit.gpu_worker.test_decide import JOB
from tests.unit.gpu_worker.test_holdings import ENVELOPE
from tests.unit.gpu_worker.test_jobs import NEVER, World, a_job

USER = JOB.reply_to.user_id


def taken_back(request_id: str, user_id: str = USER) -> CancellationRequested:
    """The user's word."""
    return CancellationRequested(request_id=request_id, user_id=user_id, requested_at=system_clock())


class Busy(Life):
    """A worker with a job on the GPU and one behind it."""

    def __init__(self, renderer: FakeRenderer) -> None:
        renderer.hang_next(until_told=True)
        super().__init__(renderer)
        self.running = self.give("running")
        eventually(lambda: renderer.ran)
        self.held = self.give("held")

    def cancel(self, assignment: Assignment, user_id: str = USER) -> None:
        """The user takes it back."""
        self.canceller.heard(taken_back(assignment.job.request_id, user_id))


@pytest.fixture
def renderer() -> FakeRenderer:
    """One that works."""
    return FakeRenderer()


@pytest.fixture
def busy(renderer: FakeRenderer) -> Iterator[Busy]:
    """A worker with a job on the GPU and one behind it."""
    life = Busy(renderer)
    yield life
    renderer.go_on()
    life.stop()


def test_a_held_job_is_ended_at_once_and_without_gpu_work(busy: Busy) -> None:
    """Though another runs; and its offset moves only when its end is told."""
    busy.outbox.failures = 1
    busy.cancel(busy.held)
    eventually(lambda: busy.lanes.passed)
    (event,) = busy.outbox.completed
    assert event.error is not None
    assert (event.dispatch_id, event.outcome, event.final, event.error.code) == (
        "held",
        Outcome.CANCELLED,
        True,
        "cancelled",
    )
    assert busy.lanes.passed == [busy.held]
    assert [job.prompt_id for job in busy.renderer.ran] == ["running"]


def test_a_held_job_is_reported_until_its_end_is_told(busy: Busy) -> None:
    """The dispatcher would otherwise miss it in the reports and send it again."""
    busy.outbox.failures = 1_000_000
    busy.cancel(busy.held)
    eventually(lambda: busy.outbox.failures < 1_000_000)
    assert [job.dispatch_id for job in busy.holdings.reported()] == ["running", "held"]
    busy.outbox.failures = 0


def test_a_running_job_is_interrupted_by_its_own_id(busy: Busy) -> None:
    """And told as cancelled, not as failed; the next one runs."""
    busy.cancel(busy.running)
    eventually(lambda: busy.held in busy.lanes.passed)
    assert set(busy.renderer.interrupted) == {"running"}
    assert busy.outcomes() == [("running", Outcome.CANCELLED), ("held", Outcome.SUCCEEDED)]


def test_a_running_job_is_interrupted_once_comfyui_can_be_told(
    busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not answer at the first try."""
    monkeypatch.setattr(cancelling, "INTERRUPT_AGAIN_SECONDS", 0.01)
    real, tries = busy.canceller._interrupt, list[str]()

    def interrupt(prompt_id: str) -> bool:
        tries.append(prompt_id)
        if len(tries) < 3:
            raise ComfyUIUnreachable("busy loading a model")
        return real(prompt_id)

    monkeypatch.setattr(busy.canceller, "_interrupt", interrupt)
    busy.cancel(busy.running)
    eventually(lambda: busy.running in busy.lanes.passed)
    assert busy.outcomes()[0] == ("running", Outcome.CANCELLED)


def test_a_job_that_arrives_after_its_cancellation_is_not_begun(busy: Busy) -> None:
    """The cancellation may be faster than the lane."""
    busy.canceller.heard(taken_back("request of late"))
    late = busy.give("late")
    eventually(lambda: late in busy.lanes.passed)
    assert busy.outcomes() == [("late", Outcome.CANCELLED)]


def test_another_users_word_counts_for_nothing(busy: Busy) -> None:
    """Whoever guesses a request's id could else end it."""
    busy.cancel(busy.held, user_id="999")
    busy.cancel(busy.running, user_id="999")
    busy.renderer.go_on()
    eventually(lambda: busy.held in busy.lanes.passed)
    assert busy.outcomes() == [("running", Outcome.SUCCEEDED), ("held", Outcome.SUCCEEDED)]
    assert busy.renderer.interrupted == []


def test_a_cancellation_that_comes_too_late_changes_nothing(busy: Busy) -> None:
    """The images are there, and were told of."""
    busy.renderer.go_on()
    eventually(lambda: busy.held in busy.lanes.passed)
    busy.cancel(busy.running)
    busy.cancel(busy.held)
    assert [outcome for _, outcome in busy.outcomes()] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]


def test_a_cancellation_that_is_read_twice_is_told_once(busy: Busy) -> None:
    """A worker that starts reads the last minutes again."""
    busy.outbox.failures = 1
    busy.cancel(busy.held)
    busy.cancel(busy.held)
    eventually(lambda: busy.lanes.passed)
    assert busy.outcomes() == [("held", Outcome.CANCELLED)]


def test_a_job_that_its_slot_takes_first_is_not_begun_either(renderer: FakeRenderer) -> None:
    """Between its arrival and its run there is no moment in which a cancellation is lost."""
    life = Life(renderer)
    life.taken.add("request of d1", USER)  # heard, and not applied yet
    job = life.give("d1")
    eventually(lambda: job in life.lanes.passed)
    assert life.outcomes() == [("d1", Outcome.CANCELLED)]
    assert renderer.ran == []
    life.stop()


def test_a_job_that_fails_after_it_was_taken_back_is_cancelled(renderer: FakeRenderer) -> None:
    """Whatever it failed of: nobody wants another attempt."""
    life = Life(renderer)
    renderer.hang_next(until_told=True)
    job = life.give("d1")
    eventually(lambda: renderer.ran)
    renderer.fail_when_told(NodeFailed("no"))
    life.taken.add("request of d1", USER)
    renderer.go_on()
    eventually(lambda: job in life.lanes.passed)
    assert life.outcomes() == [("d1", Outcome.CANCELLED)]
    life.stop()


def test_a_job_whose_images_are_stored_already_is_cancelled_too(renderer: FakeRenderer) -> None:
    """The attempt that stored them died before it told; the user was told that it is taken back."""
    life = Life(renderer)
    first = life.give("d1")
    eventually(lambda: first in life.lanes.passed)
    life.taken.add(first.job.request_id, USER)
    again = life.give("d2", request_id=first.job.request_id)
    eventually(lambda: again in life.lanes.passed)
    assert life.outcomes() == [("d1", Outcome.SUCCEEDED), ("d2", Outcome.CANCELLED)]
    life.stop()


@pytest.mark.parametrize("store_fails", [False, True])
def test_a_job_that_is_taken_back_while_its_inputs_are_fetched_is_not_begun(store_fails: bool) -> None:
    """ComfyUI does not know it then, so there is nothing to interrupt."""
    world, cancelled = World(), list[bool]()

    class Store(FakeObjectStore):
        def get(self, key: str) -> StoredObject:
            if key == "inputs/a.png":
                cancelled.append(True)
                if store_fails:
                    raise ObjectStoreUnreachable("away")
            return super().get(key)

    store = Store()
    store.put("inputs/a.png", b"an image", "image/png")
    runner = JobRunner(
        world.renderer,
        store,
        cast(Any, world.sent),
        Metrics("gpu_worker"),
        system_clock,
        lambda job: bool(cancelled),
    )
    entry = InputImage(parameter="image", object_key="inputs/a.png", content_type="image/png", bytes=8)
    job = a_job()
    runner.run(replace(job, job=replace(job.job, inputs=[entry])), ENVELOPE, NEVER)
    assert [event.outcome for event in world.sent.completed] == [Outcome.CANCELLED]
    assert world.renderer.ran == []


def test_what_is_too_old_to_matter_is_forgotten() -> None:
    """A request ends within minutes; a worker lives for months."""
    now = [0.0]
    taken = Taken(monotonic=lambda: now[0])
    for second in range(int(REMEMBERED_SECONDS) * 3):
        now[0] = float(second)
        taken.add(str(second), USER)
    assert len(taken) <= REMEMBERED_SECONDS + 1


def test_one_that_is_repeated_is_remembered_from_then() -> None:
    """Its place among the others does not keep old ones alive."""
    now = [0.0]
    taken = Taken(monotonic=lambda: now[0])
    taken.add(JOB.request_id, USER)
    taken.add("other", USER)
    now[0] = REMEMBERED_SECONDS - 1
    taken.add(JOB.request_id, USER)
    now[0] = REMEMBERED_SECONDS + 1
    taken.add("new", USER)
    assert taken.covers(JOB)
    assert len(taken) == 2
