"""What is not as it should be in the records of one request, each as one sentence.  Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from services.audit.moments import show_instant
from services.audit.observation import Observation
from services.contracts.events import (
    GenerationRequested,
    JobCompleted,
    JobDispatched,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.contracts.topics import REQUESTS


def anomalies(ordered: Sequence[Observation], now: datetime) -> tuple[str, ...]:
    """Everything that an operator should look at, in the order of weight; ``ordered`` is in causal order."""
    return (
        *_dead_letters(ordered),
        *_undecodable(ordered),
        *_missing(ordered, now),
        *_silent_attempts(ordered),
        *_too_many(ordered),
        *_copies(ordered),
    )


def _dead_letters(ordered: Sequence[Observation]) -> Iterator[str]:
    for seen in ordered:
        if seen.burial is not None:
            yield (
                f"{seen.burial.stage or 'a stage'} gave up on {seen.burial.place}: it is the dead letter "
                f"{seen.raw.place} ({seen.burial.error_class or 'no error class'})."
            )


def _undecodable(ordered: Sequence[Observation]) -> Iterator[str]:
    for seen in ordered:
        if seen.problem is not None and seen.burial is None:
            yield f"{seen.raw.place} cannot be decoded: {seen.problem.detail} ({seen.problem.reason.value})."


def _missing(ordered: Sequence[Observation], now: datetime) -> Iterator[str]:
    request = next((r for r in map(_request_in, ordered) if r is not None), None)
    if not any(isinstance(seen.event, GenerationRequested) for seen in ordered):
        yield f"There is no record on {REQUESTS}: it was deleted by retention, or never written."
    if _living(ordered, RequestDelivered):
        return
    final = [seen for seen in _living(ordered, JobCompleted) if _is_final(seen)]
    if final:
        yield f"It ended at {show_instant(final[0].raw.appended_at)}, but there is no delivered record."
    elif _is_rejected(ordered):
        yield "It was rejected, but there is no delivered record."
    elif request is not None and now > request.expires_at:
        yield f"It expired at {show_instant(request.expires_at)}, but there is no delivered record."
    else:
        until = "" if request is None else f"; it expires at {show_instant(request.expires_at)}"
        yield f"There is no delivered record yet{until}."


def _silent_attempts(ordered: Sequence[Observation]) -> Iterator[str]:
    answered = {_dispatch_id(seen) for seen in _living(ordered, JobCompleted)}
    is_over = any(_is_final(seen) for seen in _living(ordered, JobCompleted))
    dispatched = {e.dispatch_id: e for s in ordered if isinstance(e := s.event, JobDispatched)}
    latest = max((event.attempt for event in dispatched.values()), default=0)
    for event in dispatched.values():
        may_still_run = event.attempt == latest and not is_over
        if event.dispatch_id not in answered and not may_still_run:
            yield f"Attempt {event.attempt} on {event.worker_id} never ended: no completed record names it."


def _too_many(ordered: Sequence[Observation]) -> Iterator[str]:
    """Different events where there should be one."""
    told = _unique(_living(ordered, RequestDelivered))
    if len(told) > 1:
        yield f"There are {len(told)} different delivered events: {_places(told)}."
    finals = _unique([seen for seen in _living(ordered, JobCompleted) if _is_final(seen)])
    if len(finals) > 1:
        yield f"There are {len(finals)} different final completed events: {_places(finals)}."
    verdicts = _unique(_living(ordered, RequestModerated))
    if len(verdicts) > 1:
        yield f"There are {len(verdicts)} different moderated events: {_places(verdicts)}."
    # By dispatch id: a dispatcher that dies after the send dispatches the same again, for another cause.
    dispatches = {(e.attempt, e.dispatch_id) for s in ordered if isinstance(e := s.event, JobDispatched)}
    for attempt, times in sorted(Counter(attempt for attempt, _ in dispatches).items()):
        if times > 1:
            yield f"Attempt {attempt} was dispatched {times} times under different ids."


def _copies(ordered: Sequence[Observation]) -> Iterator[str]:
    """One event that a topic holds more than once; replays are said to be such."""
    groups: dict[tuple[str, str], list[Observation]] = defaultdict(list)
    for seen in ordered:
        if seen.copy_of is not None:
            groups[seen.raw.topic, seen.copy_of].append(seen)
    for group in groups.values():
        if len(group) > 1:
            replays = sum(seen.envelope.replay_of is not None for seen in group)
            note = f", {replays} of them by replay" if replays else ""
            yield f"The same event is there {len(group)} times: {_places(group)}{note}."


def _living(ordered: Iterable[Observation], kind: type) -> list[Observation]:
    return [seen for seen in ordered if isinstance(seen.event, kind) and seen.burial is None]


def _unique(records: Iterable[Observation]) -> list[Observation]:
    """One record of each event."""
    first: dict[str, Observation] = {}
    for seen in records:
        first.setdefault(seen.envelope.event_id, seen)
    return list(first.values())


def _request_in(seen: Observation) -> GenerationRequested | None:
    request = getattr(seen.event, "request", seen.event)
    return request if isinstance(request, GenerationRequested) else None


def _is_final(seen: Observation) -> bool:
    return isinstance(seen.event, JobCompleted) and seen.event.final


def _dispatch_id(seen: Observation) -> str | None:
    return seen.event.dispatch_id if isinstance(seen.event, JobCompleted) else None


def _is_rejected(ordered: Sequence[Observation]) -> bool:
    verdicts = (s.event for s in ordered if isinstance(s.event, RequestModerated))
    return any(event.verdict is Verdict.REJECTED for event in verdicts)


def _places(records: Iterable[Observation]) -> str:
    return ", ".join(seen.raw.place for seen in records)
