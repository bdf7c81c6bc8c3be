"""What the audit tools need of Kafka: reading ranges of records without a group, and sending records on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.audit.observation import HeaderPairs, Raw


class AuditError(Exception):
    """What the operator is told instead of a traceback: one sentence."""


class BrokerAway(AuditError):
    """Nobody answers, or no longer."""


class UnknownTopic(AuditError):
    """The broker has no such topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Records of one partition, from offset ``start`` up to but without ``stop``."""

    topic: str
    partition: int
    start: int
    stop: int

    def __len__(self) -> int:
        """Offsets in the span: at least as many as records, since compaction and transactions leave gaps."""
        return max(0, self.stop - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A record to be written; without a partition the key decides."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: HeaderPairs


#: Called now and then with the number of records read so far.
Progress = Callable[[int], None]


class RecordLog(Protocol):
    """Topics as a log to read: nothing that it does is seen by anyone else.  Topics are without prefix.

    Every method may block, and raises `BrokerAway` when the broker does not answer.
    """

    def partitions(self, topic: str) -> int:
        """How many partitions it has.

        Raises:
            UnknownTopic: the broker does not have it; the nearest name is in the message.
        """

    def spans(
        self,
        topics: Mapping[str, Iterable[int] | None],
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Span]:
        """What each topic's partitions (none = all) hold now, of records appended in ``since`` <= t < ``until``.

        A span may be empty.  Where the broker cannot look up times, the bounds are left out.
        """

    def read(self, spans: Sequence[Span], progress: Progress = lambda _: None) -> Iterator[Raw]:
        """Every record of the spans; in order in each partition."""

    def follow(self, starts: Sequence[Span]) -> Iterator[Raw]:
        """Every record from each span's ``stop`` on, for ever, as they come."""


class RecordSender(Protocol):
    """Writes records as they are given."""

    def send(self, sendings: Sequence[Sending]) -> list[str | None]:
        """Send all in order and wait; for each, none when the in-sync replicas have it, else why not.

        Raises:
            BrokerAway: nobody answers.
        """
