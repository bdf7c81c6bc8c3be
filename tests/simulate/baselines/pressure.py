"""SwarmUI's rule (``BackendHandler.cs`` of github.com/mcmonkeyprojects/SwarmUI), in its own terms.

Requests are looked at in order of arrival.  One whose checkpoint an idle backend has in memory takes that backend.
The others put pressure on their checkpoint: ten points for each that waits, one for each second since the first of
them came.  An idle backend loads the checkpoint with the most pressure, the longest-idle backend first, one backend
at a time for a checkpoint; where several idle, only once that pressure is 1.5 s old.  When the load is done, the
checkpoint's oldest request takes the backend.  The loop looks at every change, and once a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.simulate.clock import Give, Load, Order, Worker
from tests.simulate.trace import Request

_POINTS_PER_REQUEST = 10
_TOO_NEW = 1.5  #: seconds


@dataclass(slots=True)
class _Pressure:
    since: float
    waiting: deque[Request] = field(default_factory=deque)
    loading: bool = False

    def points(self, now: float) -> float:
        return len(self.waiting) * _POINTS_PER_REQUEST + (now - self.since)


class ModelPressure:
    """Checkpoints compete for idle workers; users do not count."""

    held_limit = 0
    tick_seconds = 1.0

    def __init__(self, fleet: Sequence[Worker]) -> None:
        self._idle = {worker.number: worker for worker in fleet}  # the longest idle first
        self._pressures: dict[str, _Pressure] = {}
        self._loading: dict[int, str] = {}  # worker -> the checkpoint that it loads

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """It takes an idle worker with its checkpoint, or adds to the pressure."""
        pressure = self._pressures.setdefault(request.checkpoint, _Pressure(since=now))
        pressure.waiting.append(request)
        return self._look(now)

    def freed(self, worker: Worker, ended: Request | None, now: float) -> Iterator[Order]:
        """The worker idles, with what it has in memory."""
        self._idle[worker.number] = worker
        checkpoint = self._loading.pop(worker.number, None)
        if checkpoint in self._pressures:
            self._pressures[checkpoint].loading = False
        return self._look(now)

    def ticked(self, now: float) -> Iterator[Order]:
        """A pressure may have become old enough."""
        return self._look(now)

    def _look(self, now: float) -> Iterator[Order]:
        for worker in list(self._idle.values()):
            pressure = self._pressures.get(worker.loaded or "")
            if pressure is not None:
                del self._idle[worker.number]
                yield Give(worker, self._taken(pressure))
        while order := self._load(now):
            yield order

    def _taken(self, pressure: _Pressure) -> Request:
        request = pressure.waiting.popleft()
        if not pressure.waiting:
            del self._pressures[request.checkpoint]
        return request

    def _load(self, now: float) -> Load | None:
        candidates = [item for item in self._pressures.items() if not item[1].loading]
        if not candidates or not self._idle:
            return None
        checkpoint, pressure = max(candidates, key=lambda item: item[1].points(now))
        if len(self._idle) > 1 and now - pressure.since <= _TOO_NEW:
            return None
        worker = next(iter(self._idle.values()))
        del self._idle[worker.number]
        pressure.loading = True
        self._loading[worker.number] = checkpoint
        return Load(worker, checkpoint)
