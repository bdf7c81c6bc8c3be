"""The real adapter's websocket: lost, silent, or not to be had, it never costs a job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.adapters.comfyui_socket import SocketLost
from services.gpu_worker.ports import ComfyUIDied, DeadlineExceeded, NodeFailed
from services.sandbox.comfyui import Fault, FaultKind
from services.sandbox.comfyui.thread import SandboxThread
from tests.fakes.graphs import text_job
from tests.ports.comfyui_rooms import MID_JOB, connect, draw, failure, outcomes, ran
from tests.ports.renderer_worlds import QUICK


def test_f10_a_socket_lost_mid_job_is_opened_again_and_the_images_arrive(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """The job goes on in ComfyUI meanwhile, so it is followed and not posted again."""
    comfyui.arm(Fault(kind=FaultKind.DROP_WEBSOCKET, at_step=MID_JOB))
    assert len(draw(renderer, text_job("a", steps=20)).images) == 2
    assert (renderer.counts.reconnects, ran(comfyui)) == (1, ["a"])


@pytest.fixture
def deaf(
    comfyui: SandboxThread, renderers: list[ComfyUIRenderer], monkeypatch: pytest.MonkeyPatch
) -> ComfyUIRenderer:
    """A renderer whose socket is cut in the middle of its job, by a ComfyUI that gives no other one."""
    renderer = connect(comfyui, renderers, timing=replace(QUICK, reconnect=0.1))
    assert renderer.ready()

    def refuse() -> None:
        raise SocketLost("no websocket: WebSocketTimeoutException")

    monkeypatch.setattr(renderer._socket, "open", refuse)
    comfyui.arm(Fault(kind=FaultKind.DROP_WEBSOCKET, at_step=MID_JOB))
    return renderer


def test_f10_a_job_whose_socket_does_not_come_back_is_followed_by_the_queue(
    comfyui: SandboxThread, deaf: ComfyUIRenderer
) -> None:
    """It needs no events; drawn a second time it would cost a GPU's minutes."""
    assert len(draw(deaf, text_job("a", steps=100)).images) == 2
    assert ran(comfyui) == ["a"]


def test_f10_a_job_without_a_socket_ends_at_its_deadline(
    comfyui: SandboxThread, deaf: ComfyUIRenderer
) -> None:
    """It stops when told, which nobody says but the history: ComfyUI is not stuck."""
    comfyui.arm(Fault(kind=FaultKind.HANG, at_step=MID_JOB + 1))
    error = failure(deaf, text_job("a"), seconds=1.0)
    assert isinstance(error, DeadlineExceeded)
    assert not error.stuck
    assert outcomes(comfyui) == ["interrupted"]


def test_a_comfyui_that_dies_while_no_socket_is_open_is_noticed(
    comfyui: SandboxThread, deaf: ComfyUIRenderer
) -> None:
    """By the look at its queue."""
    comfyui.arm(Fault(kind=FaultKind.EXIT, at_step=MID_JOB + 1))
    assert isinstance(failure(deaf, text_job("a")), ComfyUIDied)


def test_f10_a_failure_missed_while_the_socket_was_down_is_read_from_the_history(
    comfyui: SandboxThread, renderer: ComfyUIRenderer
) -> None:
    """The original saw no failure at all: this one is seen even when its event is lost."""
    comfyui.arm(Fault(kind=FaultKind.DROP_WEBSOCKET, node_type="SaveImage"))
    comfyui.arm(Fault(kind=FaultKind.NODE_EXCEPTION, node_type="SaveImage"))
    assert isinstance(failure(renderer, text_job("a")), NodeFailed)


def test_f10_a_socket_that_falls_silent_does_not_hide_the_end(
    comfyui: SandboxThread, renderers: list[ComfyUIRenderer]
) -> None:
    """An open socket may hear nothing more; after a while without events, queue and history are asked."""
    renderer = connect(comfyui, renderers, timing=replace(QUICK, quiet=0.1))
    comfyui.arm(Fault(kind=FaultKind.SILENCE, at_step=MID_JOB))
    assert len(draw(renderer, text_job("a")).images) == 2
    assert renderer.counts.quiet_looks >= 1


def test_f10_the_job_after_a_silent_socket_gets_a_new_one(
    comfyui: SandboxThread, renderers: list[ComfyUIRenderer]
) -> None:
    """ComfyUI may have forgotten the client id: without a new socket every job would end late."""
    renderer = connect(comfyui, renderers, timing=replace(QUICK, quiet=0.1))
    comfyui.arm(Fault(kind=FaultKind.SILENCE, at_step=MID_JOB))
    draw(renderer, text_job("a"))
    looks = renderer.counts.quiet_looks
    draw(renderer, text_job("b"))
    assert (comfyui.counters()["GET /ws"], renderer.counts.quiet_looks) == (2, looks)
