"""Which records of a topic to show, and in which order."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.audit.observation import REPORTS, Observation, Raw, about_request, observe
from services.audit.ports import AuditError, Progress, RecordLog, Span
from services.audit.search import BY_USER
from services.contracts.codec import Codec
from services.contracts.partitioner import partition_for

#: The record looked at, or none where it is not wanted.
Pick = Callable[[Raw], Observation | None]

_WIDER = 8  #: how many times more records each further look back takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of a topic is wanted; what is none does not narrow."""

    topic: str
    partition: int | None = None
    request_id: str | None = None
    user_id: str | None = None


def spans_of(log: RecordLog, choice: Choice, since: datetime | None) -> list[Span]:
    """The part of the topic to look at.

    Raises:
        AuditError: the topic has no such partition, or nothing of users.
    """
    count = log.partitions(choice.topic)
    if choice.partition is not None and choice.partition >= count:
        raise AuditError(
            f"{choice.topic} has the partitions 0 to {count - 1}, so there is no partition {choice.partition}."
        )
    if choice.user_id is not None and choice.topic in REPORTS:
        raise AuditError(
            f"{choice.topic} holds {REPORTS[choice.topic]} and nothing of users; leave --user out."
        )
    return log.spans({choice.topic: _partitions(choice, count)}, since)


def picker(choice: Choice, codec: Codec) -> Pick:
    """Looks at a record and says whether it is wanted."""

    def pick(raw: Raw) -> Observation | None:
        seen = (
            observe(raw, codec) if choice.request_id is None else about_request(raw, choice.request_id, codec)
        )
        is_other_users = seen is not None and choice.user_id not in (None, _user_of(seen))
        return None if is_other_users else seen

    return pick


def all_of(log: RecordLog, spans: Sequence[Span], pick: Pick, progress: Progress) -> Iterator[Observation]:
    """Every wanted record of the spans, in the order of time."""
    for raw in in_time_order(log.read(spans, progress), spans):
        if (seen := pick(raw)) is not None:
            yield seen


def last_of(
    log: RecordLog, spans: Sequence[Span], count: int, pick: Pick, progress: Progress
) -> list[Observation]:
    """The last ``count`` wanted records of the spans, in the order of time.

    Looks back a little at first, and further until no partition can hold a later one that was not read.
    """
    reach = count
    while True:
        near = [replace(span, start=max(span.start, span.stop - reach)) for span in spans]
        earliest: dict[tuple[str, int], datetime] = {}
        found: deque[Observation] = deque(maxlen=count)
        for raw in in_time_order(log.read(near, progress), near):
            earliest.setdefault((raw.topic, raw.partition), raw.appended_at)
            if (seen := pick(raw)) is not None:
                found.append(seen)
        if _is_enough(found, count, spans, near, earliest):
            return list(found)
        reach *= _WIDER


def in_time_order(records: Iterable[Raw], spans: Sequence[Span]) -> Iterator[Raw]:
    """Merge partitions, each in its own order, by append time; holds back only what another partition may precede.

    Pure.  ``records`` are those of ``spans``, to their ends.
    """
    waiting: dict[tuple[str, int], deque[Raw]] = {(s.topic, s.partition): deque() for s in spans if len(s)}
    last = {(span.topic, span.partition): span.stop - 1 for span in spans}
    empty = set(waiting)  #: partitions of which more is to come and nothing is at hand
    heads: list[tuple[datetime, str, int]] = []
    for raw in records:
        place = (raw.topic, raw.partition)
        if not waiting[place]:
            heapq.heappush(heads, (raw.appended_at, *place))
        waiting[place].append(raw)
        empty.discard(place)
        while heads and not empty:
            _, topic, partition = heapq.heappop(heads)
            queue = waiting[topic, partition]
            first = queue.popleft()
            if queue:
                heapq.heappush(heads, (queue[0].appended_at, topic, partition))
            elif first.offset < last[topic, partition]:
                empty.add((topic, partition))
            yield first
    yield from heapq.merge(*waiting.values(), key=lambda raw: raw.appended_at)


def _is_enough(
    found: Sequence[Observation],
    count: int,
    spans: Sequence[Span],
    near: Sequence[Span],
    earliest: dict[tuple[str, int], datetime],
) -> bool:
    """Whether no record that was not read can be among the last ``count`` wanted ones."""
    unread = [(part.topic, part.partition) for whole, part in zip(spans, near, strict=True) if whole != part]
    if not unread:
        return True
    if len(found) < count:
        return False
    oldest = found[0].raw.appended_at
    return all(place in earliest and earliest[place] <= oldest for place in unread)


def _partitions(choice: Choice, count: int) -> list[int] | None:
    if choice.partition is not None:
        return [choice.partition]
    if choice.user_id is not None and choice.topic in BY_USER:
        return [partition_for(choice.user_id.encode(), count)]
    return None


def _user_of(seen: Observation) -> str | None:
    """The user told by the event, or by the key where the bytes are no event."""
    if seen.user_id is not None or seen.raw.key is None:
        return seen.user_id
    return seen.raw.key.decode("utf-8", errors="replace")
