"""Finds every record of one request while reading as little as possible.

The request's id tells when it was made, its first record whose it is; all but its jobs then lie in that user's
partition, and the ledger tells on which lanes its jobs are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.audit.moments import show_instant, snowflake_instant
from services.audit.observation import Observation, about_request
from services.audit.ports import AuditError, Progress, RecordLog
from services.audit.timeline import attempts_of
from services.contracts.codec import Codec
from services.contracts.events import JobRecorded
from services.contracts.partitioner import partition_for
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

#: Before the interaction's instant: how far the brokers' clock may be behind Discord's.
EARLY = timedelta(minutes=2)
#: After it: how late a first record may be, when the broker was away at first.
INTAKE = timedelta(minutes=15)
#: Topics that lie in the user's partition.
BY_USER = (REQUESTS, MODERATED, JOBS, PROGRESS, COMPLETED, DELIVERED, CANCELLATIONS)


class UnknownRequest(AuditError):
    """No record of the request was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which append times to look at; none is without bound."""

    since: datetime | None = None
    until: datetime | None = None
    first_until: datetime | None = None  #: for the first record


@dataclass(slots=True, kw_only=True)
class Search:
    """One search; ``say`` gets a sentence before each pass over the topics."""

    log: RecordLog
    codec: Codec
    request_id: str
    window: Window
    say: Callable[[str], None] = lambda _: None
    progress: Progress = lambda _: None
    _found: dict[str, Observation] = field(default_factory=dict)

    def run(self, user_id: str | None = None) -> list[Observation]:
        """Every record of the request, in no order.

        Raises:
            UnknownRequest: there is none.
            BrokerAway, UnknownTopic: see `RecordLog`.
        """
        if user_id is None:
            user_id = self._find_user()
        self._read_users_topics(user_id)
        self._read_lanes()
        if not self._found:
            raise UnknownRequest(self._nothing(user_id))
        return list(self._found.values())

    def _find_user(self) -> str | None:
        """The user of the first record that tells, if all of the user's records can then be found by hash."""
        for topics in ((REQUESTS,), (MODERATED, JOBS, DEAD_LETTERS)):
            self.say(f"looking for the request on {', '.join(topics)}")
            seen = next(self._records(dict.fromkeys(topics), self.window.first_until), None)
            if seen is not None:
                return self._user_by_hash(seen)
        raise UnknownRequest(self._nothing(None))

    def _user_by_hash(self, seen: Observation) -> str | None:
        """None where the record is not where its user's hash says: partitions were added, or the user is not told."""
        user_id = seen.user_id
        if user_id is None or seen.raw.topic == DEAD_LETTERS:
            return user_id
        count = self.log.partitions(seen.raw.topic)
        return user_id if partition_for(user_id.encode(), count) == seen.raw.partition else None

    def _read_users_topics(self, user_id: str | None) -> None:
        whose = "of its user" if user_id is not None else "of every user"
        self.say(f"reading the records {whose}")
        topics: dict[str, Iterable[int] | None] = {DEAD_LETTERS: None}
        for name in BY_USER:
            count = self.log.partitions(name)
            topics[name] = None if user_id is None else [partition_for(user_id.encode(), count)]
        self._keep(self._records(topics, self.window.until))

    def _read_lanes(self) -> None:
        lanes = lanes_of(self._found.values())
        if lanes is None or lanes:
            where = "every lane" if lanes is None else f"lane {', '.join(map(str, sorted(lanes)))}"
            self.say(f"reading {where}")
            self._keep(self._records({DISPATCHED: lanes}, self.window.until))

    def _records(
        self, topics: dict[str, Iterable[int] | None], until: datetime | None
    ) -> Iterator[Observation]:
        spans = self.log.spans(topics, self.window.since, until)
        for raw in self.log.read(spans, self.progress):
            seen = about_request(raw, self.request_id, self.codec)
            if seen is not None:
                yield seen

    def _keep(self, records: Iterable[Observation]) -> None:
        for seen in records:
            self._found[seen.raw.place] = seen

    def _nothing(self, user_id: str | None) -> str:
        whose = f" of user {user_id}" if user_id is not None else ""
        if self.window.since is None:
            return f"No record of request {self.request_id}{whose} is kept on any topic; is the id complete?"
        return (
            f"No record of request {self.request_id}{whose} was found near {show_instant(self.window.since)}, "
            "where its id says that it was made; check the id, or read all that is kept with --full."
        )


def window_of(request_id: str, within: timedelta, *, full: bool) -> Window:
    """Where to look for a request's records; everywhere for an id that is no snowflake.  Pure."""
    made_at = snowflake_instant(request_id)
    if full or made_at is None:
        return Window()
    return Window(since=made_at - EARLY, until=made_at + within, first_until=made_at + INTAKE)


def lanes_of(observations: Iterable[Observation]) -> set[int] | None:
    """The lanes that its jobs went to; none where some attempt's lane is not on record any more.  Pure.

    The ledger is compacted, so that it may have forgotten an attempt which others name.
    """
    records = list(observations)
    lanes = {
        event.attempt: event.lane
        for event in (seen.event for seen in records)
        if isinstance(event, JobRecorded) and event.lane is not None
    }
    if any(attempt not in lanes for attempt in range(1, attempts_of(records) + 1)):
        return None
    return set(lanes.values())
