"""Which records an operator wants to replay, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.audit import tail
from services.audit.moments import snowflake_instant
from services.audit.observation import Observation
from services.audit.ports import AuditError, Progress, RecordLog, Span
from services.audit.replay import dead_letters_of
from services.audit.search import EARLY
from services.contracts.codec import Codec
from services.contracts.topics import DEAD_LETTERS


class SelectionError(AuditError):
    """The options name no records, or contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records are to be replayed."""

    topic: str
    request_id: str | None
    partition: int | None
    offset: int | None
    to_offset: int | None
    dead_letters: bool
    error_class: str | None
    since: datetime | None

    @property
    def source(self) -> str:
        """The topic that is read."""
        return DEAD_LETTERS if self.dead_letters else self.topic

    def check(self) -> None:
        """Refuse a selection that is none, more than one, or half of one.

        Raises:
            SelectionError: it is one of these.
        """
        by_place = self.partition is not None or self.offset is not None
        if (self.request_id is not None) + by_place + self.dead_letters != 1:
            raise SelectionError("Give one of --request, --partition with --offset, and --dead-letters.")
        if by_place and (self.partition is None or self.offset is None):
            raise SelectionError("--partition and --offset go together.")
        if self.to_offset is not None and (self.offset is None or self.to_offset < self.offset):
            raise SelectionError("--to is the last offset of a range and goes with a smaller --offset.")
        if self.error_class is not None and not self.dead_letters:
            raise SelectionError("--error-class goes with --dead-letters.")

    def find(self, log: RecordLog, codec: Codec, progress: Progress) -> Sequence[Observation]:
        """The records, in the order of time.

        Raises:
            AuditError: the place is not there, or the broker does not answer.
        """
        choice = tail.Choice(topic=self.source, partition=self.partition, request_id=self.request_id)
        spans = tail.spans_of(log, choice, self._since())
        if self.offset is not None:
            spans = [_cut(span, self.offset, self.to_offset) for span in spans]
        seen = list(tail.all_of(log, spans, tail.picker(choice, codec), progress))
        return dead_letters_of(seen, self.topic, self.error_class) if self.dead_letters else seen

    def _since(self) -> datetime | None:
        made_at = snowflake_instant(self.request_id) if self.request_id is not None else None
        return made_at - EARLY if made_at is not None and self.since is None else self.since


def _cut(span: Span, offset: int, to_offset: int | None) -> Span:
    """The range of the span.

    Raises:
        AuditError: the first offset is not there.
    """
    if not span.start <= offset < span.stop:
        holds = f"holds the offsets {span.start} to {span.stop - 1}" if len(span) else "holds nothing"
        raise AuditError(
            f"Partition {span.partition} of {span.topic} {holds}, so there is no offset {offset}."
        )
    stop = offset + 1 if to_offset is None else min(span.stop, to_offset + 1)
    return Span(topic=span.topic, partition=span.partition, start=offset, stop=stop)
