"""A request whose images are drawn by several workers at once: one ledger record makes the parts, one event ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import Outcome
from services.dispatcher import decide
from services.dispatcher.actions import Complete, Record
from services.dispatcher.job import part_of
from services.dispatcher.watch import tick
from tests.unit.dispatcher.world import World, a_request


@pytest.fixture
def split(world: World) -> World:
    """Three idle workers, and a request of four images."""
    for worker in ("w1", "w2", "w3"):
        world.report(worker)
    world.request("A1", images=4)
    return world


def shares(world: World) -> list[tuple[str, int, int, int]]:
    """Worker, part, images and first seed of everything dispatched."""
    return [(job.worker_id, job.part, job.job.images, job.job.seed) for job in world.dispatched()]


def test_the_images_of_a_lone_request_are_drawn_by_all_idle_workers(split: World) -> None:
    """Each draws its share, with seeds that follow each other as they would have in one run."""
    assert shares(split) == [("w1", 1, 2, 1), ("w2", 2, 1, 3), ("w3", 3, 1, 4)]
    assert {job.parts for job in split.dispatched()} == {3}
    assert len({job.dispatch_id for job in split.dispatched()}) == 3


def test_a_request_stays_whole_under_load(world: World) -> None:
    """With others waiting, parts would only cost them."""
    world.request("A1", "B1", images=4)
    for worker in ("w1", "w2", "w3"):
        world.report(worker)
    assert world.dispatched()[0].part == 0


@pytest.mark.parametrize(
    ("images", "seconds", "workers"),
    [(1, 300, 3), (4, 1, 3), (4, 300, 1)],
    ids=["one image", "short", "alone"],
)
def test_a_request_stays_whole_where_parts_end_it_no_sooner(
    images: int, seconds: float, workers: int
) -> None:
    """One image cannot be divided, a short run is over before, and one worker would draw them one after another."""
    world = World()
    world.state.run_times.learn(a_request("X1", images=images).job, "", seconds)
    for number in range(workers):
        world.report(f"w{number}")
    world.request("A1", images=images)
    assert [job.part for job in world.dispatched()] == [0]


def test_a_workflow_without_a_batch_size_is_not_divided(world: World) -> None:
    """Nothing in its graph says how many images to draw."""
    spec = a_request("A1", images=4).job
    assert spec.bindings == {}
    world.report("w1")
    world.report("w2")
    request = a_request("A1", images=4)
    world.perform(decide.admit(world.state, request, 0, world.now, sure=True))
    assert [job.part for job in world.dispatched()] == [0]


def test_only_workers_that_are_as_warm_help(world: World) -> None:
    """A part that loads its checkpoint first would end after the whole."""
    world.report("w1", checkpoints=("a", "b"), loaded=("a",))
    world.report("w2", checkpoints=("a", "b"), loaded=("b",))
    world.request("A1", images=4, checkpoints=("a",))
    assert [(job.worker_id, job.part) for job in world.dispatched()] == [("w1", 0)]


def test_the_request_ends_once_when_its_last_part_has_ended(split: World) -> None:
    """The images come in the order of the parts, whichever came first."""
    split.complete("A1/3", images=("d",), seconds=5)
    split.complete("A1/1", images=("a", "b"), seconds=9)
    assert split.ends() == []
    split.complete("A1/2", images=("c",), seconds=4)
    (end,) = split.ends()
    assert (end.outcome, end.final, end.part, end.gpu_seconds) == (Outcome.SUCCEEDED, True, 0, 18)
    assert [image.object_key for image in end.images] == ["a", "b", "c", "d"]
    assert split.state.jobs == {}


def test_a_part_that_is_completed_twice_counts_once(split: World) -> None:
    """A redelivered event, or two attempts that both succeeded."""
    for images in (("a", "b"), ("x", "y")):
        split.complete("A1/1", images=images)
    split.complete("A1/2", images=("c",))
    split.complete("A1/3", images=("d",))
    (end,) = split.ends()
    assert [image.object_key for image in end.images] == ["a", "b", "c", "d"]


def test_a_lost_part_is_drawn_again_alone(split: World) -> None:
    """The others keep what they have; it goes to the first of them that is done."""
    split.complete("A1/2", error=error_info(ErrorCode.WORKER_LOST))
    split.complete("A1/3", images=("d",))
    again = split.dispatched()[-1]
    assert (again.part, again.attempt, again.job.images, again.job.seed) == (2, 2, 1, 3)


def test_a_part_that_cannot_be_drawn_ends_the_request(split: World) -> None:
    """Its user hears once; what the other workers still draw is nobody's."""
    split.complete("A1/2", error=error_info(ErrorCode.NODE_ERROR, retryable=False))
    (end,) = split.ends()
    assert end.outcome is Outcome.FAILED
    split.complete("A1/1", images=("a", "b"))
    split.complete("A1/3", images=("d",))
    assert len(split.ends()) == 1
    assert split.state.jobs == {}


