"""What every renderer does: one suite, run on the fake and on the real adapter with a loopback ComfyUI."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest
from PIL import Image

from services.contracts.events import Phase
from services.gpu_worker.ports import (
    BadInputImage,
    CheckpointMissing,
    ComfyUIDied,
    ComfyUIUnreachable,
    DeadlineExceeded,
    GraphRefused,
    Interrupted,
    RenderError,
    Rendering,
    RenderJob,
)
from tests.fakes.graphs import CHECKPOINT, TEXT_BINDINGS, image_job, text_job
from tests.harness.waiting import eventually
from tests.ports.renderer_worlds import NODE_FAULTS, World, comfyui_world, fake_world

LONG = 30.0  # seconds: a deadline that no test here reaches


@pytest.fixture(params=[fake_world, comfyui_world], ids=["fake", "comfyui"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each renderer in turn."""
    enter: Callable[[], AbstractContextManager[World]] = request.param
    with enter() as entered:
        yield entered


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """A thread for a job, as the worker gives it one."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def draw(world: World, job: RenderJob, seconds: float = LONG) -> Rendering:
    """Run a job that nobody watches."""
    return world.renderer.run(
        job, deadline=time.monotonic() + seconds, on_progress=lambda phase, percent: None
    )


def draw_aside(
    world: World, job: RenderJob, aside: ThreadPoolExecutor, seconds: float = LONG
) -> Future[Rendering]:
    """Start a job in its thread and wait until it is on the GPU."""
    future = aside.submit(draw, world, job, seconds)
    eventually(lambda: job.prompt_id in world.ran() or future.done())
    return future


def failure(world: World, job: RenderJob, seconds: float = LONG) -> RenderError:
    """Run a job that must fail."""
    with pytest.raises(RenderError) as caught:
        draw(world, job, seconds)
    return caught.value


def test_a_job_gives_as_many_pngs_as_asked_for(world: World) -> None:
    """Every image is a whole PNG of the size that it claims."""
    rendering = draw(world, text_job("a", images=3))
    assert len(rendering.images) == 3
    for image in rendering.images:
        with Image.open(io.BytesIO(image.data)) as opened:
            opened.load()
            assert (opened.format, opened.size) == ("PNG", (image.width, image.height))


def test_no_two_images_of_a_job_or_of_two_jobs_are_alike(world: World) -> None:
    """Images differ within a batch and between seeds, so nothing came from a cache."""
    drawn = [*draw(world, text_job("a")).images, *draw(world, text_job("z")).images]
    assert len({image.data for image in drawn}) == 4


def test_gpu_time_is_counted(world: World) -> None:
    """A job that ran cost GPU time."""
    assert draw(world, text_job("a")).gpu_seconds > 0


def test_progress_never_falls_and_ends_at_a_hundred(world: World) -> None:
    """The percentage is fit to be shown as it comes."""
    seen: list[tuple[Phase, int]] = []
    job = text_job("a", steps=8)
    world.renderer.run(job, deadline=time.monotonic() + LONG, on_progress=lambda *told: seen.append(told))
    percents = [percent for _, percent in seen]
    assert percents == sorted(percents)
    assert seen[0] == (Phase.STARTING, 0)
    assert seen[-1] == (Phase.RUNNING, 100)


@pytest.mark.parametrize("what", NODE_FAULTS)
def test_f9_a_failure_in_a_node_is_named_by_its_kind_with_its_cause(world: World, what: str) -> None:
    """The original masked one error by another: here each kind has its code, and the log learns the cause."""
    world.fail_next(what)
    error = failure(world, text_job("a"))
    assert error.code.value == what
    assert "raised" in error.detail
    assert draw(world, text_job("b")).images, "the renderer must go on after a failed job"


@pytest.mark.parametrize("what", NODE_FAULTS)
def test_f4_a_failure_is_a_sentence_and_never_a_traceback_path_or_prompt(world: World, what: str) -> None:
    """The original's tracebacks became results: what leaves the worker is a fixed sentence."""
    world.fail_next(what)
    info = failure(world, text_job("a", prompt="my secret wish")).info()
    assert info.message == failure_sentence(what)
    for leak in ("Traceback", "/opt", ".py", "secret", "KSampler"):
        assert leak not in info.message


def failure_sentence(what: str) -> str:
    """The fixed sentence of an error code."""
    return NODE_FAULTS[what][1]().code.sentence


def test_f5_a_hanging_job_is_interrupted_at_its_deadline(world: World) -> None:
    """The original's timeout could not fire: here the job ends in time, and the next one runs."""
    world.hang_next()
    started = time.monotonic()
    error = failure(world, text_job("a"), seconds=0.3)
    assert time.monotonic() - started < 5
    assert isinstance(error, DeadlineExceeded)
    assert (error.stuck, error.retryable) == (False, False)
    assert draw(world, text_job("b")).images


def test_f5_a_job_that_ignores_the_interrupt_is_reported_as_stuck(world: World) -> None:
    """Only then must ComfyUI be restarted, and only then may another attempt help."""
    world.hang_next(ignoring_interrupt=True)
    error = failure(world, text_job("a"), seconds=0.2)
    assert isinstance(error, DeadlineExceeded)
    assert (error.stuck, error.retryable) == (True, True)


