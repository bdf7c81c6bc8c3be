"""The real adapter where ComfyUI has habits that no port knows: lost sockets, lost answers, caches, other clients."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.adapters.comfyui_http import Answer, ComfyUIHttp, Place
from services.gpu_worker.adapters.comfyui_run import Counts, JobRun, Timing
from services.gpu_worker.adapters.comfyui_socket import ComfyUISocket
from services.gpu_worker.ports import (
    ComfyUIDied,
    ComfyUIUnreachable,
    DeadlineExceeded,
    GraphRefused,
    Interrupted,
    NodeFailed,
    NoImages,
    RenderError,
    Rendering,
    RenderJob,
)
from services.sandbox.comfyui import Fault, FaultKind, SandboxSettings, serve_in_thread
from services.sandbox.comfyui.thread import SandboxThread
from tests.fakes.graphs import text_graph, text_job
from tests.harness.waiting import eventually
from tests.ports.renderer_worlds import QUICK

LONG = 30.0  # seconds: a deadline that no test here reaches
MID_JOB = 2  # a sampler step, of more than that


@pytest.fixture
def sandbox() -> Iterator[SandboxThread]:
    """A quick loopback ComfyUI."""
    with serve_in_thread(SandboxSettings(step_seconds=0.005, image_seconds=0.0)) as served:
        yield served


@pytest.fixture
def renderers() -> Iterator[list[ComfyUIRenderer]]:
    """Renderers to close at the end."""
    made: list[ComfyUIRenderer] = []
    yield made
    for renderer in made:
        renderer.close()


@pytest.fixture
def renderer(sandbox: SandboxThread, renderers: list[ComfyUIRenderer]) -> ComfyUIRenderer:
    """A renderer on the sandbox."""
    return connect(sandbox, renderers)


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Threads for jobs."""
    with ThreadPoolExecutor(3) as pool:
        yield pool


def connect(
    sandbox: SandboxThread, renderers: list[ComfyUIRenderer], client_id: str = "", timing: Timing = QUICK
) -> ComfyUIRenderer:
    """One more renderer on the same ComfyUI."""
    renderer = ComfyUIRenderer(sandbox.url, client_id=client_id, timing=timing)
    renderers.append(renderer)
    return renderer


def draw(renderer: ComfyUIRenderer, job: RenderJob, seconds: float = LONG) -> Rendering:
    """Run a job that nobody watches."""
    return renderer.run(job, deadline=time.monotonic() + seconds, on_progress=lambda phase, percent: None)


def failure(renderer: ComfyUIRenderer, job: RenderJob, seconds: float = LONG) -> RenderError:
    """Run a job that must fail."""
    with pytest.raises(RenderError) as caught:
        draw(renderer, job, seconds)
    return caught.value


def hang(
    sandbox: SandboxThread, renderer: ComfyUIRenderer, aside: ThreadPoolExecutor, prompt_id: str
) -> Future[Rendering]:
    """Start a job that hangs on the GPU."""
    sandbox.arm(Fault(kind=FaultKind.HANG, text=prompt_id))
    future = aside.submit(draw, renderer, text_job(prompt_id))
    eventually(lambda: ran(sandbox) == [prompt_id])
    return future


def ran(sandbox: SandboxThread) -> list[str]:
    """The prompts that reached the GPU."""
    return [run.prompt_id for run in sandbox.runs() if run.started_monotonic is not None]


def outcomes(sandbox: SandboxThread) -> list[str]:
    """How every posted prompt ended."""
    return [run.outcome for run in sandbox.runs()]


