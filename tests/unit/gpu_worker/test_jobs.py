"""One job from its dispatch to its ``completed``."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from services.chassis.clock import system_clock
from services.chassis.metrics import Metrics
from services.chassis.object_store import ObjectStoreUnreachable
from services.chassis.retry import SendFailed
from services.contracts.envelope import Envelope
from services.contracts.events import Event, InputImage, JobCompleted, JobDispatched, JobSpec, Outcome
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.ports import ComfyUIDied, Interrupted, NodeFailed
from services.gpu_worker.provenance import read_texts
from tests.fakes.graphs import text_job
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.renderer import FakeRenderer
from tests.unit.gpu_worker.test_decide import JOB
from tests.unit.gpu_worker.test_holdings import ENVELOPE


class Sent:
    """Stands in for the outbox: keeps what was sent, and fails as often as told."""

    def __init__(self) -> None:
        self.completed: list[JobCompleted] = []
        self.failures = 0

    def send(self, event: Event, cause: Envelope | None) -> None:
        """As `SyncOutbox.send`."""
        if self.failures:
            self.failures -= 1
            raise SendFailed("the broker is away", after_seconds=0.0)
        assert isinstance(event, JobCompleted)
        self.completed.append(event)

    def send_soon(self, event: Event, cause: Envelope | None) -> None:
        """Progress is nobody's business here."""


NEVER = threading.Event()  #: a worker that gives nothing back


class World:
    """A runner with its surroundings."""

    def __init__(self) -> None:
        self.renderer = FakeRenderer()
        self.store = FakeObjectStore()
        self.sent = Sent()
        self.runner = JobRunner(
            self.renderer,
            self.store,
            self.sent,  # type: ignore[arg-type]  # all that a runner uses of an outbox
            Metrics("gpu_worker"),
            system_clock,
        )


@pytest.fixture
def world() -> World:
    """Everything empty and well."""
    return World()


def a_job(**changes: object) -> JobDispatched:
    """A job that the fake can draw, in time."""
    template = text_job("d1", images=2)
    spec = JobSpec(
        workflow="sd15",
        workflow_version="1",
        graph=template.graph,
        bindings={name: list(places) for name, places in template.bindings.items()},
        seed=41,
        images=2,
        parameters={"prompt": "a boat"},
    )
    now = system_clock()
    job = replace(JOB, job=spec, dispatched_at=now, deadline_at=now.replace(year=now.year + 1))
    return replace(job, **changes)  # type: ignore[arg-type]  # a test names fields of the event


def test_a_job_ends_with_its_images_stored_and_told(world: World) -> None:
    """Each image has its own seed and lies where the event says."""
    assert world.runner.run(a_job(), ENVELOPE, NEVER) is None
    (event,) = world.sent.completed
    assert (event.outcome, event.final, [image.seed for image in event.images]) == (
        Outcome.SUCCEEDED,
        True,
        [41, 42],
    )
    for image in event.images:
        assert len(world.store.objects[image.object_key].data) == image.bytes


def test_f12_a_stored_image_tells_how_it_was_made(world: World) -> None:
    """And ComfyUI's own graph is not in it."""
    world.runner.run(a_job(), ENVELOPE, NEVER)
    key = world.sent.completed[0].images[0].object_key
    texts = read_texts(world.store.objects[key].data)
    assert "parameters" in texts
    assert "prompt" not in texts


def test_f1_a_result_that_is_stored_is_told_again_without_drawing(world: World) -> None:
    """A repeated dispatch costs no GPU time."""
    world.runner.run(a_job(), ENVELOPE, NEVER)
    again = replace(a_job(), dispatch_id="d2", attempt=2)
    world.runner.run(again, ENVELOPE, NEVER)
    first, second = world.sent.completed
    assert len(world.renderer.ran) == 1
    assert (second.reused, second.images, second.attempt) == (True, first.images, 2)


def test_images_without_their_list_are_drawn_again(world: World) -> None:
    """A crash between two images must not deliver one of two."""
    world.runner.run(a_job(), ENVELOPE, NEVER)
    del world.store.objects[next(key for key in world.store.objects if key.endswith("result.json"))]
    world.runner.run(a_job(), ENVELOPE, NEVER)
    assert len(world.renderer.ran) == 2


