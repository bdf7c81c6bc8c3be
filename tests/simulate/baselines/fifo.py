"""One queue: any free worker takes the oldest request and loads what it lacks, as the system before this one did."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

from tests.simulate.clock import Give, Order, Worker
from tests.simulate.trace import Request


class Fifo:
    """First in, first out, over all users and checkpoints."""

    held_limit = 0
    tick_seconds = math.inf

    def __init__(self, fleet: Sequence[Worker]) -> None:
        self._idle = deque(fleet)
        self._queue: deque[Request] = deque()

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """Queue it; it goes at once where a worker idles."""
        self._queue.append(request)
        return self._match()

    def freed(self, worker: Worker, ended: Request | None, now: float) -> Iterator[Order]:
        """The worker takes the oldest."""
        self._idle.append(worker)
        return self._match()

    def ticked(self, now: float) -> Iterator[Order]:
        """Nothing depends on time."""
        return iter(())

    def _match(self) -> Iterator[Order]:
        while self._queue and self._idle:
            yield Give(self._idle.popleft(), self._queue.popleft())
