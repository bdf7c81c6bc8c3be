"""The whole adapter against recordings: what it returns for each way in which a prompt can go."""

from __future__ import annotations

import time

import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.ports import Interrupted, NodeFailed, RenderError, Rendering
from tests.fakes.graphs import text_job
from tests.fakes.replay_comfyui import replay
from tests.ports.renderer_worlds import QUICK


def draw(recording: str) -> tuple[Rendering, int]:
    """Run a job to which a recording is played; returns the frames ignored, too."""
    with replay(recording) as url:
        renderer = ComfyUIRenderer(url, timing=QUICK)
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
