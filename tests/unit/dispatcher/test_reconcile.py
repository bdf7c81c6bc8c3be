"""What becomes of a job whose worker is silent, leaves, starts anew, drains, moves or forgets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.dispatcher.actions import Dispatch
from tests.unit.dispatcher.world import NOON, World


def test_f1_the_jobs_of_a_silent_worker_are_given_to_another(world: World) -> None:
    """Three missed reports, and what it held is dispatched anew."""
    world.report("w1")
    world.request("A1")
    world.wait(world.policy.silence + 0.1)
    world.report("w2")
    world.tick()
    assert [job.worker_id for job in world.dispatched()] == ["w1", "w2"]


def test_a_worker_that_was_silent_for_less_keeps_its_jobs(world: World) -> None:
    """One tenth of a second before the third missed report nothing happens."""
    world.report("w1")
    world.request("A1")
    world.wait(world.policy.silence - 0.1)
    world.report("w2")
    world.tick()
    assert len(world.dispatched()) == 1


def test_the_jobs_of_a_restarted_worker_are_given_out_again_at_the_next_tick(world: World) -> None:
    """A new incarnation under the same id holds nothing of the old one's."""
    world.report("w1")
    world.request("A1")
    world.report("w1", incarnation="i2", names=())
    world.tick()
    assert [job.incarnation for job in world.dispatched()] == ["i1", "i2"]


def test_the_jobs_of_a_worker_that_left_are_given_to_another_at_the_next_tick(world: World) -> None:
    """Its tombstone says so; nobody waits for its silence."""
    world.report("w1")
    world.request("A1")
    world.report("w2")
    world.leave("w1")
    world.tick()
    assert [job.worker_id for job in world.dispatched()] == ["w1", "w2"]


def test_a_job_that_its_worker_does_not_report_twice_is_lost(world: World) -> None:
    """It was swallowed, by a lane that moved for instance."""
    world.report("w1")
    world.request("A1")
    world.wait(world.policy.silence + 0.1)
    world.report("w1", names=())
    world.tick()
    assert len(world.dispatched()) == 1
    world.report("w1", names=())
    world.tick()
    assert len(world.dispatched()) == 2


def test_a_job_just_dispatched_may_be_missing_from_reports(world: World) -> None:
    """Reports that were under way when it was sent prove nothing."""
    world.report("w1")
    world.request("A1")
    for _ in range(5):
        world.report("w1", names=())
    world.tick()
    assert len(world.dispatched()) == 1


def test_a_draining_worker_gets_nothing_and_gives_back_what_it_does_not_name() -> None:
    """Its held job moves at its first draining report."""
    world = World(run_seconds=1)
    world.report("w1", held_limit=1)
    world.request("A1", "B1")
    world.report("w2")
    world.report("w1", names=("A1",), draining=True)
    world.tick()
    world.request("C1")
    assert [(job.request_id, job.worker_id) for job in world.dispatched()] == [
        ("A1", "w1"),
        ("B1", "w1"),
        ("B1", "w2"),
    ]


@pytest.mark.parametrize(
    "mishap",
    [
        lambda world: world.wait(world.policy.silence + 1),
        lambda world: world.leave("w1"),
        lambda world: world.report("w1", incarnation="i2", names=()),
        lambda world: world.report("w1", names=(), draining=True),
    ],
    ids=["silent", "left", "restarted", "draining"],
)
def test_no_job_is_lost_before_everything_written_was_heard(
    world: World, mishap: Callable[[World], None]
) -> None:
    """Its ``completed`` may lie unread, or its worker's reports: the dispatcher itself may have been deaf."""
    world.report("w1")
    world.request("A1")
    mishap(world)
    world.tick(sure=False)
    assert len(world.dispatched()) == 1
    world.report("w2")
    world.tick(sure=True)
    assert len(world.dispatched()) == 2


def test_a_report_from_before_a_dispatch_says_nothing_of_it(world: World) -> None:
    """A restarted dispatcher reads old reports again: they cannot name the job."""
    world.report("w1")
    world.request("A1")
    for sequence in (7, 8, 9):
        old = replace(world.state.workers["w1"].report, sequence=sequence, jobs=[])
        world.state.reported(old, 0, NOON)
    world.wait(world.policy.silence - 0.1)
    assert world.state.jobs["A1"].absences == 0


