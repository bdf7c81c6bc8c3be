"""Kafka alone: a topic with a partition per worker, keyed by user; each worker reads its partition in order."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

from services.contracts.partitioner import partition_for
from tests.simulate.clock import Give, Order, Worker
from tests.simulate.trace import Request


class Lanes:
    """A user's requests all go to one worker, whatever it and the others have to do."""

    held_limit = 0
    tick_seconds = math.inf

    def __init__(self, fleet: Sequence[Worker]) -> None:
        self._fleet = fleet
        self._lanes: list[deque[Request]] = [deque() for _ in fleet]

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """It joins the lane that its user hashes to."""
        lane = partition_for(request.user.encode(), len(self._fleet))
        self._lanes[lane].append(request)
        return self._next(self._fleet[lane])

    def freed(self, worker: Worker, ended: Request | None, now: float) -> Iterator[Order]:
        """The worker takes the next of its lane."""
        return self._next(worker)

    def ticked(self, now: float) -> Iterator[Order]:
        """Nothing depends on time."""
        return iter(())

    def _next(self, worker: Worker) -> Iterator[Order]:
        lane = self._lanes[worker.number]
        if lane and not worker.busy:
            yield Give(worker, lane.popleft())
