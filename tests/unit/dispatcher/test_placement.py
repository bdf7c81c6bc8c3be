"""Which worker a job goes to: one that has its checkpoint in memory, unless that costs its user too much."""

from __future__ import annotations

from services.contracts.errors import ErrorCode, error_info
from tests.unit.dispatcher.world import World

WORKER_LOST = error_info(ErrorCode.WORKER_LOST)
BOTH = ("a", "b")


def workers_of(world: World) -> dict[str, str]:
    """Who was given what."""
    return {job.request_id: job.worker_id for job in world.dispatched()}


def test_f11_a_worker_that_has_the_checkpoint_in_memory_is_preferred(world: World) -> None:
    """The other would load it for twenty seconds first."""
    world.report("w1", checkpoints=BOTH, loaded=("b",))
    world.report("w2", checkpoints=BOTH, loaded=("a",))
    world.request("A1", checkpoints=("a",))
    world.request("B1", checkpoints=("b",))
    assert workers_of(world) == {"A1": "w2", "B1": "w1"}


def test_a_worker_counts_as_warm_for_what_it_was_just_given(world: World) -> None:
    """Its report comes later; the next job of the same checkpoint is held behind this one."""
    world.report("w1", checkpoints=BOTH, held_limit=1)
    world.request("A1", checkpoints=("a",))
    world.report("w2", checkpoints=BOTH, strangers=("X1",), held_limit=1)
    world.request("B1", checkpoints=("a",))
    assert workers_of(world) == {"A1": "w1", "B1": "w1"}


def test_an_idle_worker_loads_what_no_warm_worker_will_soon_have_room_for(world: World) -> None:
    """A GPU that stands still helps nobody."""
    world.report("w1", checkpoints=BOTH, loaded=("a",))
    world.request("A1", checkpoints=("a",))
    world.state.run_times.learn(world.state.jobs["A1"].spec, "", 300)
    world.report("w2", checkpoints=BOTH, loaded=("b",))
    world.request("B1", checkpoints=("a",))
    assert workers_of(world)["B1"] == "w2"


def test_a_job_waits_a_moment_for_a_warm_worker_that_will_soon_be_free(world: World) -> None:
    """Loading it elsewhere would take longer; should the moment become ten seconds, it goes elsewhere."""
    world.report("w1", checkpoints=BOTH, loaded=("a",))
    world.request("A1", checkpoints=("a",))
    world.state.run_times.learn(world.state.jobs["A1"].spec, "", 5)
    world.report("w2", checkpoints=BOTH, loaded=("b",))
    world.request("B1", checkpoints=("a",))
    assert "B1" not in workers_of(world)
    world.wait(world.policy.patience - 0.1)
    world.report("w1", checkpoints=BOTH, loaded=("a",))
    world.report("w2", checkpoints=BOTH, loaded=("b",))
    world.tick()
    assert "B1" not in workers_of(world)
    world.wait(0.1)
    world.tick()
    assert workers_of(world)["B1"] == "w2"


def test_a_held_place_is_kept_for_the_checkpoint_that_is_in_memory(world: World) -> None:
    """Another user's job of that checkpoint passes; the one it passed goes anyway after ten seconds."""
    world.report("w1", checkpoints=BOTH, loaded=("a",), held_limit=1)
    world.request("A1", checkpoints=("a",))
    world.request("B1", checkpoints=("b",))
    assert world.order() == ["A1"]
    world.request("C1", checkpoints=("a",))
    assert world.order() == ["A1", "C1"]
    world.complete("A1")
    assert world.order() == ["A1", "C1"]
    world.wait(world.policy.patience)
    world.report("w1", checkpoints=BOTH, loaded=("a",), held_limit=1)
    world.tick()
    assert world.order() == ["A1", "C1", "B1"]


def test_a_job_that_failed_on_a_worker_waits_for_another_that_is_busy(world: World) -> None:
    """The one that just failed it would only fail it again."""
    world.report("w1")
    world.request("A1")
    world.report("w2", strangers=("X1",))
    world.complete("A1", error=WORKER_LOST)
    assert workers_of(world) == {"A1": "w1"}
    world.report("w2")
    assert workers_of(world) == {"A1": "w2"}


def test_a_worker_whose_memory_nobody_waits_for_is_taken_first(world: World) -> None:
    """The other's next job is already in the queue."""
    world.report("w1", checkpoints=("a", "b", "c"), loaded=("b",), strangers=("X1",))
    world.report("w2", checkpoints=("a", "b", "c"), loaded=("c",), strangers=("X2",))
    world.request("A1", checkpoints=("a",))
    world.request("B1", checkpoints=("b",))
    world.wait(1)
    world.report("w1", checkpoints=("a", "b", "c"), loaded=("b",))
    world.report("w2", checkpoints=("a", "b", "c"), loaded=("c",))
    assert workers_of(world) == {"A1": "w2", "B1": "w1"}