def test_a_report_that_is_read_twice_counts_once(world: World) -> None:
    """A retried handler, or a topic that is read again, must not make one absence two."""
    world.report("w1")
    world.request("A1")
    world.report("w1", names=())
    again = world.state.workers["w1"]
    assert not world.state.reported(again.report, 0, again.seen_at)
    assert world.state.jobs["A1"].absences == 1


def test_a_worker_attached_to_another_dispatcher_gets_nothing_from_this_one(world: World) -> None:
    """Two dispatchers that fill one worker would give it more than it has room for."""
    world.report("w1", partition=5)
    world.request("A1")
    assert world.order() == []


def test_a_worker_that_attached_itself_elsewhere_keeps_the_job_it_has(world: World) -> None:
    """Its reports come over another partition, and its old one has its tombstone."""
    world.report("w1")
    world.request("A1")
    world.report("w1", partition=5)
    world.leave("w1", partition=0)
    world.wait(world.policy.silence - 0.1)
    world.report("w1", partition=5)
    world.tick()
    assert len(world.dispatched()) == 1


def test_a_worker_whose_old_tombstone_is_read_first_keeps_its_job(world: World) -> None:
    """Two partitions are read in any order; the report that names the job speaks last."""
    world.report("w1")
    world.request("A1")
    world.leave("w1", partition=0)
    world.report("w1", partition=5)
    world.tick()
    assert len(world.dispatched()) == 1


def test_jobs_of_other_dispatchers_take_room(world: World) -> None:
    """A worker that comes over with a job in hand has that much less of it."""
    world.report("w1", slots=2, strangers=("X1",))
    world.request("A1", "B1")
    assert world.order() == ["A1"]


def test_a_job_whose_lane_moved_before_it_was_read_is_sent_again_over_a_lane_that_is_read(
    world: World,
) -> None:
    """The same attempt, with the same id: the worker is not at fault, and knows it should it come twice."""
    world.report("w1", lanes=(7,))
    world.request("A1")
    world.report("w1", lanes=(4,), names=())
    first, second = world.dispatched()
    assert (second.dispatch_id, second.attempt) == (first.dispatch_id, 1)
    assert [action.lane for action in world.written if isinstance(action, Dispatch)] == [7, 4]
    world.report("w1", lanes=(4,))
    assert len(world.dispatched()) == 2


def test_f5_a_job_held_far_past_its_deadline_is_taken_away(world: World) -> None:
    """The worker should have given up; another draws it, and it gets nothing while it still reports the job."""
    world.report("w1")
    world.request("A1")
    world.wait(world.policy.job_deadline + world.policy.deadline_grace + 1)
    world.report("w1")
    world.tick()
    world.request("B1")
    assert world.state.jobs["A1"].record.failed_workers == ["w1"]
    assert world.order() == ["A1"]
    world.report("w2")
    assert [(job.request_id, job.worker_id) for job in world.dispatched()][1:] == [("A1", "w2")]


def test_a_silent_worker_is_given_nothing_until_it_is_heard_again(world: World) -> None:
    """What it had is lost, and so would everything be that it is given."""
    world.report("w1")
    world.request("A1")
    world.wait(world.policy.silence + 1)
    world.tick()
    world.state.own({0})
    world.request("B1")
    assert world.order() == ["A1"]
    world.report("w1", names=())
    assert world.order() == ["A1", "A1"]


def test_a_worker_that_stays_away_is_not_remembered_for_ever(world: World) -> None:
    """Machines come and go under ever new names."""
    world.report("w1")
    world.wait(world.policy.forgotten + 1)
    world.tick()
    assert (world.state.workers, world.state.quiet) == ({}, set())


def test_a_job_that_ended_takes_no_room_in_a_report_from_before(world: World) -> None:
    """The worker's next report comes a moment later; the GPU should not wait for it."""
    world.report("w1")
    world.request("A1", "B1")
    world.report("w1", names=("A1",))
    world.complete("A1")
    assert world.order() == ["A1", "B1"]


def test_a_record_that_is_written_again_takes_no_other_turn(world: World) -> None:
    """Cancelling a running job, or sending it over another lane, serves nobody."""
    world.report("w1")
    world.request("A1", "A2", "B1", "B2")
    world.complete("A1")
    world.cancel("B1")
    world.complete("B1")
    assert world.order() == ["A1", "B1", "A2"]
