"""The journey of one request out of its records: steps in order, waits, outcome, and what is not as it should be.

Pure: observations in, timeline out.  Times are the broker's append times, one clock for all, but for the interaction's
own, which is Discord's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.audit.anomalies import anomalies
from services.audit.moments import show_seconds, snowflake_instant
from services.audit.observation import Observation
from services.contracts.events import (
    DeliveryMethod,
    GenerationRequested,
    JobCompleted,
    JobDispatched,
    JobProgressed,
    Outcome,
    RequestDelivered,
    RequestModerated,
)
from services.contracts.topics import (
    CANCELLATIONS,
    COMPLETED,
    DEAD_LETTERS,
    DELIVERED,
    DISPATCHED,
    JOBS,
    MODERATED,
    PROGRESS,
    REQUESTS,
)

#: The order in which the chain writes: decides between records of the same millisecond.
_ORDER = (REQUESTS, MODERATED, CANCELLATIONS, JOBS, DISPATCHED, PROGRESS, COMPLETED, DELIVERED, DEAD_LETTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One record in its place of the journey."""

    seen: Observation
    since_start: float  #: seconds from the interaction to the record's append
    wait: float  #: seconds from the append of what caused it, or of the step before where that was not found


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One request's journey."""

    request_id: str
    user_id: str | None
    started_at: datetime  #: the interaction, or the first record where that is not known
    steps: tuple[Step, ...]
    stages: Mapping[str, float]  #: seconds by part of the way: intake, moderation, backlog, drawing, delivery
    attempts: int
    outcome: Outcome | None  #: none while the user has not been told
    delivered_after: float | None  #: seconds from the interaction to the first final message
    summary: str
    anomalies: tuple[str, ...]


def build(request_id: str, observations: Iterable[Observation], now: datetime) -> Timeline:
    """Order the records of one request and judge them.

    Raises:
        ValueError: there are no records.
    """
    ordered = in_causal_order(observations)
    if not ordered:
        raise ValueError("A timeline needs at least one record.")
    started_at = _started_at(request_id, ordered)
    told = _first(ordered, RequestDelivered)
    return Timeline(
        request_id=request_id,
        user_id=next((seen.user_id for seen in ordered if seen.user_id), None),
        started_at=started_at,
        steps=_steps(ordered, started_at),
        stages=_stages(ordered, started_at),
        attempts=attempts_of(ordered),
        outcome=told.event.outcome if told is not None and isinstance(told.event, RequestDelivered) else None,
        delivered_after=None if told is None else _seconds(started_at, told.raw.appended_at),
        summary=_summary(ordered, started_at, now),
        anomalies=anomalies(ordered, now),
    )


def in_causal_order(observations: Iterable[Observation]) -> list[Observation]:
    """By time, and an effect never before its cause, whatever the clocks of two brokers say."""
    seen = sorted(observations, key=_by_time)
    causes: dict[str, Observation] = {}
    for one in seen:
        causes.setdefault(one.envelope.event_id, one)
    memo: dict[str, tuple[datetime, int]] = {}
    return sorted(seen, key=lambda one: (*_rank(one, causes, memo), *_by_time(one)[1:]))


def attempts_of(observations: Iterable[Observation]) -> int:
    """The highest attempt that any record names; 0 where no worker was asked."""
    return max((getattr(seen.event, "attempt", 0) for seen in observations), default=0)


def _rank(
    one: Observation, causes: Mapping[str, Observation], memo: dict[str, tuple[datetime, int]]
) -> tuple[datetime, int]:
    """When it can have happened at the earliest, and how many causes it has before it.

    A loop rather than recursion, with what was visited marked: headers are foreign data and may form a circle.
    """
    chain: list[Observation] = []
    current: Observation | None = one
    while current is not None and current.raw.place not in memo:
        memo[current.raw.place] = (current.raw.appended_at, 0)
        chain.append(current)
        cause = causes.get(current.envelope.causation_id or "")
        current = cause if cause is not current else None
    for link in reversed(chain):
        cause = causes.get(link.envelope.causation_id or "")
        if cause is not None and cause is not link:
            at, depth = memo[cause.raw.place]
            memo[link.raw.place] = (max(at, link.raw.appended_at), depth + 1)
    return memo[one.raw.place]


