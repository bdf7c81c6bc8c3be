"""What a worker holds: jobs waiting and running, and how far each lane may be committed.  Thread-safe."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
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
    """Jobs in hand.  The poll loop adds, slot threads take and finish, a cancellation claims, the reporter looks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Assignment] = deque()
        self._running: dict[str, Assignment] = {}
        self._ending: dict[str, Assignment] = {}
        self._closed = False

    def add(self, assignment: Assignment) -> None:
        """A job arrived."""
        with self._changed:
            self._waiting.append(assignment)
            self._changed.notify()

    def take(self, unable: Callable[[], bool] = lambda: False) -> Assignment | None:
        """Wait for a job and start it; none when closed, or when the slot is ``unable``.  For slot threads."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or unable())
            if self._closed or unable():
                return None
            assignment = self._waiting.popleft()
            self._running[assignment.job.dispatch_id] = assignment
            return assignment

    def wake(self) -> None:
        """Have those that wait in `take` look whether they are still able."""
        with self._changed:
            self._changed.notify_all()

    def is_closed(self) -> bool:
        """Whether no job is started any more."""
        with self._changed:
            return self._closed

    def claim(self, assignment: Assignment) -> bool:
        """Take a waiting job away, to end it without running it; false where it does not wait (any more).

        It is in hand, and reported, until `finish`: its end is not told yet.
        """
        with self._changed:
            if assignment not in self._waiting:
                return False
            self._waiting.remove(assignment)
            self._ending[assignment.job.dispatch_id] = assignment
            return True

    def finish(self, assignment: Assignment) -> None:
        """A job that was taken or claimed is over."""
        with self._changed:
            self._running.pop(assignment.job.dispatch_id, None)
            self._ending.pop(assignment.job.dispatch_id, None)
            self._changed.notify_all()

    def release(self) -> list[Assignment]:
        """Give back what waits; returns it."""
        with self._changed:
            released = list(self._waiting)
            self._waiting.clear()
            return released

    def close(self) -> list[Assignment]:
        """Start no job any more; returns those that waited and are now given back."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self.release()

    def of_request(self, request_id: str) -> list[Assignment]:
        """The jobs of a request that wait or run."""
        with self._changed:
            return [a for a in (*self._waiting, *self._running.values()) if a.job.request_id == request_id]

    def is_running(self, assignment: Assignment) -> bool:
        """Whether that job is on the GPU, or about to be."""
        with self._changed:
            return assignment.job.dispatch_id in self._running

    def running(self) -> list[Assignment]:
        """Jobs on the GPU now."""
        with self._changed:
            return list(self._running.values())

    def idle(self) -> bool:
        """Whether no job runs and none is being ended."""
        with self._changed:
            return not self._running and not self._ending

    def reported(self) -> list[HeldJob]:
        """All jobs in hand, as a report names them."""
        with self._changed:
            return [
                *(_held(a, HeldState.RUNNING) for a in self._running.values()),
                *(_held(a, HeldState.HELD) for a in (*self._ending.values(), *self._waiting)),
            ]


class LaneOffsets:
    """Which records of each lane are dealt with: a lane is committed up to the first that is not.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, dict[int, bool]] = {}  # lane -> offset -> done, in the order of arrival
        self._reached: dict[int, int] = {}  # lane -> offset to commit
        self._due: set[int] = set()  # lanes of which that is to be committed

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
                self._reached.pop(lane, None)
                self._due.discard(lane)

    def committable(self) -> dict[int, int]:
        """Lanes that moved on since the last call, each with the offset to commit: the next one to read."""
        with self._lock:
            for lane, offsets in self._open.items():
                while offsets and offsets[first := next(iter(offsets))]:
                    del offsets[first]
                    self._reached[lane] = first + 1
                    self._due.add(lane)
            due, self._due = self._due, set()
            return {lane: self._reached[lane] for lane in due}

    def not_committed(self, lane: int) -> None:
        """A commit failed: where the lane is by now is due again, unless it is lost."""
        with self._lock:
            if lane in self._reached:
                self._due.add(lane)


def _held(assignment: Assignment, state: HeldState) -> HeldJob:
    job = assignment.job
    return HeldJob(dispatch_id=job.dispatch_id, request_id=job.request_id, state=state)