def test_a_plain_job_costs_one_post_and_one_view_an_image(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """No look at queue or history, no second websocket: every round trip would be overhead for a user."""
    for prompt_id in ("a", "b", "c"):
        draw(renderer, text_job(prompt_id, images=4))
    calls = {call: count for call, count in sandbox.counters().items() if "/" in call}
    assert calls == {"GET /ws": 1, "POST /prompt": 3, "GET /view": 12}


def test_nothing_is_answered_from_the_cache(sandbox: SandboxThread, renderer: ComfyUIRenderer) -> None:
    """ComfyUI answers an identical graph with the images of the run before: seed and prefix are each job's own."""
    draw(renderer, text_job("a"))
    draw(renderer, text_job("b"))
    assert [run.cached for run in sandbox.runs()] == [False, False]


def test_f10_a_socket_lost_mid_job_is_opened_again_and_the_images_arrive(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """The job goes on in ComfyUI meanwhile, so it is followed and not posted again."""
    sandbox.arm(Fault(kind=FaultKind.DROP_WEBSOCKET, at_step=MID_JOB))
    assert len(draw(renderer, text_job("a", steps=20)).images) == 2
    assert (renderer.counts.reconnects, ran(sandbox)) == (1, ["a"])


def test_f10_a_failure_missed_while_the_socket_was_down_is_read_from_the_history(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """The original saw no failure at all: this one is seen even when its event is lost."""
    sandbox.arm(Fault(kind=FaultKind.DROP_WEBSOCKET, node_type="SaveImage"))
    sandbox.arm(Fault(kind=FaultKind.NODE_EXCEPTION, node_type="SaveImage"))
    assert isinstance(failure(renderer, text_job("a")), NodeFailed)


def test_f10_a_socket_that_falls_silent_does_not_hide_the_end(
    sandbox: SandboxThread, renderers: list[ComfyUIRenderer]
) -> None:
    """An open socket may hear nothing more; after a while without events, queue and history are asked."""
    renderer = connect(sandbox, renderers, timing=replace(QUICK, quiet=0.1))
    sandbox.arm(Fault(kind=FaultKind.SILENCE, at_step=MID_JOB))
    assert len(draw(renderer, text_job("a")).images) == 2
    assert renderer.counts.quiet_looks >= 1


def test_f10_the_job_after_a_silent_socket_gets_a_new_one(
    sandbox: SandboxThread, renderers: list[ComfyUIRenderer]
) -> None:
    """ComfyUI may have forgotten the client id: without a new socket every job would end late."""
    renderer = connect(sandbox, renderers, timing=replace(QUICK, quiet=0.1))
    sandbox.arm(Fault(kind=FaultKind.SILENCE, at_step=MID_JOB))
    draw(renderer, text_job("a"))
    looks = renderer.counts.quiet_looks
    draw(renderer, text_job("b"))
    assert (sandbox.counters()["GET /ws"], renderer.counts.quiet_looks) == (2, looks)


def test_images_do_not_wait_for_the_history(sandbox: SandboxThread, renderer: ComfyUIRenderer) -> None:
    """The events have named the files, so a history that lags costs nothing."""
    sandbox.arm(Fault(kind=FaultKind.SLOW_HISTORY, seconds=60.0))
    assert draw(renderer, text_job("a"), seconds=10).images
    assert outcomes(sandbox) == ["running"]


def test_a_comfyui_that_dies_mid_job_is_noticed_at_once(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """Queue and history are lost with it: nobody waits for the deadline, and another attempt can help."""
    sandbox.arm(Fault(kind=FaultKind.EXIT, at_step=MID_JOB))
    started = time.monotonic()
    error = failure(renderer, text_job("a"))
    assert isinstance(error, ComfyUIDied)
    assert error.retryable
    assert time.monotonic() - started < 5


def test_a_comfyui_that_restarted_mid_job_has_lost_it(
    sandbox: SandboxThread, renderer: ComfyUIRenderer, aside: ThreadPoolExecutor
) -> None:
    """The new process answers, but knows nothing of the job."""
    future = hang(sandbox, renderer, aside, "a")
    sandbox.stop()
    sandbox.start()
    with pytest.raises(ComfyUIDied):
        future.result(5)


def test_a_comfyui_that_restarted_between_jobs_gets_the_next_one(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """The kept connections are dead, which is found out before the next job is posted and not after."""
    draw(renderer, text_job("a"))
    sandbox.stop()
    sandbox.start()
    assert draw(renderer, text_job("b")).images
    assert ran(sandbox) == ["b"]
    assert "GET /queue" not in sandbox.counters()


def test_a_prompt_whose_answer_was_lost_is_not_posted_twice(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """ComfyUI would run it twice: so it is asked first whether it has it."""
    sandbox.arm(Fault(kind=FaultKind.LOSE_ANSWER))
    assert draw(renderer, text_job("a")).images
    assert ran(sandbox) == ["a"]


def test_a_comfyui_that_refuses_with_an_error_of_its_own_is_not_asked_again(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """A 500 is trouble on its side: another worker may take the job."""
    sandbox.arm(Fault(kind=FaultKind.REFUSE_PROMPT))
    error = failure(renderer, text_job("a"))
    assert isinstance(error, ComfyUIUnreachable)
    assert error.retryable
    assert sandbox.counters()["POST /prompt"] == 1


def test_a_graph_of_which_only_a_part_is_accepted_is_refused_whole(
    sandbox: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """ComfyUI answers 200 and runs the good outputs: that is stopped, since it is not what was asked for."""
    graph = text_graph(steps=500)
    graph["20"] = {"class_type": "SaveImage", "inputs": {"images": ["77", 0], "filename_prefix": "x"}}
    error = failure(renderer, replace(text_job("a"), graph=json.dumps(graph)))
    assert isinstance(error, GraphRefused)
    assert "exception_during_validation" in error.detail
    eventually(lambda: outcomes(sandbox) in (["interrupted"], ["deleted"]))


def test_a_value_out_of_range_is_refused_without_quoting_it(renderer: ComfyUIRenderer) -> None:
    """The log learns which input of which node; a value may be a user's words, so it stays out."""
    graph = text_graph(side=999_999)
    error = failure(renderer, replace(text_job("a"), graph=json.dumps(graph)))
    assert isinstance(error, GraphRefused)
    assert "EmptyLatentImage 5: value_bigger_than_max width" in error.detail
    assert "999999" not in error.detail


def test_a_job_that_saves_no_image_fails(renderer: ComfyUIRenderer) -> None:
    """Success without an image is a failure to the user."""
    graph = text_graph()
    graph["9"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["8", 0]}}
    job = replace(
        text_job("a"), graph=json.dumps(graph), bindings={"seed": ["3.seed"], "batch_size": ["5.batch_size"]}
    )
    assert isinstance(failure(renderer, job), NoImages)


def test_a_preview_node_shows_what_no_save_node_saved(renderer: ComfyUIRenderer) -> None:
    """Workflows often end in a preview; where a save node is, only what it saved counts."""
    preview = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    both, alone = text_graph() | {"20": preview}, text_graph() | {"9": preview}
    bindings = {"seed": ["3.seed"], "batch_size": ["5.batch_size"]}
    job = replace(text_job("a"), bindings=bindings)
    assert len(draw(renderer, replace(job, graph=json.dumps(both))).images) == 2
    assert len(draw(renderer, replace(job, prompt_id="b", seed=9, graph=json.dumps(alone))).images) == 2


def test_a_restarted_worker_takes_up_its_running_job(
    sandbox: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """Under the same client id the events come to the new incarnation, and the job runs once."""
    first = connect(sandbox, renderers, client_id="worker-1")
    future = hang(sandbox, first, aside, "a")
    first.close()
    with pytest.raises(Interrupted):
        future.result(5)
    second = connect(sandbox, renderers, client_id="worker-1")
    again = aside.submit(draw, second, text_job("a", maybe_known=True))
    eventually(lambda: sandbox.counters().get("GET /queue"))
    sandbox.disarm()
    assert len(again.result(5).images) == 2
    assert ran(sandbox) == ["a"]


def test_images_that_were_saved_before_the_client_listened_are_not_forgotten(
    sandbox: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """After a gap the events name only the later files, so the history is read, and waited for where it lags."""
    graph = text_graph()
    scale = {"image": ["8", 0], "upscale_method": "bicubic", "width": 32, "height": 32, "crop": "disabled"}
    graph["20"] = {"class_type": "ImageScale", "inputs": scale}
    graph["21"] = {"class_type": "SaveImage", "inputs": {"images": ["20", 0], "filename_prefix": "small"}}
    job = replace(text_job("a"), graph=json.dumps(graph))
    sandbox.arm(Fault(kind=FaultKind.HANG, node_type="ImageScale"))
    sandbox.arm(Fault(kind=FaultKind.SLOW_HISTORY, seconds=0.3))
    first = connect(sandbox, renderers, client_id="worker-1")
    future = aside.submit(draw, first, job)
    eventually(lambda: sandbox.runs() and sandbox.runs()[0].images == 2)
    first.close()
    with pytest.raises(Interrupted):
        future.result(5)
    second = connect(sandbox, renderers, client_id="worker-1")
    again = aside.submit(draw, second, replace(job, maybe_known=True))
    eventually(lambda: sandbox.counters().get("GET /queue"))
    sandbox.release()
    assert len(again.result(5).images) == 4


class StoppedWhilePosting(ComfyUIHttp):
    """HTTP on which somebody cancels the job in the moment in which it is posted."""

    run: JobRun

    def post_prompt(self, body: Mapping[str, Any]) -> Answer:
        """Ask ComfyUI to stop what it does not know yet, then post."""
        self.run.ask_to_stop()
        assert self.stop(self.run.job.prompt_id) is Place.UNKNOWN
        return super().post_prompt(body)


def test_a_job_cancelled_while_it_is_posted_is_stopped(sandbox: SandboxThread) -> None:
    """Whoever cancelled found nothing to stop, so whoever posts looks again."""
    http = StoppedWhilePosting(sandbox.url, connect_seconds=1.0, seconds=5.0)
    socket = ComfyUISocket(sandbox.url, "me", connect_seconds=1.0)
    http.run = JobRun(
        text_job("a", steps=500),
        http,
        http,
        socket,
        client_id="me",
        deadline=time.monotonic() + LONG,
        on_progress=lambda *told: None,
        timing=QUICK,
        counts=Counts(),
    )
    with pytest.raises(Interrupted):
        http.run.execute()
    socket.close()
    http.close()
    eventually(lambda: outcomes(sandbox) in (["interrupted"], ["deleted"]))


def test_a_deadline_takes_a_waiting_job_out_of_the_queue(
    sandbox: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """An interrupt does nothing to a pending prompt: it is deleted, and whatever runs goes on."""
    busy, waiting = connect(sandbox, renderers), connect(sandbox, renderers)
    future = hang(sandbox, busy, aside, "running")
    error = failure(waiting, text_job("waiting"), seconds=0.2)
    assert isinstance(error, DeadlineExceeded)
    assert not error.stuck
    sandbox.disarm()
    assert future.result(5).images
    assert outcomes(sandbox) == ["success", "deleted"]


def test_a_cancelled_waiting_job_ends_at_once(
    sandbox: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """ComfyUI sends no event for a deleted prompt, so the waiting thread is woken."""
    busy = connect(sandbox, renderers)
    waiting = connect(sandbox, renderers, timing=replace(QUICK, quiet=60.0))
    hang(sandbox, busy, aside, "running")
    future = aside.submit(draw, waiting, text_job("waiting"))
    eventually(lambda: len(sandbox.runs()) == 2)
    assert waiting.interrupt("waiting")
    with pytest.raises(Interrupted):
        future.result(5)
    assert outcomes(sandbox) == ["running", "deleted"]
    sandbox.disarm()


def test_previews_and_other_clients_events_do_not_disturb(
    renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """Binary frames come where ComfyUI shows previews, and others' jobs come where they gave no client id."""
    with serve_in_thread(SandboxSettings(step_seconds=0.01, previews=True)) as sandbox:
        one, other = connect(sandbox, renderers), connect(sandbox, renderers)
        drawn = [aside.submit(draw, r, text_job(str(i))) for i, r in enumerate((one, other))]
        assert [len(future.result(10).images) for future in drawn] == [2, 2]
        assert one.counts.ignored_frames == other.counts.ignored_frames == 0


def test_many_jobs_leave_no_connection_behind(sandbox: SandboxThread, renderer: ComfyUIRenderer) -> None:
    """One websocket serves them all."""
    for number in range(20):
        draw(renderer, text_job(f"job-{number}", steps=1))
    assert sandbox.counters()["GET /ws"] == 1
