"""The audit tools' ports in memory; one suite holds them to what the adapters do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from services.audit.observation import Raw
from services.audit.ports import Progress, Span, UnknownTopic


class FakeLog:
    """`RecordLog` over given records; remembers what was read of it."""

    def __init__(
        self, raws: Iterable[Raw], partitions: Mapping[str, int], *, knows_times: bool = True
    ) -> None:
        self._raws = sorted(raws, key=lambda raw: (raw.topic, raw.partition, raw.offset))
        self._partitions = dict(partitions)
        self._knows_times = knows_times
        self.reads: list[Span] = []

    def partitions(self, topic: str) -> int:
        """See `RecordLog.partitions`."""
        if topic not in self._partitions:
            raise UnknownTopic(f"There is no topic {topic}.")
        return self._partitions[topic]

    def spans(
        self,
        topics: Mapping[str, Iterable[int] | None],
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Span]:
        """See `RecordLog.spans`."""
        return [
            self._span(
                topic, number, since if self._knows_times else None, until if self._knows_times else None
            )
            for topic, numbers in topics.items()
            for number in (range(self.partitions(topic)) if numbers is None else sorted(set(numbers)))
        ]

    def read(self, spans: Sequence[Span], progress: Progress = lambda _: None) -> Iterator[Raw]:
        """See `RecordLog.read`: partition by partition, as a real broker may answer."""
        self.reads += [span for span in spans if len(span)]
        for span in spans:
            yield from (r for r in self._of(span.topic, span.partition) if span.start <= r.offset < span.stop)
        progress(len(spans))

    def follow(self, starts: Sequence[Span]) -> Iterator[Raw]:
        """See `RecordLog.follow`; ends where the records end."""
        for span in starts:
            yield from (raw for raw in self._of(span.topic, span.partition) if raw.offset >= span.stop)

    def _of(self, topic: str, partition: int) -> list[Raw]:
        return [raw for raw in self._raws if (raw.topic, raw.partition) == (topic, partition)]

    def _span(self, topic: str, partition: int, since: datetime | None, until: datetime | None) -> Span:
        raws = self._of(topic, partition)
        end = raws[-1].offset + 1 if raws else 0

        def first_at(instant: datetime) -> int:
            return next((raw.offset for raw in raws if raw.appended_at >= instant), end)

        start = (raws[0].offset if raws else 0) if since is None else first_at(since)
        return Span(
            topic=topic, partition=partition, start=start, stop=end if until is None else first_at(until)
        )
