"""What gpu_worker needs of the outside world: a `Renderer` that turns one job into images.

`services.gpu_worker.adapters.comfyui` is the real one; ``tests/fakes/renderer.py`` is its stand-in, and
``tests/ports/test_renderer_port.py`` runs one suite on both.  Everything is synchronous: a job runs in a thread
of its own while the consumer keeps polling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import ErrorInfo, Phase

#: The subfolder of ComfyUI's output and input folders that holds jobs' files, and nobody else's.
FOLDER = "distillery"
#: Called in the job's thread with the phase and the percent done, 0..100, never falling; it must not block long.
OnProgress = Callable[[Phase, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderInput:
    """An input image of a job, its bytes already fetched from the object store."""

    parameter: str  #: the workflow parameter that it is bound to, such as ``image``
    content_type: str  #: ``image/png``, ``image/jpeg`` or ``image/webp``
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderJob:
    """One attempt to draw: a graph, and what is bound into it at run time (see `JobSpec.bindings`)."""

    prompt_id: str  #: the dispatch id; ComfyUI's prompt id as well, so that both sides mean the same run
    graph: str = field(repr=False)  #: ComfyUI API format, as JSON text
    bindings: Mapping[str, Sequence[str]]  #: value name -> ``"<node id>.<input name>"`` places
    seed: int
    images: int
    filename_prefix: str  #: unique to the job: ComfyUI answers an identical graph from its cache
    inputs: tuple[RenderInput, ...] = ()
    maybe_known: bool = False  #: an earlier incarnation may have posted it: look before posting it again


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedImage:
    """One finished image, as PNG bytes straight from ComfyUI: they still embed the graph (see ``provenance.py``)."""

    data: bytes = field(repr=False)
    width: int  #: pixels
    height: int  #: pixels
    content_type: str = "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """What a job that ended well gave."""

    images: tuple[RenderedImage, ...]  #: at least one, in batch order: the first has the job's own seed
    gpu_seconds: float  #: from ComfyUI's start of the job to its success; 0 where it was found finished


@dataclass(frozen=True, slots=True, kw_only=True)
class RendererInfo:
    """What a renderer has, for the worker's reports."""

    gpu: str
    vram_bytes: int
    checkpoints: tuple[str, ...]  #: files that it can load
    loras: tuple[str, ...]


class Renderer(Protocol):
    """Draws one job at a time."""

    def run(self, job: RenderJob, *, deadline: float, on_progress: OnProgress) -> Rendering:
        """Draw ``job`` and return its images; blocks until it ended, at the latest a grace after ``deadline``.

        ``deadline`` is an instant of the renderer's monotonic clock.  Called from one thread at a time.

        Raises:
            RenderError: it failed; the subclass, ``code``, ``sentence`` and ``retryable`` say how.
        """
        ...

    def interrupt(self, prompt_id: str) -> bool:
        """Stop that job and no other, from any thread; its `run` then raises `Interrupted`.

        Returns whether the job was known; stopping a job that has ended, or was never posted, does nothing.

        Raises:
            ComfyUIUnreachable: nobody could be told.
        """
        ...

    def describe(self) -> RendererInfo:
        """Ask what hardware and model files it has; safe beside a running job.

        Raises:
            ComfyUIUnreachable: it does not answer.
        """
        ...

    def loaded(self) -> tuple[str, ...]:
        """Model files that the last job left in memory, as far as this client can know.  Asks nobody."""
        ...

    def ready(self) -> bool:
        """Whether it answers now; connects what a first job would otherwise wait for.  Never raises."""
        ...

    def close(self) -> None:
        """Let go of every connection; a running `run` raises `Interrupted`."""
        ...


class RenderError(Exception):
    """A job failed.  What a user may read is `sentence`; `detail` is for the log and never leaves the worker.

    The cause is kept as ``__cause__`` where an exception led here.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    #: Whether another attempt can help.  False for what would only draw the same failure twice: a request runs
    #: again only where this renderer never ran it, lost it, or may be the one at fault.
    retryable: bool = False

    def __init__(self, detail: str, *, gpu_seconds: float = 0.0) -> None:
        super().__init__(f"{self.code.value}: {detail}")
        self.detail = detail  #: node class, exception type and ComfyUI's message; may hold server paths
        self.gpu_seconds = gpu_seconds  #: GPU time spent before it failed

    @property
    def sentence(self) -> str:
        """One plain sentence for the user, the same for every failure of this kind: no path, no graph, no prompt."""
        return self.code.sentence

    def info(self) -> ErrorInfo:
        """The failure as the value that an event carries."""
        return error_info(self.code, retryable=self.retryable)


class NodeFailed(RenderError):
    """A node raised while it ran, for a reason that none of the kinds below names."""

    code = ErrorCode.NODE_ERROR


class GraphRefused(RenderError):
    """The graph is not valid: ComfyUI, or the binding of values into it, refused it before it ran."""

    code = ErrorCode.INVALID_WORKFLOW


class CheckpointMissing(RenderError):
    """The graph names a model file that this ComfyUI does not have; another worker may."""

    code = ErrorCode.MISSING_CHECKPOINT
    retryable = True


class ModelUnreadable(RenderError):
    """A model file is there but could not be loaded; another worker's copy may be whole."""

    code = ErrorCode.MODEL_UNREADABLE
    retryable = True


class OutOfMemory(RenderError):
    """The GPU has too little memory for this job; a larger one may do."""

    code = ErrorCode.OUT_OF_MEMORY
    retryable = True


class DiskFull(RenderError):
    """ComfyUI could not write, its disk being full."""

    code = ErrorCode.DISK_FULL
    retryable = True


class BadInputImage(RenderError):
    """An input is no image that ComfyUI can read."""

    code = ErrorCode.BAD_INPUT_IMAGE


class NoImages(RenderError):
    """The job ended well but left no PNG."""

    code = ErrorCode.NO_IMAGES


class Interrupted(RenderError):
    """Somebody stopped the job: `Renderer.interrupt`, `Renderer.close`, or a person at ComfyUI's own page."""

    code = ErrorCode.INTERRUPTED


class DeadlineExceeded(RenderError):
    """The job did not end in time.

    ``stuck`` says that it did not stop when told to either, so ComfyUI must be restarted before it can draw again.
    """

    code = ErrorCode.DEADLINE_EXCEEDED

    def __init__(self, detail: str, *, stuck: bool, gpu_seconds: float = 0.0) -> None:
        super().__init__(detail, gpu_seconds=gpu_seconds)
        self.stuck = stuck
        self.retryable = stuck  # a ComfyUI that ignores an interrupt is itself at fault, not the job


class ComfyUIUnreachable(RenderError):
    """ComfyUI did not take the job, or does not answer."""

    code = ErrorCode.COMFYUI_UNREACHABLE
    retryable = True


class ComfyUIDied(RenderError):
    """ComfyUI went away, or restarted and forgot the job, after it had taken it."""

    code = ErrorCode.COMFYUI_DIED
    retryable = True
