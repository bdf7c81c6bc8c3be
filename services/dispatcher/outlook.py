"""What a waiting user may expect: the place in the queue, and when the images should be there.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from services.contracts.events import BacklogReported, JobProgressed, Phase
from services.dispatcher.decide import is_starting
from services.dispatcher.fleet import Catalogue, Room
from services.dispatcher.job import Job, Kind
from services.dispatcher.state import State

#: An estimate that moved by less, in seconds or as a share, is not worth an edit.
LEAST_CHANGE_SECONDS = 10.0
LEAST_CHANGE_SHARE = 0.2
#: So near the front every place is told.
NEAR = 5
STARTING = "A GPU that can draw this is starting."
NOBODY = "No GPU that can draw this is online at the moment; it waits for one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Of one waiting job."""

    job: Job
    place: int  #: 1 = next
    eta_seconds: float | None  #: until its images are there; none while no worker could draw it
    note: str | None = None  #: why it waits, where there is more to say


def outlooks(state: State, now: datetime) -> Iterator[Outlook]:
    """Of every waiting job, in the order in which they would be served if nobody came.

    The work ahead is what runs and what waits before it, spread evenly over the slots that can draw it.
    """
    slots = _Slots(state, now)
    ahead = 0.0
    for place, waiting in enumerate(state.backlog.in_order(), start=1):
        job = state.jobs[waiting.key]
        own = state.run_times.expect(job.spec)
        count, busy = slots.able(job)
        eta = (busy + ahead) / count + own if count else None
        yield Outlook(job=job, place=place, eta_seconds=eta, note=None if count else slots.why_none(job))
        ahead += own


def differs(new: Outlook, told: Outlook | None) -> bool:
    """Whether the user should hear of it."""
    if told is None or new.note != told.note:
        return True
    if abs(new.place - told.place) > LEAST_CHANGE_SHARE * told.place or (new.place != told.place <= NEAR):
        return True
    if new.eta_seconds is None or told.eta_seconds is None:
        return new.eta_seconds is not told.eta_seconds
    change = abs(new.eta_seconds - told.eta_seconds)
    return change > max(LEAST_CHANGE_SECONDS, LEAST_CHANGE_SHARE * told.eta_seconds)


def progress(outlook: Outlook, now: datetime) -> JobProgressed:
    """What the user is told."""
    record = outlook.job.record
    return JobProgressed(
        request_id=outlook.job.request_id,
        phase=Phase.QUEUED,
        progressed_at=now,
        reply_to=record.request.reply_to,
        command_string=record.request.command_string,
        attempt=record.attempt,
        queue_place=outlook.place,
        eta_seconds=None if outlook.eta_seconds is None else round(outlook.eta_seconds),
        part=record.part,
        parts=record.parts,
        note=outlook.note,
    )


def oldest_wait(state: State, now: datetime) -> float:
    """Seconds that the first of those who wait has waited; 0 while nobody does."""
    oldest = min((waiting.queued_at for waiting in state.backlog), default=now)
    return max(0.0, (now - oldest).total_seconds())


def announcement(state: State, dispatcher_id: str, now: datetime) -> BacklogReported:
    """What workers go by when they choose where to attach themselves."""
    checkpoints: dict[str, int] = {}
    for need, count in state.backlog.needs().items():
        name = min(need, default="")
        checkpoints[name] = checkpoints.get(name, 0) + count
    return BacklogReported(
        dispatcher_id=dispatcher_id,
        reported_at=now,
        partitions=sorted(state.owned),
        queued=len(state.backlog),
        oldest_wait_seconds=oldest_wait(state, now),
        workers=len(state.fleet),
        idle=state.fleet.count(Room.IDLE),
        checkpoints=checkpoints,
    )


class _Slots:
    """Slots, and the seconds of work that they have, by what their workers can draw; each kind is counted once."""

    def __init__(self, state: State, now: datetime) -> None:
        self._state, self._now = state, now
        self._notes: dict[Kind, str | None] = {}
        self._of: dict[Catalogue, tuple[int, float]] = {}
        self._known: dict[Kind, tuple[int, float]] = {}
        for standing in state.fleet:
            count, busy = self._of.get(standing.catalogue, (0, 0.0))
            slots = state.workers[standing.worker_id].report.slots
            left = slots * max(0.0, (standing.ends_at - now).total_seconds())
            self._of[standing.catalogue] = count + slots, busy + left

    def able(self, job: Job) -> tuple[int, float]:
        """Slots that can draw the job, and the seconds of work that they have."""
        if job.kind not in self._known:
            found = [sums for catalogue, sums in self._of.items() if catalogue.can_run(job.spec)]
            self._known[job.kind] = sum(count for count, _ in found), sum(busy for _, busy in found)
        return self._known[job.kind]

    def why_none(self, job: Job) -> str | None:
        """What to say while no worker of this dispatcher could draw the job; none where another's soon will."""
        if job.kind not in self._notes:
            self._notes[job.kind] = self._why_none(job)
        return self._notes[job.kind]

    def _why_none(self, job: Job) -> str | None:
        workers = self._state.workers.values()
        if any(self._state.is_live(w, self._now) and w.can_run(job) for w in workers):
            return None
        if any(is_starting(self._state, w, self._now) and w.can_run(job) for w in workers):
            return STARTING
        return NOBODY
