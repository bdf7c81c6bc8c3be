"""What the ComfyUI beside the worker has, asked by a thread of its own so that no report waits for the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from services.chassis.edge import guard
from services.chassis.logs import get_logger
from services.gpu_worker.ports import ComfyUIUnreachable, Renderer, RendererInfo

log = get_logger()
#: How often model files are listed anew; an operator who adds one waits at most so long.
DESCRIBE_SECONDS = 30.0
#: After a ComfyUI that did not answer: nobody waits, and each attempt is bounded by the renderer's own limits.
RETRY_SECONDS = 2.0


class Description:
    """The last answer to `Renderer.describe`.  Thread-safe; none of its methods waits for ComfyUI."""

    def __init__(self, renderer: Renderer, changed: Callable[[], None]) -> None:
        """``changed`` is called, in the asking thread, when an answer differs from the one before."""
        self._renderer = renderer
        self._changed = changed
        self._info: RendererInfo | None = None
        self._wanted = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._loop, name="describe", daemon=True)

    def start(self) -> None:
        """Begin; the first question is asked after the first `refresh`."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more.  A question under way is left to itself."""
        self._stopped = True
        self._wanted.set()

    def refresh(self) -> None:
        """Ask soon: ComfyUI has just come up."""
        self._wanted.set()

    def info(self) -> RendererInfo | None:
        """The last answer; none before the first.  It stands while ComfyUI is away."""
        return self._info

    def _loop(self) -> None:
        self._wanted.wait()
        while not self._stopped:
            self._wanted.clear()
            answered = self._ask()
            self._wanted.wait(DESCRIBE_SECONDS if answered else RETRY_SECONDS)

    def _ask(self) -> bool:
        answers: list[RendererInfo] = []
        failure = guard(lambda: answers.append(self._renderer.describe()))
        if failure is not None and not isinstance(failure, ComfyUIUnreachable):
            log.error("describe_failed", error=repr(failure), exc_info=failure)
        if answers and answers[0] != self._info:
            self._info = answers[0]
            self._changed()
        return bool(answers)
