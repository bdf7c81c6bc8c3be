"""The discrete-event clock: it hands a scheduler what happens, carries out its orders, and notes what became of them.

A worker runs one request at a time and has one checkpoint in memory: what the last run used, as
``WorkerReported.loaded`` says it.  A request for another checkpoint first loads it, for the trace's load time.
Messages take no time, workers are alike and do not die, and nobody cancels: what differs is the order alone.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.simulate.trace import Request, Trace


@dataclass(slots=True, eq=False)
class Worker:
    """One GPU; only the clock changes it."""

    number: int
    loaded: str | None = None  #: the checkpoint in memory, or on its way there
    busy: bool = False  #: whether it loads or runs
    held: deque[Request] = field(default_factory=deque)  #: what it was given beside, started without a gap


@dataclass(frozen=True, slots=True)
class Give:
    """Order: the worker runs the request, or holds it behind what it runs."""

    worker: Worker
    request: Request


@dataclass(frozen=True, slots=True)
class Load:
    """Order: the idle worker loads a checkpoint for no request in particular."""

    worker: Worker
    checkpoint: str


Order = Give | Load


class Scheduler(Protocol):
    """A policy under test.  Each call may yield orders; one is carried out before the next is asked for."""

    held_limit: int  #: requests that it may leave on a worker beside the running one
    tick_seconds: float  #: how often it wants `ticked` while requests wait; infinite for never

    def arrived(self, request: Request, now: float) -> Iterable[Order]:
        """A request came."""

    def freed(self, worker: Worker, ended: Request | None, now: float) -> Iterable[Order]:
        """A run ended, or a `Load` (then ``ended`` is none); what the worker held has begun."""

    def ticked(self, now: float) -> Iterable[Order]:
        """Time passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request's fate: its run began at ``started``, after its load if it needed one, and ended at ``ended``."""

    request: Request
    worker: int
    started: float
    ended: float

    @property
    def wait(self) -> float:
        """Seconds from arrival to the first sampling step, a load included."""
        return self.started - self.request.at


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one scheduler made of one trace: every request once, in order of its start."""

    trace: Trace
    workers: int
    served: tuple[Served, ...]
    loads: int
    load_seconds: float


class BadOrder(RuntimeError):
    """A scheduler gave a request twice, or more than a worker may have."""


def simulate(trace: Trace, workers: int, scheduler: Callable[[Sequence[Worker]], Scheduler]) -> Run:
    """Drive the scheduler over the trace until every request has run.

    Raises:
        BadOrder: an order that no worker could carry out, or requests left over.
    """
    fleet = [Worker(number) for number in range(workers)]
    return _Clock(trace, fleet, scheduler(fleet)).run()


#: At the same instant what ends comes before what arrives, and time passes last.
_ENDS, _ARRIVES, _TICKS = range(3)


class _Clock:
    def __init__(self, trace: Trace, fleet: list[Worker], scheduler: Scheduler) -> None:
        self._trace = trace
        self._fleet = fleet
        self._scheduler = scheduler
        self._count = itertools.count()
        self._events: list[tuple[float, int, int, Worker | None, Request | None]] = []
        self._waiting: set[str] = set()
        self._served: list[Served] = []
        self._loads: list[float] = []
        self._ticking = False
        for request in trace.requests:
            self._at(request.at, _ARRIVES, None, request)

    def run(self) -> Run:
        while self._events:
            now, kind, _, worker, request = heapq.heappop(self._events)
            for order in self._happened(now, kind, worker, request):
                self._carry_out(order, now)
            self._keep_ticking(now)
        if self._waiting or len(self._served) != len(self._trace.requests):
            raise BadOrder(f"{len(self._waiting)} requests were never given to a worker; the run is void.")
        return Run(
            trace=self._trace,
            workers=len(self._fleet),
            served=tuple(self._served),
            loads=len(self._loads),
            load_seconds=math.fsum(self._loads),
        )

    def _happened(
        self, now: float, kind: int, worker: Worker | None, request: Request | None
    ) -> Iterable[Order]:
        if worker is not None:
            worker.busy = False
            if worker.held:
                self._start(worker, worker.held.popleft(), now)
            return self._scheduler.freed(worker, request, now)
        if kind == _ARRIVES and request is not None:
            self._waiting.add(request.id)
            return self._scheduler.arrived(request, now)
        self._ticking = False
        return self._scheduler.ticked(now)

    def _carry_out(self, order: Order, now: float) -> None:
        worker = order.worker
        if isinstance(order, Load):
            if worker.busy:
                raise BadOrder(f"worker {worker.number} is busy and was to load; the run is void.")
            self._at(now + self._load(worker, order.checkpoint), _ENDS, worker, None)
            worker.busy = True
            return
        if order.request.id not in self._waiting:
            raise BadOrder(f"request {order.request.id} was given but does not wait; the run is void.")
        self._waiting.remove(order.request.id)
        if not worker.busy:
            self._start(worker, order.request, now)
        elif len(worker.held) < self._scheduler.held_limit:
            worker.held.append(order.request)
        else:
            raise BadOrder(f"worker {worker.number} has no room for {order.request.id}; the run is void.")

    def _start(self, worker: Worker, request: Request, now: float) -> None:
        started = now + self._load(worker, request.checkpoint)
        ended = started + request.run
        worker.busy = True
        self._served.append(Served(request=request, worker=worker.number, started=started, ended=ended))
        self._at(ended, _ENDS, worker, request)

    def _load(self, worker: Worker, checkpoint: str) -> float:
        if worker.loaded == checkpoint:
            return 0.0
        worker.loaded = checkpoint
        self._loads.append(self._trace.loads[checkpoint])
        return self._loads[-1]

    def _keep_ticking(self, now: float) -> None:
        period = self._scheduler.tick_seconds
        if self._waiting and not self._ticking and math.isfinite(period):
            self._ticking = True
            self._at((math.floor(now / period) + 1) * period, _TICKS, None, None)

    def _at(self, when: float, kind: int, worker: Worker | None, request: Request | None) -> None:
        heapq.heappush(self._events, (when, kind, next(self._count), worker, request))
