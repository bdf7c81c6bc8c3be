"""The renderers that the port's suite runs on, each with the means to make it fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.adapters.comfyui_run import Timing
from services.gpu_worker.ports import (
    DiskFull,
    ModelUnreadable,
    NodeFailed,
    OutOfMemory,
    Renderer,
    RenderError,
)
from services.sandbox.comfyui import Fault, FaultKind, SandboxSettings, serve_in_thread
from services.sandbox.comfyui.thread import SandboxThread
from tests.fakes.renderer import FakeRenderer

#: Short waits, so that a suite of failures takes seconds.
QUICK = Timing(connect=1.0, answer=5.0, quiet=1.0, grace=0.5, reconnect=1.0, history=2.0)

_PATH = "/opt/ComfyUI/models/checkpoints/secret.safetensors"
#: What goes wrong in a node -> the fault that the sandbox arms, and the fake's error.
NODE_FAULTS: dict[str, tuple[Fault, Callable[[], RenderError]]] = {
    "node_error": (
        Fault(
            kind=FaultKind.NODE_EXCEPTION, exception_type="ValueError", message=f"bad thing in {_PATH}\nmore"
        ),
        lambda: NodeFailed(f"KSampler 3 raised ValueError: bad thing in {_PATH}"),
    ),
    "out_of_memory": (
        Fault(kind=FaultKind.OUT_OF_MEMORY),
        lambda: OutOfMemory("KSampler 3 raised torch.OutOfMemoryError"),
    ),
    "disk_full": (
        Fault(
            kind=FaultKind.NODE_EXCEPTION,
            node_type="SaveImage",
            exception_type="OSError",
            message=f"[Errno 28] No space left on device: '{_PATH}'",
        ),
        lambda: DiskFull("SaveImage 9 raised OSError"),
    ),
    "model_unreadable": (
        Fault(
            kind=FaultKind.NODE_EXCEPTION,
            node_type="CheckpointLoaderSimple",
            exception_type="safetensors_rust.SafetensorError",
            message=f"Error while deserializing header: {_PATH}",
        ),
        lambda: ModelUnreadable("CheckpointLoaderSimple 4 raised safetensors_rust.SafetensorError"),
    ),
}


class World(Protocol):
    """A renderer and its surroundings."""

    renderer: Renderer

    def fail_next(self, what: str) -> None:
        """Let the next job fail in a node: a key of `NODE_FAULTS`."""

    def hang_next(self, *, ignoring_interrupt: bool = False) -> None:
        """Let the next job never end by itself."""

    def ran(self) -> list[str]:
        """The prompt ids that reached the GPU, in order."""

    def kill(self) -> None:
        """Make whatever draws vanish."""


class FakeWorld:
    """The fake."""

    def __init__(self) -> None:
        self.fake = FakeRenderer()
        self.renderer: Renderer = self.fake

    def fail_next(self, what: str) -> None:
        """See `World`."""
        self.fake.fail_next(NODE_FAULTS[what][1]())

    def hang_next(self, *, ignoring_interrupt: bool = False) -> None:
        """See `World`."""
        self.fake.hang_next(ignoring_interrupt=ignoring_interrupt)

    def ran(self) -> list[str]:
        """See `World`."""
        return [job.prompt_id for job in self.fake.ran]

    def kill(self) -> None:
        """See `World`."""
        self.fake.alive = False


class ComfyUIWorld:
    """The real adapter on the loopback ComfyUI."""

    def __init__(self, sandbox: SandboxThread, timing: Timing = QUICK) -> None:
        self.sandbox = sandbox
        self.comfyui = ComfyUIRenderer(sandbox.url, timing=timing)
        self.renderer: Renderer = self.comfyui

    def fail_next(self, what: str) -> None:
        """See `World`."""
        self.sandbox.arm(NODE_FAULTS[what][0])

    def hang_next(self, *, ignoring_interrupt: bool = False) -> None:
        """See `World`."""
        kind = FaultKind.HANG_IGNORING_INTERRUPT if ignoring_interrupt else FaultKind.HANG
        self.sandbox.arm(Fault(kind=kind))

    def ran(self) -> list[str]:
        """See `World`."""
        return [run.prompt_id for run in self.sandbox.runs() if run.started_monotonic is not None]

    def kill(self) -> None:
        """See `World`."""
        self.sandbox.die()


@contextmanager
def fake_world() -> Iterator[World]:
    """A world of the fake."""
    yield FakeWorld()


@contextmanager
def comfyui_world() -> Iterator[ComfyUIWorld]:
    """A world of the adapter, its ComfyUI in a thread."""
    with serve_in_thread(SandboxSettings(step_seconds=0.002, image_seconds=0.0)) as sandbox:
        world = ComfyUIWorld(sandbox)
        yield world
        world.renderer.close()
