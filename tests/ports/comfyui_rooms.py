"""A loopback ComfyUI, renderers on it, and what a test asks of both."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.adapters.comfyui_run import Timing
from services.gpu_worker.ports import RenderError, Rendering, RenderJob
from services.sandbox.comfyui import Fault, FaultKind
from services.sandbox.comfyui.thread import SandboxThread
from tests.fakes.graphs import text_job
from tests.harness.waiting import eventually
from tests.ports.renderer_worlds import QUICK

LONG = 30.0  # seconds: a deadline that no test here reaches
MID_JOB = 2  # a sampler step, of more than that


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
