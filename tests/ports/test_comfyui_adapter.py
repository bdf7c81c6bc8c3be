"""The real adapter where ComfyUI has habits that no port knows: lost sockets, lost answers, caches, other clients."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.adapters.comfyui_http import Answer, ComfyUIHttp, Place
from services.gpu_worker.adapters.comfyui_run import Counts, JobRun
from services.gpu_worker.adapters.comfyui_socket import ComfyUISocket
from services.gpu_worker.ports import (
    ComfyUIDied,
    ComfyUIUnreachable,
    DeadlineExceeded,
    GraphRefused,
    Interrupted,
    NoImages,
)
from services.sandbox.comfyui import Fault, FaultKind, SandboxSettings, serve_in_thread
from services.sandbox.comfyui.thread import SandboxThread
from tests.fakes.graphs import text_graph, text_job
from tests.harness.waiting import eventually
from tests.ports.comfyui_rooms import LONG, MID_JOB, connect, draw, failure, hang, outcomes, ran
from tests.ports.renderer_worlds import QUICK


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Threads for jobs."""
    with ThreadPoolExecutor(3) as pool:
        yield pool


def test_a_plain_job_costs_one_post_and_one_view_an_image(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """No look at queue or history, no second websocket: every round trip would be overhead for a user."""
    for prompt_id in ("a", "b", "c"):
        draw(renderer, text_job(prompt_id, images=4))
    calls = {call: count for call, count in comfyui.counters().items() if "/" in call}
    assert calls == {"GET /ws": 1, "POST /prompt": 3, "GET /view": 12}


def test_nothing_is_answered_from_the_cache(comfyui: SandboxThread, renderer: ComfyUIRenderer) -> None:
    """ComfyUI answers an identical graph with the images of the run before: seed and prefix are each job's own."""
    draw(renderer, text_job("a"))
    draw(renderer, text_job("b"))
    assert [run.cached for run in comfyui.runs()] == [False, False]


def test_images_do_not_wait_for_the_history(comfyui: SandboxThread, renderer: ComfyUIRenderer) -> None:
    """The events have named the files, so a history that lags costs nothing."""
    comfyui.arm(Fault(kind=FaultKind.SLOW_HISTORY, seconds=60.0))
    assert draw(renderer, text_job("a"), seconds=10).images
    assert outcomes(comfyui) == ["running"]


def test_a_comfyui_that_dies_mid_job_is_noticed_at_once(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """Queue and history are lost with it: nobody waits for the deadline, and another attempt can help."""
    comfyui.arm(Fault(kind=FaultKind.EXIT, at_step=MID_JOB))
    started = time.monotonic()
    error = failure(renderer, text_job("a"))
    assert isinstance(error, ComfyUIDied)
    assert error.retryable
    assert time.monotonic() - started < 5


def test_a_comfyui_that_restarted_mid_job_has_lost_it(
    comfyui: SandboxThread, renderer: ComfyUIRenderer, aside: ThreadPoolExecutor
) -> None:
    """The new process answers, but knows nothing of the job."""
    future = hang(comfyui, renderer, aside, "a")
    comfyui.stop()
    comfyui.start()
    with pytest.raises(ComfyUIDied):
        future.result(5)


def test_a_comfyui_that_restarted_between_jobs_gets_the_next_one(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """The kept connections are dead, which is found out before the next job is posted and not after."""
    draw(renderer, text_job("a"))
    comfyui.stop()
    comfyui.start()
    assert draw(renderer, text_job("b")).images
    assert ran(comfyui) == ["b"]
    assert "GET /queue" not in comfyui.counters()


def test_a_prompt_whose_answer_was_lost_is_not_posted_twice(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """ComfyUI would run it twice: so it is asked first whether it has it."""
    comfyui.arm(Fault(kind=FaultKind.LOSE_ANSWER))
    assert draw(renderer, text_job("a")).images
    assert ran(comfyui) == ["a"]


def test_a_comfyui_that_refuses_with_an_error_of_its_own_is_not_asked_again(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """A 500 is trouble on its side: another worker may take the job."""
    comfyui.arm(Fault(kind=FaultKind.REFUSE_PROMPT))
    error = failure(renderer, text_job("a"))
    assert isinstance(error, ComfyUIUnreachable)
    assert error.retryable
    assert comfyui.counters()["POST /prompt"] == 1


def test_a_graph_of_which_only_a_part_is_accepted_is_refused_whole(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """ComfyUI answers 200 and runs the good outputs: that is stopped, since it is not what was asked for."""
    graph = text_graph(steps=500)
    graph["20"] = {"class_type": "SaveImage", "inputs": {"images": ["77", 0], "filename_prefix": "x"}}
    error = failure(renderer, replace(text_job("a"), graph=json.dumps(graph)))
    assert isinstance(error, GraphRefused)
    assert "exception_during_validation" in error.detail
    eventually(lambda: outcomes(comfyui) in (["interrupted"], ["deleted"]))


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
    comfyui: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """Under the same client id the events come to the new incarnation, and the job runs once."""
    first = connect(comfyui, renderers, client_id="worker-1")
    future = hang(comfyui, first, aside, "a")
    first.close()
    with pytest.raises(Interrupted):
        future.result(5)
    second = connect(comfyui, renderers, client_id="worker-1")
    again = aside.submit(draw, second, text_job("a", maybe_known=True))
    eventually(lambda: comfyui.counters().get("GET /queue"))
    comfyui.disarm()
    assert len(again.result(5).images) == 2
    assert ran(comfyui) == ["a"]


def test_images_that_were_saved_before_the_client_listened_are_not_forgotten(
    comfyui: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """After a gap the events name only the later files, so the history is read, and waited for where it lags."""
    graph = text_graph()
    scale = {"image": ["8", 0], "upscale_method": "bicubic", "width": 32, "height": 32, "crop": "disabled"}
    graph["20"] = {"class_type": "ImageScale", "inputs": scale}
    graph["21"] = {"class_type": "SaveImage", "inputs": {"images": ["20", 0], "filename_prefix": "small"}}
    job = replace(text_job("a"), graph=json.dumps(graph))
    comfyui.arm(Fault(kind=FaultKind.HANG, node_type="ImageScale"))
    comfyui.arm(Fault(kind=FaultKind.SLOW_HISTORY, seconds=0.3))
    first = connect(comfyui, renderers, client_id="worker-1")
    future = aside.submit(draw, first, job)
    eventually(lambda: comfyui.runs() and comfyui.runs()[0].images == 2)
    first.close()
    with pytest.raises(Interrupted):
        future.result(5)
    second = connect(comfyui, renderers, client_id="worker-1")
    again = aside.submit(draw, second, replace(job, maybe_known=True))
    eventually(lambda: comfyui.counters().get("GET /queue"))
    comfyui.release()
    assert len(again.result(5).images) == 4


class StoppedWhilePosting(ComfyUIHttp):
    """HTTP on which somebody cancels the job in the moment in which it is posted."""

    run: JobRun

    def post_prompt(self, body: Mapping[str, Any]) -> Answer:
        """Ask ComfyUI to stop what it does not know yet, then post."""
        self.run.ask_to_stop()
        assert self.stop(self.run.job.prompt_id) is Place.UNKNOWN
        return super().post_prompt(body)


def test_a_job_cancelled_while_it_is_posted_is_stopped(comfyui: SandboxThread) -> None:
    """Whoever cancelled found nothing to stop, so whoever posts looks again."""
    http = StoppedWhilePosting(comfyui.url, connect_seconds=1.0, seconds=5.0)
    socket = ComfyUISocket(comfyui.url, "me", connect_seconds=1.0)
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
    eventually(lambda: outcomes(comfyui) in (["interrupted"], ["deleted"]))


def test_a_deadline_takes_a_waiting_job_out_of_the_queue(
    comfyui: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """An interrupt does nothing to a pending prompt: it is deleted, and whatever runs goes on."""
    busy, waiting = connect(comfyui, renderers), connect(comfyui, renderers)
    future = hang(comfyui, busy, aside, "running")
    error = failure(waiting, text_job("waiting"), seconds=0.2)
    assert isinstance(error, DeadlineExceeded)
    assert not error.stuck
    comfyui.disarm()
    assert future.result(5).images
    assert outcomes(comfyui) == ["success", "deleted"]


def test_a_cancelled_waiting_job_ends_at_once(
    comfyui: SandboxThread, renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """ComfyUI sends no event for a deleted prompt, so the waiting thread is woken."""
    busy = connect(comfyui, renderers)
    waiting = connect(comfyui, renderers, timing=replace(QUICK, quiet=60.0))
    hang(comfyui, busy, aside, "running")
    future = aside.submit(draw, waiting, text_job("waiting"))
    eventually(lambda: len(comfyui.runs()) == 2)
    assert waiting.interrupt("waiting")
    with pytest.raises(Interrupted):
        future.result(5)
    assert outcomes(comfyui) == ["running", "deleted"]
    comfyui.disarm()


def test_previews_and_other_clients_events_do_not_disturb(
    renderers: list[ComfyUIRenderer], aside: ThreadPoolExecutor
) -> None:
    """Binary frames come where ComfyUI shows previews, and others' jobs come where they gave no client id."""
    with serve_in_thread(SandboxSettings(step_seconds=0.01, previews=True)) as comfyui:
        one, other = connect(comfyui, renderers), connect(comfyui, renderers)
        drawn = [aside.submit(draw, r, text_job(str(i))) for i, r in enumerate((one, other))]
        assert [len(future.result(10).images) for future in drawn] == [2, 2]
        assert one.counts.ignored_frames == other.counts.ignored_frames == 0


def test_many_jobs_leave_no_connection_behind(comfyui: SandboxThread, renderer: ComfyUIRenderer) -> None:
    """One websocket serves them all."""
    for number in range(20):
        draw(renderer, text_job(f"job-{number}", steps=1))
    assert comfyui.counters()["GET /ws"] == 1
