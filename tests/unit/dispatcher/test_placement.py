"""Which worker a job goes to: one that has its checkpoint in memory, unless that costs its user too much."""

from __future__ import annotations

from services.contracts.errors import ErrorCode, error_info
from services.dispatcher.policy import Policy
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


def test_a_worker_counts_as_warm_for_what_it_was_just_given() -> None:
    """Its report comes later; the next job of the same checkpoint is held behind this one."""
    world = World(run_seconds=1)
    world.report("w1", checkpoints=BOTH, held_limit=1)
    world.request("A1", checkpoints=("a",))
    world.report("w2", checkpoints=BOTH, strangers=("X1",), held_limit=1)
    world.request("B1", checkpoints=("a",))
    assert workers_of(world) == {"A1": "w1", "B1": "w1"}


def test_a_job_is_held_only_behind_one_that_should_end_soon() -> None:
    """Until then another user may come, or a worker become free, who should have the place."""
    world = World(run_seconds=20)
    world.report("w1", held_limit=1)
    world.request("A1", "A2")
    world.wait(20 - world.policy.hold_seconds - 0.1)
    world.report("w1", held_limit=1)
    assert world.order() == ["A1"]
    world.request("B1")
    world.wait(0.1)
    world.report("w1", held_limit=1)
    assert world.order() == ["A1", "B1"]


def test_an_idle_worker_loads_what_no_warm_worker_will_soon_have_room_for() -> None:
    """A GPU that stands still helps nobody."""
    world = World(run_seconds=300)
    world.report("w1", checkpoints=BOTH, loaded=("a",))
    world.request("A1", checkpoints=("a",))
    world.report("w2", checkpoints=BOTH, loaded=("b",))
    world.request("B1", checkpoints=("a",))
    assert workers_of(world)["B1"] == "w2"


def test_a_job_waits_a_moment_for_a_warm_worker_that_will_soon_be_free() -> None:
    """Loading it elsewhere would take longer; should the moment become ten seconds, it goes elsewhere."""
    world = World(run_seconds=5)
    world.report("w1", checkpoints=BOTH, loaded=("a",))
    world.request("A1", checkpoints=("a",))
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


def test_a_held_place_is_kept_for_the_checkpoint_that_is_in_memory() -> None:
    """Another user's job of that checkpoint passes; the one it passed goes anyway after ten seconds."""
    world = World(run_seconds=1)
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


def test_after_a_long_wait_a_job_is_passed_over_for_as_long_again() -> None:
    """Ten seconds are nothing to one who has waited for a minute, and each load costs everybody who waits."""
    world = World(run_seconds=1)
    world.report("w1", checkpoints=BOTH, loaded=("a",), slots=2, held_limit=0, strangers=("X1", "X2"))
    world.request("B1", checkpoints=("b",))
    world.wait(60)
    world.report("w1", checkpoints=BOTH, loaded=("a",), slots=1, held_limit=1, strangers=("X1",))
    world.request("C1", checkpoints=("a",))
    assert world.order() == ["C1"]
    for second in range(60):
        assert "B1" not in world.order(), second
        world.wait(1)
        world.report("w1", checkpoints=BOTH, loaded=("a",), slots=1, held_limit=2, strangers=("X1",))
        world.tick()
    assert world.order() == ["C1", "B1"]


def test_a_users_later_job_of_another_checkpoint_need_not_wait_for_the_earlier() -> None:
    """Only a turn is fair; which of the user's own jobs takes it is what the memory suits."""
    world = World(run_seconds=300)
    world.report("w1", checkpoints=BOTH, loaded=("a",), strangers=("X1",))
    world.report("w2", checkpoints=BOTH, loaded=("b",), strangers=("X2",))
    world.request("A1", checkpoints=("a",))
    world.request("A2", checkpoints=("b",))
    world.report("w2", checkpoints=BOTH, loaded=("b",))
    assert workers_of(world) == {"A2": "w2"}


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


def test_heads_that_only_a_busy_worker_can_draw_hold_nobody_up(world: World) -> None:
    """They need a LoRA that the idle one lacks; the next user of the same checkpoint does not."""
    world.report("w1", checkpoints=BOTH, loaded=("a",), loras=("x",))
    world.report("w2", checkpoints=BOTH, loaded=("a",), loras=("y",), strangers=("X1",))
    for user in "ABCDE":
        world.request(f"{user}1", checkpoints=("a",), loras=("y",))
    world.request("F1", checkpoints=("a",))
    assert workers_of(world) == {"F1": "w1"}


def test_few_workers_at_a_time_turn_out_what_others_wait_for() -> None:
    """Each load costs everybody who waits; the impatient take turns at it."""
    world = World(run_seconds=1)
    three = ("a", "b", "c")

    def report(room: int) -> None:
        for worker in ("w1", "w2"):
            strangers = (f"X{worker}",)
            world.report(worker, checkpoints=three, loaded=("a",), held_limit=room, strangers=strangers)

    report(0)
    world.request("B1", checkpoints=("b",))
    world.request("C1", checkpoints=("c",))
    world.wait(1)
    world.request("A1", checkpoints=("a",))
    report(1)
    assert world.order() == ["A1"]
    world.wait(world.policy.patience + 1)
    report(2)
    world.tick()
    assert world.order() == ["A1", "B1"]
    world.complete("B1")
    world.tick()
    assert world.order() == ["A1", "B1", "C1"]


def test_a_user_with_many_workers_waits_for_a_warm_one_although_another_idles() -> None:
    """A flood of one user's requests would turn out of memory what everybody else comes back for."""
    world = World(run_seconds=60)
    for number in range(6):
        loaded = ("a",) if number < 4 else ("b",)
        world.report(f"w{number}", checkpoints=BOTH, loaded=loaded)
    world.request("A1", "A2", "A3", "A4", "A5", checkpoints=("a",))
    assert world.order() == ["A1", "A2", "A3", "A4"]
    world.request("B1", checkpoints=("a",))
    assert workers_of(world)["B1"] == "w4"
    world.wait(world.policy.patience)
    for number in range(6):
        world.report(f"w{number}", checkpoints=BOTH, loaded=("a",) if number < 5 else ("b",))
    world.tick()
    assert workers_of(world)["A5"] == "w5"


def test_in_a_large_fleet_fifty_workers_are_many_for_one_user() -> None:
    """A quarter of a thousand would be enough to turn everything out of memory."""
    world = World(policy=Policy(spread_share=1.0, queued_per_user=100), run_seconds=300)
    for number in range(52):
        loaded = ("a",) if number < 50 else ("b",)
        world.report(f"w{number}", checkpoints=BOTH, loaded=loaded)
    world.request(*(f"A{number}" for number in range(52)), checkpoints=("a",))
    assert len(world.order()) == 50