@pytest.mark.parametrize("kept", range(1, 6))
def test_a_crash_anywhere_in_a_split_leaves_a_request_that_goes_on(split: World, kept: int) -> None:
    """Each prefix of the ledger holds the request whole, or all of its parts."""
    split.complete("A1/1", images=("a", "b"))
    records = [action for action in split.written if isinstance(action, Record)][:kept]
    rebuilt = World(now=split.now)
    for action in records:
        rebuilt.state.record(action.record, action.partition)
    rebuilt.wait(rebuilt.policy.silence + 1)
    rebuilt.report("w9", slots=9)
    rebuilt.tick()
    for job in list(rebuilt.state.jobs.values()):
        if job.record.dispatch_id:
            rebuilt.complete(job.key, images=tuple("x" * job.spec.images))
    (end,) = rebuilt.ends()
    assert len(end.images) == 4


def test_the_ledger_forgets_the_parts_with_the_request(split: World) -> None:
    """It does not grow for ever, and a part that is left without its request goes as well."""
    for part in (1, 2, 3):
        split.complete(f"A1/{part}", images=("a",))
    orphan = next(a.record for a in split.written if isinstance(a, Record) and a.record.part == 2)
    split.wait(split.policy.finished_kept + 1)
    split.tick()
    assert split.state.finished == {}
    left = World()
    left.state.record(orphan, 0)
    left.tick()
    assert left.state.jobs == {}


def test_the_parts_of_a_number_of_images_are_all_of_them() -> None:
    """Whatever the division leaves over."""
    for images in range(1, 17):
        for parts in range(1, images + 1):
            spec = a_request("A1", images=images).job
            made = [part_of(spec, part, parts) for part in range(1, parts + 1)]
            seeds = [part.seed + n for part in made for n in range(part.images)]
            assert seeds == [spec.seed + n for n in range(images)]
            assert max(p.images for p in made) - min(p.images for p in made) <= 1


def test_a_cancelled_split_request_ends_at_once(split: World) -> None:
    """Its workers read the cancellation too; what they say of it afterwards changes nothing."""
    split.cancel("A1")
    assert [end.outcome for end in split.ends()] == [Outcome.CANCELLED]
    assert split.state.jobs == {}


def test_a_part_has_the_deadline_of_its_own_run(world: World) -> None:
    """A quarter of the images takes a quarter of the time."""
    world.state.run_times.learn(a_request("X1", images=4).job, "", 80)
    for worker in ("w1", "w2", "w3", "w4"):
        world.report(worker)
    world.request("A1", images=4)
    limits = {job.deadline_at - job.dispatched_at for job in world.dispatched()}
    assert limits == {timedelta(seconds=3 * world.policy.load_seconds + world.policy.deadline_factor * 20)}


def test_a_crash_before_the_end_of_the_last_part_is_told_loses_nothing(split: World) -> None:
    """Nothing of the last part is kept before: read again, its end ends the request."""
    split.complete("A1/1", images=("a", "b"))
    split.complete("A1/2", images=("c",))
    job = split.state.jobs["A1/3"]
    event = split.ended("A1/3", images=("d",))
    (tell, over) = decide.complete(split.state, event, split.now)
    assert isinstance(tell, Complete)
    assert isinstance(over, Record)
    assert split.state.jobs["A1/3"] is job
    assert decide.complete(split.state, event, split.now) == [tell, over]


def test_images_of_a_part_are_kept_as_long_as_its_request_is_open(split: World) -> None:
    """However long the others take."""
    split.complete("A1/1", images=("a", "b"))
    for _ in range(2):
        split.wait(split.policy.finished_kept)
        for worker in ("w2", "w3"):
            split.report(worker)
        list(tick(split.state, split.now, sure=False))
    split.complete("A1/2", images=("c",))
    split.complete("A1/3", images=("d",))
    assert len(split.ends()[0].images) == 4


def test_two_parts_that_are_lost_at_once_end_the_request_once(split: World) -> None:
    """What a step has made void is not performed."""
    split.policy = split.state.policy = replace(split.policy, attempts=1)
    split.wait(split.policy.silence + 1)
    split.tick()
    split.report("w9", slots=9)
    assert len(split.ends()) == 1
    assert len(split.dispatched()) == 3


def test_a_worker_that_still_draws_a_part_of_an_ended_request_gets_nothing(split: World) -> None:
    """The GPU is not free before its report says so."""
    for number, worker in enumerate(("w1", "w2", "w3"), start=1):
        split.report(worker, names=(f"A1/{number}",))
    split.cancel("A1")
    split.request("B1")
    assert "B1" not in split.order()
    split.report("w1", names=())
    assert split.order()[-1] == "B1"