def test_a_list_that_cannot_be_read_is_as_good_as_none(world: World) -> None:
    """Every attempt would fail of it otherwise."""
    world.runner.run(a_job(), ENVELOPE, NEVER)
    key = next(key for key in world.store.objects if key.endswith("result.json"))
    world.store.put(key, b"{", "application/json")
    world.runner.run(a_job(), ENVELOPE, NEVER)
    assert len(world.renderer.ran) == 2
    assert world.sent.completed[1].outcome is Outcome.SUCCEEDED


def test_f4_a_failure_is_a_code_and_a_sentence(world: World) -> None:
    """Never the renderer's own words, which hold paths."""
    world.renderer.fail_next(NodeFailed("KSampler: RuntimeError: /srv/comfyui/secret.py broke"))
    world.runner.run(a_job(), ENVELOPE, NEVER)
    (event,) = world.sent.completed
    assert event.error is not None
    assert (event.outcome, event.final, event.error.code) == (Outcome.FAILED, False, "node_error")
    assert "secret.py" not in event.error.message


def test_a_dead_renderer_is_reported_to_the_caller(world: World) -> None:
    """It must be seen to before the next job."""
    world.renderer.fail_next(ComfyUIDied("gone"))
    assert isinstance(world.runner.run(a_job(), ENVELOPE, NEVER), ComfyUIDied)


def test_a_store_that_is_away_is_a_failure_that_another_try_may_heal(world: World) -> None:
    """The images cannot be told of, since they are nowhere."""
    world.store.fail_next = [ObjectStoreUnreachable("away")]
    world.runner.run(a_job(), ENVELOPE, NEVER)
    (event,) = world.sent.completed
    assert event.error is not None
    assert (event.error.code, event.error.retryable) == ("storage_unavailable", True)


def test_an_input_that_has_vanished_fails_the_job(world: World) -> None:
    """Not the worker."""
    entry = InputImage(parameter="image", object_key="inputs/none.png", content_type="image/png", bytes=1)
    job = a_job()
    world.runner.run(replace(job, job=replace(job.job, inputs=[entry])), ENVELOPE, NEVER)
    assert world.sent.completed[0].outcome is Outcome.FAILED


def test_completed_is_sent_until_the_broker_has_it(world: World) -> None:
    """The images exist, and only this event says so."""
    world.sent.failures = 3
    world.runner.run(a_job(), ENVELOPE, NEVER)
    assert len(world.sent.completed) == 1


def test_a_job_that_was_given_back_is_not_told_as_failed(world: World) -> None:
    """Its interruption was the worker's own doing; the dispatcher sends it elsewhere."""
    world.renderer.fail_next(Interrupted("the worker leaves"))
    given_back = threading.Event()
    given_back.set()
    world.runner.run(a_job(), ENVELOPE, given_back)
    assert world.sent.completed == []


def test_a_result_that_nobody_takes_does_not_hold_a_worker_that_leaves(world: World) -> None:
    """The images are stored, so that the next attempt tells of them without drawing."""
    world.sent.failures = 99
    given_back = threading.Event()
    given_back.set()
    world.runner.run(a_job(), ENVELOPE, given_back)
    assert (world.sent.failures, world.sent.completed) == (98, [])


def test_a_crash_of_ours_is_told_until_the_broker_has_it(world: World) -> None:
    """Else the job would be marked as done and nobody would hear of it."""
    world.sent.failures = 2
    world.runner.crashed(a_job(), ENVELOPE, NEVER)
    (event,) = world.sent.completed
    assert event.error is not None
    assert (event.final, event.error.code) == (False, "internal_error")


def test_a_job_whose_time_ran_out_before_it_began_may_be_tried_again(world: World) -> None:
    """The lane stood still, a broker's restart for instance; nothing was drawn."""
    world.runner.run(a_job(deadline_at=system_clock()), ENVELOPE, NEVER)
    (event,) = world.sent.completed
    assert event.error is not None
    assert (event.error.code, event.error.retryable, world.renderer.ran) == ("deadline_exceeded", True, [])
