"""What a worker holds: jobs waiting and running, and how far each lane may be committed.  Thread-safe."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from services.contracts.envelope import Envelope
from services.contracts.events import HeldJob, HeldState, JobDispatched


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A job that was accepted, and the record that it came in."""

    job: JobDispatched
    envelope: Envelope
    lane: int
    offset: int


class Holdings:
    """Jobs in hand.  The poll loop adds, slot threads take and finish, the reporter looks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Assignment] = deque()
        self._running: dict[str, Assignment] = {}
        self._closed = False

    def add(self, assignment: Assignment) -> None:
        """A job arrived."""
        with self._changed:
            self._waiting.append(assignment)
            self._changed.notify()

    def take(self) -> Assignment | None:
        """Wait for a job and start it; none when closed.  For slot threads."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            assignment = self._waiting.popleft()
            self._running[assignment.job.dispatch_id] = assignment
            return assignment

    def finish(self, assignment: Assignment) -> None:
        """A running job is over."""
        with self._changed:
            del self._running[assignment.job.dispatch_id]
            self._changed.notify_all()

    def close(self) -> list[Assignment]:
        """Start no job any more; returns those that waited and are now given back."""
        with self._changed:
            self._closed = True
            released = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            return released

    def running(self) -> list[Assignment]:
        """Jobs on the GPU now."""
        with self._changed:
            return list(self._running.values())

    def reported(self) -> list[HeldJob]:
        """All jobs in hand, as a report names them."""
        with self._changed:
            return [
                *(_held(a, HeldState.RUNNING) for a in self._running.values()),
                *(_held(a, HeldState.HELD) for a in self._waiting),
            ]


class LaneOffsets:
    """Which records of each lane are dealt with: a lane is committed up to the first that is not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, dict[int, bool]] = {}  # lane -> offset -> done, in the order of arrival

    def arrived(self, lane: int, offset: int) -> None:
        """A record was read."""
        with self._lock:
            self._open.setdefault(lane, {})[offset] = False

    def done(self, lane: int, offset: int) -> None:
        """A record is dealt with; one of a lane that was lost meanwhile is ignored."""
        with self._lock:
            if offset in self._open.get(lane, {}):
                self._open[lane][offset] = True

    def lost(self, lanes: Iterable[int]) -> None:
        """Lanes went to another worker, which will read what was not committed."""
        with self._lock:
            for lane in lanes:
                self._open.pop(lane, None)

    def committable(self) -> dict[int, int]:
        """Lanes that moved on since the last call, each with the offset to commit: the next one to read."""
        moved: dict[int, int] = {}
        with self._lock:
            for lane, offsets in self._open.items():
                while offsets and offsets[first := next(iter(offsets))]:
                    del offsets[first]
                    moved[lane] = first + 1
        return moved


def _held(assignment: Assignment, state: HeldState) -> HeldJob:
    job = assignment.job
    return HeldJob(dispatch_id=job.dispatch_id, request_id=job.request_id, state=state)
