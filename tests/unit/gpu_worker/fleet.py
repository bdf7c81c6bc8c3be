"""Dispatchers as queues and workers as servers on a discrete-event clock, joined only by announcements.

Messages take no time.  A dispatcher gives its oldest request to its emptiest worker with room, which is one that
runs and one that is held; it announces itself every second, and at once when a request begins to wait.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.contracts.events import BacklogReported
from services.gpu_worker.attachment import Attachment, Situation

PARTITIONS = 12
SESSION_SECONDS = 10.0
_ROOM = 2
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """Something to draw."""

    at: float
    dispatcher: int
    seconds: float  #: that it takes


@dataclass(slots=True, eq=False)
class Server:
    """A worker."""

    attachment: Attachment
    held: deque[Request] = field(default_factory=deque)  #: the first one runs
    taken: int = 0
    busy_seconds: float = 0.0

    def situation(self) -> Situation:
        """What counts of it."""
        return Situation(checkpoints=(), offers=True, idle=not self.held, taken=self.taken)


@dataclass(slots=True, eq=False)
class Queue:
    """A dispatcher."""

    number: int
    partitions: list[int]
    waiting: deque[Request] = field(default_factory=deque)


class Fleet:
    """``dispatchers`` that share the partitions, and ``workers`` that begin spread over them."""

    def __init__(self, dispatchers: int, workers: int, *, seed: int = 1, prompt: bool = True) -> None:
        """``prompt``: whether a dispatcher announces at once what begins to wait, beside every second."""
        self._random = random.Random(seed)  # noqa: S311 - a simulation's luck is to repeat itself
        self._prompt = prompt
        self.now = 0.0
        self.moves = 0
        self.waits: dict[Request, float] = {}  #: seconds until it was given to a worker
        self._queues = [
            Queue(n, [p for p in range(PARTITIONS) if p % dispatchers == n]) for n in range(dispatchers)
        ]
        self.servers = [
            Server(Attachment(n % PARTITIONS, 0.0, session_seconds=SESSION_SECONDS)) for n in range(workers)
        ]
        self._count = itertools.count()
        self._events: list[tuple[float, int, Queue | Server | Request]] = []
        for queue in self._queues:
            self._at(queue.number / dispatchers, queue)

    def run(self, requests: Iterable[Request], until: float) -> float:
        """Serve until then; returns the share of the workers' time in which they drew."""
        for request in requests:
            self._at(request.at, request)
        while self._events and self._events[0][0] < until:
            self.now, _, what = heapq.heappop(self._events)
            self._happen(what)
        drawing = sum(server.busy_seconds for server in self.servers)
        return drawing / (len(self.servers) * until)

    def waiting(self) -> int:
        """How many requests nobody has begun or holds."""
        return sum(len(queue.waiting) for queue in self._queues)

    def _happen(self, what: Queue | Server | Request) -> None:
        if isinstance(what, Queue):
            self._announce(what)
            self._at(self.now + 1.0, what)
        elif isinstance(what, Server):
            self._ended(what)
        else:
            queue = self._queues[what.dispatcher % len(self._queues)]
            queue.waiting.append(what)
            self._fill(queue)
            if queue.waiting and self._prompt:
                self._announce(queue)

    def _ended(self, server: Server) -> None:
        server.busy_seconds += server.held.popleft().seconds
        self._start(server)
        self._fill(self._queue_of(server))

    def _announce(self, queue: Queue) -> None:
        attached = [server for server in self.servers if self._queue_of(server) is queue]
        oldest = self.now - queue.waiting[0].at if queue.waiting else 0.0
        news = BacklogReported(
            dispatcher_id=str(queue.number),
            reported_at=_START,
            partitions=queue.partitions,
            queued=len(queue.waiting),
            oldest_wait_seconds=oldest,
            workers=len(attached),
            idle=sum(not server.held for server in attached),
            checkpoints={"": len(queue.waiting)} if queue.waiting else {},
        )
        moved = [
            server
            for server in self.servers
            if server.attachment.heard(news, server.situation(), self.now, self._random.random())
        ]
        self.moves += len(moved)
        for server in moved:
            self._fill(self._queue_of(server))

    def _fill(self, queue: Queue) -> None:
        attached = [server for server in self.servers if self._queue_of(server) is queue]
        while queue.waiting:
            server = min(attached, key=lambda one: len(one.held), default=None)
            if server is None or len(server.held) >= _ROOM:
                return
            request = queue.waiting.popleft()
            self.waits[request] = self.now - request.at
            server.held.append(request)
            server.taken += 1
            if len(server.held) == 1:
                self._start(server)

    def _start(self, server: Server) -> None:
        if server.held:
            self._at(self.now + server.held[0].seconds, server)

    def _queue_of(self, server: Server) -> Queue:
        return self._queues[server.attachment.here % len(self._queues)]

    def _at(self, when: float, what: Queue | Server | Request) -> None:
        heapq.heappush(self._events, (when, next(self._count), what))


def traffic(
    shares: Sequence[float], *, rate: float, seconds: float, mean: float = 8.0, seed: int = 7
) -> list[Request]:
    """Poisson arrivals of requests that take exponential times, split over dispatchers by their shares."""
    luck = random.Random(seed)  # noqa: S311 - a simulation's luck is to repeat itself
    made, at = [], luck.expovariate(rate)
    while at < seconds:
        (dispatcher,) = luck.choices(range(len(shares)), shares)
        made.append(Request(at, dispatcher, max(0.05, luck.expovariate(1 / mean))))
        at += luck.expovariate(rate)
    return made