def test_f5_a_job_whose_deadline_has_passed_is_not_started(world: World) -> None:
    """GPU time is not spent on what nobody waits for."""
    error = failure(world, text_job("a"), seconds=-1.0)
    assert isinstance(error, DeadlineExceeded)
    assert not error.stuck
    assert world.ran() == []


def test_interrupting_stops_the_named_job(world: World, aside: ThreadPoolExecutor) -> None:
    """A cancellation ends the job at once."""
    world.hang_next()
    future = draw_aside(world, text_job("a"), aside)
    assert world.renderer.interrupt("a")
    with pytest.raises(Interrupted):
        future.result(5)


def test_interrupting_stops_no_other_job(world: World, aside: ThreadPoolExecutor) -> None:
    """Cancelling must never kill somebody else's job."""
    world.hang_next()
    future = draw_aside(world, text_job("a"), aside, seconds=0.5)
    assert not world.renderer.interrupt("somebody-elses")
    with pytest.raises(DeadlineExceeded):
        future.result(5)


def test_interrupting_a_job_that_is_over_does_nothing(world: World) -> None:
    """A cancellation that comes too late is harmless."""
    draw(world, text_job("a"))
    assert not world.renderer.interrupt("a")
    assert draw(world, text_job("b")).images


def test_a_job_that_may_be_known_is_not_run_twice(world: World) -> None:
    """A restarted worker takes its finished job up instead of drawing it again."""
    first = draw(world, text_job("a"))
    again = draw(world, text_job("a", maybe_known=True))
    assert [image.data for image in again.images] == [image.data for image in first.images]
    assert world.ran() == ["a"]


def test_a_job_that_might_be_known_but_is_not_is_run(world: World) -> None:
    """Looking first costs nothing but a look."""
    assert draw(world, text_job("a", maybe_known=True)).images
    assert world.ran() == ["a"]


def test_closing_ends_a_running_job(world: World, aside: ThreadPoolExecutor) -> None:
    """A worker that must go does not wait for its job."""
    world.hang_next()
    future = draw_aside(world, text_job("a"), aside)
    world.renderer.close()
    with pytest.raises(Interrupted):
        future.result(5)
    assert not world.renderer.ready()


def test_a_missing_checkpoint_is_its_own_failure_that_another_worker_may_not_have(world: World) -> None:
    """The graph names a file that is not there: nothing ran, and somebody else can try."""
    error = failure(world, text_job("a", checkpoint="gone.safetensors"))
    assert isinstance(error, CheckpointMissing)
    assert error.retryable
    assert "gone.safetensors" in error.detail
    assert world.ran() == []


def test_an_input_image_reaches_its_node(world: World) -> None:
    """Image to image works end to end."""
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), "red").save(buffer, "PNG")
    assert len(draw(world, image_job("a", buffer.getvalue())).images) == 2


def test_an_input_that_is_no_image_is_its_own_failure(world: World) -> None:
    """ComfyUI takes any bytes as an upload; the node that reads them complains, and trying again would not help."""
    error = failure(world, image_job("a", b"8 bytes!"))
    assert isinstance(error, BadInputImage)
    assert not error.retryable


@pytest.mark.parametrize(
    ("graph", "bindings"),
    [
        ("not json", TEXT_BINDINGS),
        ("[]", TEXT_BINDINGS),
        (json.dumps({"1": {"class_type": "KSampler"}}), TEXT_BINDINGS),
        (text_job("x").graph, {**TEXT_BINDINGS, "seed": ["99.seed"]}),
        (text_job("x").graph, {"batch_size": ["5.batch_size"]}),
    ],
)
def test_a_graph_that_cannot_be_bound_is_refused_before_it_runs(
    world: World, graph: str, bindings: dict[str, list[str]]
) -> None:
    """A broken workflow costs no GPU time, and trying it again would not help."""
    job = RenderJob(prompt_id="a", graph=graph, bindings=bindings, seed=1, images=1, filename_prefix="x")
    error = failure(world, job)
    assert isinstance(error, GraphRefused)
    assert not error.retryable
    assert world.ran() == []


def test_a_renderer_says_what_it_has(world: World) -> None:
    """The dispatcher sends jobs where their models are, by this."""
    info = world.renderer.describe()
    assert info.gpu
    assert info.vram_bytes > 0
    assert CHECKPOINT in info.checkpoints


def test_a_renderer_knows_what_its_last_job_left_in_memory(world: World) -> None:
    """At once and without asking: the next dispatch is decided by it."""
    assert world.renderer.loaded() == ()
    draw(world, text_job("a"))
    assert world.renderer.loaded() == (CHECKPOINT,)


def test_what_was_in_memory_went_with_a_dead_renderer(world: World) -> None:
    """A job sent there for its model would wait for it to be loaded."""
    draw(world, text_job("a"))
    world.kill()
    failure(world, text_job("b"))
    assert world.renderer.loaded() == ()


def test_a_dead_renderer_says_so(world: World) -> None:
    """Nothing waits for a ComfyUI that is gone, and another worker may take its job."""
    assert world.renderer.ready()
    world.kill()
    error = failure(world, text_job("a"))
    assert isinstance(error, ComfyUIUnreachable | ComfyUIDied)
    assert error.retryable
    assert not world.renderer.ready()
    with pytest.raises(ComfyUIUnreachable):
        world.renderer.describe()
    with pytest.raises(ComfyUIUnreachable):
        world.renderer.interrupt("a")
