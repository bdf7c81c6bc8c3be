"""What a waiting user is told: the place, and a time learned from earlier runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.dispatcher.estimates import RunTimes
from services.dispatcher.outlook import (
    LEAST_CHANGE_SECONDS,
    NOBODY,
    STARTING,
    Outlook,
    announcement,
    differs,
    outlooks,
)
from tests.unit.dispatcher.world import World, a_request


def etas(world: World) -> dict[str, float | None]:
    """Seconds until each waiting request should be done."""
    return {look.job.key: look.eta_seconds for look in outlooks(world.state, world.now)}


def test_an_estimate_counts_what_runs_what_is_ahead_and_the_run_itself(world: World) -> None:
    """Ten seconds an image: A runs 10 more, B has 10 before it and C 20."""
    world.report("w1")
    world.state.run_times.learn(a_request("X1").job, "", 10)
    world.request("A1", "B1", "C1")
    assert etas(world) == pytest.approx({"B1": 20, "C1": 30}, abs=0.1)


def test_two_workers_halve_the_wait(world: World) -> None:
    """The work ahead is spread over all slots."""
    world.state.run_times.learn(a_request("X1").job, "", 10)
    world.report("w1")
    world.report("w2")
    world.request("A1", "B1", "C1", "D1")
    assert etas(world) == pytest.approx({"C1": 20, "D1": 25}, abs=0.1)


def test_workers_that_cannot_draw_it_do_not_shorten_the_wait(world: World) -> None:
    """Only those with the checkpoint count."""
    world.state.run_times.learn(a_request("X1").job, "", 10)
    world.report("w1", checkpoints=("a",), strangers=("X1",))
    world.report("w2", checkpoints=("b",), strangers=("X2",))
    world.request("A1", "B1", checkpoints=("a",))
    assert etas(world) == pytest.approx({"A1": 10, "B1": 20}, abs=0.1)


def test_without_a_worker_there_is_no_estimate(world: World) -> None:
    """A number would be made up."""
    world.request("A1")
    assert etas(world) == {"A1": None}


def test_a_user_hears_of_a_new_place_and_of_a_clearly_other_time(world: World) -> None:
    """Each edit costs Discord one of few."""
    world.request("A1")
    (look,) = outlooks(world.state, world.now)
    told = Outlook(job=look.job, place=2, eta_seconds=30)

    def now(place: int, eta: float | None) -> bool:
        return differs(Outlook(job=look.job, place=place, eta_seconds=eta), told)

    assert differs(told, None)
    assert now(1, 30)
    assert now(2, None)
    assert now(2, 30 + LEAST_CHANGE_SECONDS + 1)
    assert not now(2, 30 + LEAST_CHANGE_SECONDS)
    assert not now(2, 30)


def test_run_times_are_learned_by_what_is_drawn_and_on_what() -> None:
    """A kind that was never seen is guessed from its workflow's others, and a workflow from all."""
    times = RunTimes()
    fast, slow = a_request("A1").job, a_request("B1", images=2).job
    for _ in range(50):
        times.learn(fast, "H100", 2)
        times.learn(slow, "T4", 40)
    assert times.expect(fast, "H100") == pytest.approx(2)
    assert times.expect(fast, "T4") == pytest.approx(20)
    assert 2 < times.expect(fast, "L4") < 20


def test_a_deadline_follows_what_such_runs_took_within_bounds() -> None:
    """A run of two seconds has two minutes, one of an hour six; beside six runs there is time to load."""
    for seconds, deadline in ((2.0, 120), (20.0, 180), (3600.0, 360)):
        world = World()
        world.state.run_times.learn(a_request("X1").job, "", seconds)
        world.report("w1")
        world.request("A1")
        (job,) = world.dispatched()
        assert job.deadline_at - job.dispatched_at == timedelta(seconds=deadline)


def test_an_announcement_says_what_waits_and_who_could_draw_it(world: World) -> None:
    """Workers choose by it where to attach themselves."""
    world.report("w1", checkpoints=("a", "b"), strangers=("X1",))
    world.report("w2", checkpoints=("b",))
    world.report("w3", partition=5)
    world.request("A1", "B1", checkpoints=("a",))
    world.request("C1")
    world.request("D1")
    world.wait(4)
    said = announcement(world.state, "d1", world.now)
    assert (said.dispatcher_id, said.partitions) == ("d1", [0])
    assert (said.queued, said.checkpoints, said.workers, said.idle) == (3, {"a": 2, "": 1}, 2, 0)
    assert said.oldest_wait_seconds == pytest.approx(4)


def test_a_user_hears_that_a_worker_for_the_request_is_starting_or_that_there_is_none(world: World) -> None:
    """A place in a queue that nobody serves would promise something."""

    def note() -> str | None:
        (look,) = outlooks(world.state, world.now)
        assert look.eta_seconds is None
        return look.note

    world.request("A1", checkpoints=("a",))
    assert note() == NOBODY
    world.report("w1", slots=0, checkpoints=("b",))
    assert note() == NOBODY
    world.report("w2", slots=0)
    assert note() == STARTING
    world.report("w2", partition=5, checkpoints=("a",), strangers=("X1",))
    assert note() is None
