"""How long the end of one process keeps the others waiting, from the broker's own timestamps.  Pure.

A stall is the time from a process's end to the next event of a partition that had work for its stage, in the
partition that waits longest.  Where more partitions had work than the others own, one that the process owned is
among them; else the end says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.contracts.topics import REQUESTS, load_topics
from tests.chaos.cast import CAST, stage_of
from tests.chaos.history import History, Incident, first_finals, first_of_each
from tests.chaos.schedule import BROKER_KINDS, Kind

#: Whose faults delay a stage's own work.
_LEANS_ON = {"notifier": ("discord",), "gpu_worker": ("dispatcher",)}
#: Of every topic that is keyed by user.
PARTITIONS = load_topics()[REQUESTS].partitions
#: Only work that came up to so many seconds after the end counts: later, nothing was there to be done.
_WORK_WITHIN = 3.0
#: A process that has just started again is not yet what its fault found: its stage counts as disturbed for so long.
_SETTLES = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """What one end of a process cost."""

    stage: str
    kind: Kind  #: ``kill`` or ``terminate``
    seconds: float
    disturbed: bool  #: another fault struck the same stage or the broker meanwhile, so that it is not this one's alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One event that a stage had to handle, and when the first sign of it was written."""

    partition: object
    came_at: float
    handled_at: float


def stalls(history: History) -> list[Stall]:
    """The stall of every end of a stage's process that kept anybody waiting."""
    found = []
    work = {stage: sorted(_work(stage, history), key=lambda one: one.handled_at) for stage in CAST.stages}
    for incident in history.incidents:
        stage = stage_of(incident.target)
        if incident.kind not in (Kind.KILL, Kind.TERMINATE) or stage not in CAST.stages:
            continue
        concerned = work[stage]
        if stage in ("gpu_worker", "ingest_bot"):
            concerned = [one for one in concerned if one.partition == _own(incident)]
        waits = _waits(concerned, incident.since)
        if len(waits) >= _enough(stage):
            seconds = max(waits)
            disturbed = any(_disturbs(other, incident, seconds) for other in history.incidents)
            found.append(
                Stall(stage=stage, kind=incident.kind, seconds=round(seconds, 3), disturbed=disturbed)
            )
    return found


def _waits(work: list[Work], since: float) -> list[float]:
    """Seconds to the next event of each partition that had one to handle."""
    first: dict[object, float] = {}
    for one in work:
        if one.handled_at > since and one.came_at <= since + _WORK_WITHIN:
            first.setdefault(one.partition, one.handled_at - max(since, one.came_at))
    return list(first.values())


def _enough(stage: str) -> int:
    """More partitions than a stage's other processes own."""
    if stage not in CAST.grouped:
        return 1
    processes = len(CAST.stages[stage])
    return PARTITIONS * (processes - 1) // processes + 1


def _work(stage: str, history: History) -> Iterator[Work]:
    """A stage's events by the partition in which they are in line."""
    match stage:
        case "moderator":
            yield from _moderated(history)
        case "dispatcher":
            yield from _taken_in(history)
        case "notifier":
            yield from _delivered(history)
        case "gpu_worker":
            yield from _given(history)
        case "ingest_bot":
            yield from _asked(history)


def _moderated(history: History) -> Iterator[Work]:
    decisions = first_of_each(history.moderated)
    for request_id, request in first_of_each(history.requested).items():
        if decision := decisions.get(request_id):
            yield Work(partition=request.place.partition, came_at=request.at, handled_at=decision.at)


def _taken_in(history: History) -> Iterator[Work]:
    ledger = first_of_each(history.recorded)
    for request_id, decision in first_of_each(history.moderated).items():
        if decision.approved and (taken := ledger.get(request_id)):
            yield Work(partition=decision.place.partition, came_at=decision.at, handled_at=taken.at)


def _delivered(history: History) -> Iterator[Work]:
    delivered = first_of_each(history.delivered)
    for request_id, end in first_finals(history).items():
        if told := delivered.get(request_id):
            yield Work(partition=end.place.partition, came_at=end.at, handled_at=told.at)


def _given(history: History) -> Iterator[Work]:
    """A worker's jobs: what it held at its end is handled when the ledger says anything new of it."""
    news: dict[str, list[float]] = {}
    for record in history.recorded:
        news.setdefault(record.request_id, []).append(record.at)
    for given in history.dispatched:
        later = [at for at in news.get(given.request_id, ()) if at > given.at]
        if later:
            yield Work(partition=given.worker_id, came_at=given.at, handled_at=min(later))


def _asked(history: History) -> Iterator[Work]:
    """A shard's commands; one that came while its process was away is not taken by anybody."""
    requests = first_of_each(history.requested)
    for told in history.told:
        if request := requests.get(told.request_id):
            yield Work(partition=told.shard, came_at=0.0, handled_at=request.at)


def _own(incident: Incident) -> object:
    """What stands for a worker's and a bot's partition, of which each has its own."""
    if stage_of(incident.target) == "gpu_worker":
        return incident.target
    return CAST.stages["ingest_bot"].index(incident.target)


def _disturbs(other: Incident, incident: Incident, seconds: float) -> bool:
    if other is incident or other.since > incident.since + seconds or other.until + _SETTLES < incident.since:
        return False
    stage = stage_of(incident.target)
    concerned = {stage, *_LEANS_ON.get(stage, ())}
    if other.kind in BROKER_KINDS or other.target in concerned:
        return True
    return stage_of(other.target.rpartition(":")[2]) in concerned
