"""The whole adapter against recordings: what it returns for each way in which a prompt can go."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.ports import ComfyUIDied, Interrupted, NodeFailed, RenderError, Rendering
from tests.fakes.graphs import text_job
from tests.fakes.replay_comfyui import replay
from tests.ports.renderer_worlds import QUICK

#: Quiet for longer than any test waits: an end is found by what ComfyUI says, or not at all.
PATIENT = replace(QUICK, quiet=60.0)
FILES = [{"filename": f"job_0000{n}_.png", "subfolder": "distillery", "type": "output"} for n in (1, 2, 3)]
SUCCESS = {"outputs": {"9": {"images": FILES}}, "status": {"status_str": "success", "completed": True}}


def draw(recording: str, history: dict[str, Any] | None = None) -> tuple[Rendering, int]:
    """Run a job to which a recording is played; returns the frames ignored, too."""
    with replay(recording, history) as url:
        renderer = ComfyUIRenderer(url, timing=PATIENT)
        try:
            rendering = renderer.run(
                text_job("mine", steps=4), deadline=time.monotonic() + 10, on_progress=lambda *told: None
            )
        finally:
            renderer.close()
        return rendering, renderer.counts.ignored_frames


@pytest.mark.parametrize(("recording", "ignored"), [("happy", 0), ("cached", 0), ("noisy", 5)])
def test_a_recorded_success_gives_its_images(recording: str, ignored: int) -> None:
    """Plain, from the cache, and among binary frames, unknown types and other clients' failures."""
    rendering, found = draw(recording)
    assert (len(rendering.images), found) == (2, ignored)


@pytest.mark.parametrize(("recording", "failure"), [("node_error", NodeFailed), ("interrupted", Interrupted)])
def test_f10_a_recorded_failure_is_raised_as_its_kind(recording: str, failure: type[RenderError]) -> None:
    """Both of ComfyUI's failure events end the wait at once."""
    with pytest.raises(failure):
        draw(recording)


def test_f10_a_prompt_that_comfyui_has_left_without_a_word_is_looked_up() -> None:
    """The success was lost, the empty node was not: it sends the client to the history at once."""
    rendering, _ = draw("unended", SUCCESS)
    assert len(rendering.images) == 3


def test_f10_a_prompt_that_ended_while_the_socket_was_down_is_looked_up() -> None:
    """No event is repeated after a reconnect, so the history is read."""
    rendering, _ = draw("dropped", SUCCESS)
    assert len(rendering.images) == 3


def test_a_prompt_that_is_unknown_after_a_reconnect_died_with_its_comfyui() -> None:
    """Queue and history are in memory only: whoever does not know the prompt is another process."""
    with pytest.raises(ComfyUIDied):
        draw("dropped")


def test_a_prompt_that_vanished_while_the_socket_held_was_taken_away() -> None:
    """A person can delete it at ComfyUI's own page: nothing died, and nobody should try again."""
    with pytest.raises(Interrupted):
        draw("unended")