def _by_time(one: Observation) -> tuple[datetime, int, int, int]:
    raw = one.raw
    order = _ORDER.index(raw.topic) if raw.topic in _ORDER else len(_ORDER)
    return raw.appended_at, order, raw.partition, raw.offset


def _steps(ordered: Sequence[Observation], started_at: datetime) -> tuple[Step, ...]:
    appended: dict[str, datetime] = {}
    for seen in ordered:
        appended.setdefault(seen.envelope.event_id, seen.raw.appended_at)
    steps = []
    before = started_at
    for seen in ordered:
        at = seen.raw.appended_at
        cause = appended.get(seen.envelope.causation_id or "", before)
        steps.append(Step(seen=seen, since_start=_seconds(started_at, at), wait=_seconds(cause, at)))
        before = at
    return tuple(steps)


def _stages(ordered: Sequence[Observation], started_at: datetime) -> dict[str, float]:
    """How long each part of the way took; only parts whose both ends are known."""
    requested = _at(_first(ordered, GenerationRequested))
    moderated = _at(_first(ordered, RequestModerated))
    dispatched = _at(_first(ordered, JobDispatched))
    completed = _at(_final(ordered))
    delivered = _at(_first(ordered, RequestDelivered))
    told_from = completed or moderated
    ends = {
        "intake": (started_at, requested),
        "moderation": (requested, moderated),
        "backlog": (moderated, dispatched),
        "drawing": (dispatched, completed),
        "delivery": (told_from, delivered),
    }
    return {
        name: _seconds(start, end)
        for name, (start, end) in ends.items()
        if start is not None and end is not None
    }


def _summary(ordered: Sequence[Observation], started_at: datetime, now: datetime) -> str:
    told = _first(ordered, RequestDelivered)
    tries = _count(attempts_of(ordered), "attempt")
    if told is None or not isinstance(told.event, RequestDelivered):
        last = ordered[-1]
        age = show_seconds(max(0.0, _seconds(last.raw.appended_at, now)))
        return f"not delivered: the last record is on {last.raw.topic}, {age} old; {tries}"
    after = show_seconds(_seconds(started_at, told.raw.appended_at))
    return f"{_told(told.event, after)}, {tries}"


def _told(event: RequestDelivered, after: str) -> str:
    code = f" ({event.error_code})" if event.error_code else ""
    if event.method is DeliveryMethod.UNDELIVERABLE:
        return f"undeliverable after {after}: {event.outcome.value.lower()}{code}"
    if event.outcome is Outcome.SUCCEEDED:
        return f"delivered after {after}: {_count(event.images, 'image')}"
    return f"delivered after {after}: {event.outcome.value.lower()}{code}"


def _started_at(request_id: str, ordered: Sequence[Observation]) -> datetime:
    """The interaction's instant: what the events say, else what the id says, else the first record's."""
    for seen in ordered:
        request = getattr(seen.event, "request", seen.event)
        if isinstance(request, GenerationRequested | JobDispatched | JobCompleted | RequestDelivered):
            return request.requested_at
    return snowflake_instant(request_id) or ordered[0].raw.appended_at


def _final(ordered: Sequence[Observation]) -> Observation | None:
    return next((s for s in ordered if isinstance(s.event, JobCompleted) and s.event.final), None)


def _first(ordered: Sequence[Observation], kind: type) -> Observation | None:
    """The first record of an event that is no dead letter: a buried event did not happen to the next stage."""
    return next((s for s in ordered if isinstance(s.event, kind) and s.burial is None), None)


def _at(seen: Observation | None) -> datetime | None:
    return None if seen is None else seen.raw.appended_at


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def folded(steps: Sequence[Step]) -> list[tuple[Step, int]]:
    """Each step with how many followed it that it stands for: runs of progress become one line."""
    groups: list[list[Step]] = []
    for step in steps:
        is_same_run = groups and _run_of(step) is not None and _run_of(step) == _run_of(groups[-1][-1])
        if is_same_run:
            groups[-1].append(step)
        else:
            groups.append([step])
    return [(group[-1], len(group)) for group in groups]


def _run_of(step: Step) -> tuple[str, int] | None:
    event = step.seen.event
    return (event.phase.value, event.attempt) if isinstance(event, JobProgressed) else None
