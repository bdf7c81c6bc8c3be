"""A part of a split request on a worker: drawn, stored and told as a job of its own that ends nothing."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from services.contracts.events import JobDispatched, Outcome, Phase
from services.gpu_worker import decide
from services.gpu_worker.ports import NodeFailed
from services.gpu_worker.provenance import read_texts
from tests.unit.gpu_worker.test_decide import JOB, NOON
from tests.unit.gpu_worker.test_holdings import ENVELOPE
from tests.unit.gpu_worker.test_jobs import NEVER, World, a_job


@pytest.fixture
def world() -> World:
    """Everything empty and well."""
    return World()


def a_part(part: int, *, seed: int = 41, images: int = 2, attempt: int = 1) -> JobDispatched:
    """One of three parts of a request, as the dispatcher sends it: with its own images and seed."""
    job = a_job(part=part, parts=3, attempt=attempt, dispatch_id=f"d{part}-{attempt}")
    return replace(job, job=replace(job.job, seed=seed, images=images))


def test_a_part_says_which_one_it_is_in_all_that_is_told_of_it() -> None:
    """Else nobody could put the request together again."""
    job = replace(JOB, part=2, parts=3)
    told = (
        decide.progressed(job, Phase.RUNNING, 10, NOON),
        decide.succeeded(job, [], NOON, gpu_seconds=1.0, reused=False),
        decide.failed(job, NodeFailed("-").info(), NOON),
        decide.cancelled(job, NOON),
    )
    assert {(event.part, event.parts) for event in told} == {(2, 3)}
    assert decide.progressed(JOB, Phase.RUNNING, 10, NOON).part == 0


def test_a_parts_success_ends_no_request(world: World) -> None:
    """Only the dispatcher has all the parts; a request that is whole is over."""
    world.runner.run(a_part(1), ENVELOPE, NEVER)
    world.runner.run(a_job(), ENVELOPE, NEVER)
    ends = [(event.outcome, event.final) for event in world.sent.completed]
    assert ends == [(Outcome.SUCCEEDED, False), (Outcome.SUCCEEDED, True)]


def test_a_parts_images_have_its_own_seeds(world: World) -> None:
    """They go on where the part before left off: in the event, for ComfyUI, and in the picture's own text."""
    world.runner.run(a_part(2, seed=43), ENVELOPE, NEVER)
    (event,) = world.sent.completed
    assert [image.seed for image in event.images] == [43, 44]
    (ran,) = world.renderer.ran
    assert (ran.seed, ran.images) == (43, 2)
    texts = read_texts(world.store.objects[event.images[1].object_key].data)
    assert json.loads(texts["distillery"])["seed"] == 44


def test_parts_and_the_whole_of_a_request_lie_apart(world: World) -> None:
    """Whatever was split how, and drawn twice or not, nothing is overwritten; all is within the request's folder."""
    for job in (a_job(), a_part(1), a_part(2), replace(a_part(1), parts=2, dispatch_id="other")):
        world.runner.run(job, ENVELOPE, NEVER)
    keys = [image.object_key for event in world.sent.completed for image in event.images]
    assert len(set(keys)) == len(keys) == 8
    assert len({key.split("/")[2] for key in keys}) == 1
    assert len({job.filename_prefix for job in world.renderer.ran}) == 4


def test_f1_a_part_that_was_drawn_is_told_again_without_drawing(world: World) -> None:
    """The next attempt finds its own part's images, and no other's."""
    world.runner.run(a_part(1), ENVELOPE, NEVER)
    world.runner.run(a_part(2, seed=43), ENVELOPE, NEVER)
    world.runner.run(a_part(1, attempt=2), ENVELOPE, NEVER)
    first, _, again = world.sent.completed
    assert len(world.renderer.ran) == 2
    assert (again.reused, again.images, again.final, again.part) == (True, first.images, False, 1)


def test_a_part_that_was_drawn_is_told_of_though_its_worker_gives_jobs_back(world: World) -> None:
    """It is no failure of the worker's own doing: the images are there."""
    given_back = threading.Event()
    given_back.set()
    world.runner.run(a_part(1), ENVELOPE, given_back)
    assert [event.outcome for event in world.sent.completed] == [Outcome.SUCCEEDED]


def test_a_parts_list_of_images_is_of_that_part_alone(world: World) -> None:
    """Its presence says that all of them are stored."""
    world.runner.run(a_part(2, images=1), ENVELOPE, NEVER)
    (key,) = [key for key in world.store.objects if key.endswith("2-of-3/result.json")]
    assert [image["object_key"] for image in json.loads(world.store.objects[key].data)] == [
        world.sent.completed[0].images[0].object_key
    ]
