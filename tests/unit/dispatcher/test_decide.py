"""The dispatcher's rules, one by one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import Outcome
from services.dispatcher import decide
from services.dispatcher.actions import Dispatch, Forget, Record
from services.dispatcher.attempts import dispatch_id_of
from services.dispatcher.outlook import outlooks
from services.dispatcher.state import State
from tests.unit.dispatcher.world import NOON, World, a_request


def test_a_free_worker_gets_a_request_at_once(world: World) -> None:
    """Nobody waits: the request is dispatched in the same step, to the reported lane and incarnation."""
    world.report("w1")
    world.request("A1")
    (job,) = world.dispatched()
    assert (job.request_id, job.worker_id, job.incarnation, job.attempt) == ("A1", "w1", "i1", 1)
    assert len(world.state.backlog) == 0


def test_the_ledger_is_written_before_the_lane(world: World) -> None:
    """A crash between the two must leave a trace of the intent."""
    world.report("w1")
    world.request("A1")
    kinds = [type(action) for action in world.written]
    assert kinds.index(Record) < kinds.index(Dispatch)


def test_f6_users_take_turns_however_much_one_of_them_asks(world: World) -> None:
    """A1 A2 B1 C1 C2 A3 submitted together run as A1 B1 C1 A2 C2 A3 (InvokeAI's published example)."""
    world.request("A1", "A2", "B1", "C1", "C2", "A3")
    world.report("w1")
    while len(world.order()) < 6 or world.state.jobs:
        world.complete(world.order()[-1])
    assert world.order() == ["A1", "B1", "C1", "A2", "C2", "A3"]


def test_a_newcomer_goes_before_a_user_who_was_just_served(world: World) -> None:
    """The least-recently-served user comes first, and a user never served before all."""
    world.report("w1")
    world.request("A1", "A2", "A3")
    world.request("B1")
    world.complete("A1")
    assert world.order() == ["A1", "B1"]


def test_a_worker_gets_what_runs_and_one_held_and_no_more() -> None:
    """Late binding: the rest stays in the backlog."""
    world = World(run_seconds=1)
    world.report("w1", slots=1, held_limit=1)
    world.request("A1", "B1", "C1")
    assert world.order() == ["A1", "B1"]
    assert len(world.state.backlog) == 1


def test_jobs_spread_over_workers_before_any_is_held(world: World) -> None:
    """The emptiest worker is chosen."""
    world.report("w1", held_limit=1)
    world.report("w2", held_limit=1)
    world.request("A1", "B1")
    assert {job.worker_id for job in world.dispatched()} == {"w1", "w2"}


def test_f11_a_worker_without_the_checkpoint_never_gets_the_job(world: World) -> None:
    """The job waits for one that has it, and lets others pass meanwhile."""
    world.report("w1", checkpoints=("sd15.safetensors",))
    world.report("w2", checkpoints=("sdxl.safetensors",), strangers=("X1",))
    world.request("A1", checkpoints=("sdxl.safetensors",))
    world.request("B1", checkpoints=("sd15.safetensors",))
    assert world.order() == ["B1"]
    world.report("w2", checkpoints=("sdxl.safetensors",))
    assert world.dispatched()[-1].worker_id == "w2"


def test_a_redelivered_request_is_not_dispatched_again(world: World) -> None:
    """Not while it is in work, and not after it has finished."""
    world.report("w1")
    world.request("A1", "A1")
    world.complete("A1")
    world.request("A1")
    assert world.order() == ["A1"]


def test_f3_a_retryable_failure_is_tried_again_on_another_worker(world: World) -> None:
    """The next attempt has a new dispatch id and avoids the worker that failed it."""
    world.report("w1")
    world.report("w2", slots=1)
    world.request("A1")
    first = world.dispatched()[0]
    world.complete("A1", error=error_info(ErrorCode.WORKER_LOST))
    second = world.dispatched()[1]
    assert (second.attempt, second.worker_id != first.worker_id) == (2, True)
    assert second.dispatch_id != first.dispatch_id


def test_the_failing_worker_is_tried_again_when_no_other_can(world: World) -> None:
    """A lone worker gets its own failure back rather than nobody."""
    world.report("w1")
    world.request("A1")
    world.complete("A1", error=error_info(ErrorCode.WORKER_LOST))
    assert [job.worker_id for job in world.dispatched()] == ["w1", "w1"]


def test_attempts_are_bounded_and_the_last_failure_is_told(world: World) -> None:
    """After the limit the request ends with the last error's code."""
    world.report("w1")
    world.request("A1")
    for _ in range(world.policy.attempts):
        world.complete("A1", error=error_info(ErrorCode.OUT_OF_MEMORY))
    (end,) = world.ends()
    assert (end.final, end.outcome, end.error and end.error.code) == (True, Outcome.FAILED, "out_of_memory")
    assert len(world.order()) == world.policy.attempts


def test_a_failure_that_cannot_heal_ends_the_request_at_once(world: World) -> None:
    """A second run would only draw the same failure."""
    world.report("w1")
    world.request("A1")
    world.complete("A1", error=error_info(ErrorCode.NODE_ERROR, retryable=False))
    assert len(world.order()) == 1
    assert world.ends()[0].error == error_info(ErrorCode.NODE_ERROR, retryable=False)


def test_the_failure_of_an_earlier_attempt_changes_nothing(world: World) -> None:
    """A zombie speaks of a dispatch that was replaced."""
    world.report("w1")
    world.request("A1")
    world.complete("A1", error=error_info(ErrorCode.WORKER_LOST), dispatch_id="another")
    assert world.state.jobs["A1"].record.attempt == 1
    assert world.ends() == []


def test_a_success_of_any_attempt_finishes_the_request(world: World) -> None:
    """The images exist, whoever drew them."""
    world.report("w1")
    world.request("A1")
    world.complete("A1", dispatch_id="another")
    assert "A1" in world.state.finished
    assert "A1" not in world.state.jobs


def test_a_worker_without_slots_gets_nothing(world: World) -> None:
    """It says so while its ComfyUI does not answer."""
    world.report("w1", slots=0)
    world.request("A1")
    assert world.order() == []


def test_a_waiting_request_expires_with_a_sentence(world: World) -> None:
    """Past its own deadline it is not worth GPU time; its user hears so."""
    world.request("A1")
    world.wait(14 * 60)
    world.tick()
    (end,) = world.ends()
    assert (end.outcome, end.final) == (Outcome.EXPIRED, True)
    assert len(world.state.backlog) == 0


def test_f11_a_request_that_no_worker_can_draw_is_refused_at_once(world: World) -> None:
    """With the missing file named; waiting for 14 minutes would tell the user nothing more."""
    world.report("w1", checkpoints=("a",))
    world.request("A1", checkpoints=("b",))
    (end,) = world.ends()
    assert end.error is not None
    assert (end.final, end.outcome, end.error.code) == (True, Outcome.FAILED, ErrorCode.NO_CAPABLE_WORKER)
    assert "(b)" in end.error.message


def test_a_request_waits_while_a_worker_that_may_draw_it_is_starting(world: World) -> None:
    """It reports itself without slots, and what it has is not known yet."""
    world.report("w1", checkpoints=("a",))
    world.report("w2", slots=0)
    world.request("A1", checkpoints=("b",))
    assert world.ends() == []
    world.report("w2", slots=1, checkpoints=("b",))
    assert world.order() == ["A1"]


def test_a_request_waits_while_there_is_no_worker_at_all(world: World) -> None:
    """They may all be on their way: a fleet that starts anew must not refuse its users."""
    world.request("A1", checkpoints=("b",))
    world.wait(5 * 60)
    world.tick()
    assert world.ends() == []


def test_a_queued_request_whose_last_capable_worker_stays_away_is_told_so(world: World) -> None:
    """For a minute it may only be starting anew."""
    world.report("w1", checkpoints=("b",), strangers=("X1",))
    world.request("A1", checkpoints=("b",))
    world.leave("w1")
    for _ in range(70):
        world.report("w2", checkpoints=("a",))
        world.tick()
        assert world.ends() == [] or world.now - NOON > timedelta(seconds=60)
        world.wait(1)
    error = world.ends()[0].error
    assert error is not None
    assert error.code == ErrorCode.NO_CAPABLE_WORKER


def test_the_deadline_of_a_job_never_passes_that_of_its_request() -> None:
    """Two minutes before a request expires an attempt has two minutes."""
    world = World()
    request = a_request("A1", at=NOON)
    world.wait(12 * 60)
    world.report("w1")
    world.perform(decide.admit(world.state, request, 0, world.now, sure=True))
    assert world.dispatched()[0].deadline_at == request.expires_at


def test_a_held_job_has_the_time_of_those_before_it_as_well() -> None:
    """Its own attempt is no shorter for having waited on the worker."""
    world = World(run_seconds=1)
    world.report("w1", slots=1, held_limit=1)
    world.request("A1", "B1")
    first, held = world.dispatched()
    assert held.deadline_at - held.dispatched_at == 2 * (first.deadline_at - first.dispatched_at)


def test_a_finished_request_is_remembered_and_then_forgotten(world: World) -> None:
    """The ledger does not grow for ever."""
    world.report("w1")
    world.request("A1")
    world.complete("A1")
    world.wait(world.policy.finished_kept - 1)
    world.tick()
    assert "A1" in world.state.finished
    world.wait(2)
    world.tick()
    assert "A1" not in world.state.finished
    assert any(isinstance(action, Forget) for action in world.written)


def test_places_count_only_what_is_ahead(world: World) -> None:
    """Round by round over the users: each first request before anybody's second."""
    world.request("A1", "A2", "B1")
    assert [(look.job.request_id, look.place) for look in outlooks(world.state, world.now)] == [
        ("A1", 1),
        ("B1", 2),
        ("A2", 3),
    ]


def test_reading_the_ledger_back_gives_the_state_that_wrote_it(world: World) -> None:
    """Recovery is a fold over ``jobs``."""
    world.report("w1", held_limit=1)
    world.request("A1", "A2", "B1", "C1")
    world.complete("A1")
    rebuilt = State()
    for action in world.written:
        if isinstance(action, Record):
            rebuilt.record(action.record, action.partition)
    assert list(rebuilt.backlog.in_order()) == list(world.state.backlog.in_order())
    assert rebuilt.held == world.state.held
    assert set(rebuilt.finished) == set(world.state.finished)


def test_a_partition_that_went_away_takes_its_jobs_along(world: World) -> None:
    """Another dispatcher has them now."""
    world.report("w1")
    world.request("A1", "A2")
    world.state.forget_partition(0)
    assert (world.state.jobs, list(world.state.backlog), world.state.held) == ({}, [], {})


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_dispatch_id_is_the_same_whenever_it_is_decided(attempt: int) -> None:
    """A dispatch repeated after a crash is recognised by its worker."""
    assert dispatch_id_of("A1", 0, attempt) == dispatch_id_of("A1", 0, attempt)
    assert dispatch_id_of("A1", 0, attempt) != dispatch_id_of("A1", 0, attempt + 1)


def test_an_expired_request_is_not_taken_in(world: World) -> None:
    """It waited too long before it came here."""
    request = a_request("A1", at=NOON)
    world.wait(15 * 60)
    world.perform(decide.admit(world.state, request, 0, world.now, sure=True))
    assert world.ends()[0].outcome is Outcome.EXPIRED
    assert len(world.state.backlog) == 0
