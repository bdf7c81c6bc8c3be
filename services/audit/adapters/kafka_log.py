"""`RecordLog` on Kafka: a consumer that is assigned what it reads, joins no group and commits nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from services.audit.observation import Raw
from services.audit.ports import BrokerAway, Progress, Span, UnknownTopic
from services.chassis.clock import from_millis
from services.chassis.kafka import client_config
from services.chassis.settings import StageSettings
from services.contracts.topics import unprefixed

ANSWER_SECONDS = 5.0  #: for metadata and offsets
STALL_SECONDS = 30.0  #: without any record of a span that has some
_BATCH = 2_000
_WAIT_SECONDS = 0.1
#: Bytes that librdkafka may fetch ahead; its default of 64 MiB a partition is far more than one look needs.
_FETCH_AHEAD_KIB = 65_536

#: What a broker says for a moment after a topic was made or a partition's leader changed.
_LEADER_MOVES = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)

#: How librdkafka says that there is nobody to ask.
_AWAY = frozenset(
    {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
)
Place = tuple[str, int]


class KafkaLog:
    """The port over the cluster that the settings name."""

    def __init__(self, settings: StageSettings) -> None:
        self._servers = settings.kafka_bootstrap_servers
        self._prefix = settings.topic_prefix
        self._config = client_config(settings, "distillery-audit") | {
            "log_level": 0,  # failures come back as exceptions; librdkafka would print them too
            # librdkafka wants a name even of a consumer that never joins; nothing is stored under it.
            "group.id": f"{settings.topic_prefix}audit",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # records that retention removes while they are read
            "fetch.wait.max.ms": settings.kafka_fetch_wait_ms,
            "queued.max.messages.kbytes": _FETCH_AHEAD_KIB,
        }
        # Made when first needed: constructing an AdminClient starts threads.
        self._admin_client: AdminClient | None = None

    def partitions(self, topic: str) -> int:
        """See `RecordLog.partitions`."""
        with self._answers():
            topics = self._admin.list_topics(timeout=ANSWER_SECONDS).topics
        name = self._prefix + topic
        if name not in topics:
            ours = sorted(filter(None, (unprefixed(found, self._prefix) for found in topics)))
            near = get_close_matches(topic, ours, n=1, cutoff=0.5)
            hint = f"; the nearest is {self._prefix + near[0]}" if near else "; run: distillery topics apply"
            raise UnknownTopic(f"Kafka at {self._servers} has no topic {name}{hint}.")
        return len(topics[name].partitions)

    def spans(
        self,
        topics: Mapping[str, Iterable[int] | None],
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Span]:
        """See `RecordLog.spans`: at most five requests, however many partitions."""
        places = [
            (topic, number)
            for topic, numbers in topics.items()
            for number in (range(self.partitions(topic)) if numbers is None else sorted(set(numbers)))
        ]
        lows = self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # untyped in the library
        highs = self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # untyped in the library
        starts = self._at(places, since, lows, highs) if since is not None else lows
        stops = self._at(places, until, lows, highs, past_end=highs) if until is not None else highs
        return [Span(topic=t, partition=p, start=starts[t, p], stop=stops[t, p]) for t, p in places]

    def read(self, spans: Sequence[Span], progress: Progress = lambda _: None) -> Iterator[Raw]:
        """See `RecordLog.read`."""
        open_spans = {(span.topic, span.partition): span for span in spans if len(span)}
        starts = {place: span.start for place, span in open_spans.items()}
        if not starts:
            return
        count = 0
        with self._consumer(starts) as consumer:
            heard_at = time.monotonic()
            while open_spans:
                batch = consumer.consume(_BATCH, timeout=_WAIT_SECONDS)
                heard_at = self._still_there(bool(batch), heard_at)
                for message in batch:
                    raw = self._take(message, open_spans, consumer)
                    if raw is not None:
                        count += 1
                        yield raw
                progress(count)

    def follow(self, starts: Sequence[Span]) -> Iterator[Raw]:
        """See `RecordLog.follow`; a broker that goes away is waited for."""
        with self._consumer({(span.topic, span.partition): span.stop for span in starts}) as consumer:
            while True:
                for message in consumer.consume(_BATCH, timeout=_WAIT_SECONDS):
                    if not self._is_end(message):
                        yield self._raw(message)

    @property
    def _admin(self) -> AdminClient:
        if self._admin_client is None:
            wanted = ("bootstrap.servers", "client.id", "security.protocol", "log_level")
            config = {k: v for k, v in self._config.items() if k in wanted or k.startswith(("sasl.", "ssl."))}
            self._admin_client = AdminClient(config)
        return self._admin_client

    def _take(self, message: Message, open_spans: dict[Place, Span], consumer: Consumer) -> Raw | None:
        """The record, if it belongs to a span that is still open; closes a span that has reached its end."""
        at_end = self._is_end(message)
        place = self._place(message)
        span = open_spans.get(place)
        if span is None:
            return None
        offset = message.offset() or 0
        if at_end or offset >= span.stop - 1:
            del open_spans[place]
            consumer.pause([TopicPartition(self._prefix + place[0], place[1])])
        return self._raw(message) if not at_end and offset < span.stop else None

    def _is_end(self, message: Message) -> bool:
        """Whether it is the sign that the partition's end is reached, and no record; other signs are errors."""
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise BrokerAway(
                f"Kafka at {self._servers} refuses to be read: {error.str()}; what was printed so far is not "
                "everything."
            )
        return error is not None

    def _still_there(self, heard: bool, heard_at: float) -> float:
        now = time.monotonic()
        if heard:
            return now
        if now - heard_at > STALL_SECONDS:
            raise BrokerAway(
                f"Kafka at {self._servers} sent nothing for {STALL_SECONDS:.0f} s in the middle of a read; "
                "what was printed so far is not everything."
            )
        return heard_at

    def _at(
        self,
        places: Sequence[Place],
        instant: datetime,
        lows: Mapping[Place, int],
        highs: Mapping[Place, int],
        *,
        past_end: Mapping[Place, int] | None = None,
    ) -> dict[Place, int]:
        """The first offset at or after the instant; the end where there is none."""
        millis = int(instant.timestamp() * 1000)
        found = self._offsets(places, OffsetSpec.for_timestamp(max(0, millis)))
        unsure = [place for place in places if found[place] < 0 and lows[place] < highs[place]]
        if unsure and not self._knows_times(unsure):
            return dict(past_end if past_end is not None else lows)
        return {place: offset if offset >= 0 else highs[place] for place, offset in found.items()}

    def _knows_times(self, places: Sequence[Place]) -> bool:
        """Whether -1 means "later than every record": a broker that cannot look up times says it of 1970 too."""
        return any(offset >= 0 for offset in self._offsets(places, OffsetSpec.for_timestamp(0)).values())

    def _offsets(self, places: Sequence[Place], spec: OffsetSpec) -> dict[Place, int]:
        if not places:
            return {}
        end = time.monotonic() + ANSWER_SECONDS
        with self._answers():
            while True:
                try:
                    return self._ask_offsets(places, spec)
                except KafkaException as error:
                    if error.args[0].code() not in _LEADER_MOVES or time.monotonic() > end:
                        raise
                self._admin.list_topics(timeout=ANSWER_SECONDS)  # makes the client learn who leads now

    def _ask_offsets(self, places: Sequence[Place], spec: OffsetSpec) -> dict[Place, int]:
        wanted = {TopicPartition(self._prefix + topic, number): spec for topic, number in places}
        futures = self._admin.list_offsets(wanted, request_timeout=ANSWER_SECONDS)
        found = {key: future.result(timeout=ANSWER_SECONDS + 1) for key, future in futures.items()}
        return {
            (key.topic.removeprefix(self._prefix), key.partition): result.offset
            for key, result in found.items()
        }

    @contextmanager
    def _consumer(self, starts: Mapping[Place, int]) -> Iterator[Consumer]:
        consumer = Consumer(self._config)
        try:
            consumer.assign(
                [TopicPartition(self._prefix + topic, p, at) for (topic, p), at in starts.items()]
            )
            yield consumer
        finally:
            consumer.close()

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except (KafkaException, TimeoutError) as error:
            raise BrokerAway(self._sentence(error)) from error

    def _sentence(self, error: Exception) -> str:
        reason = error.args[0] if error.args else None
        if isinstance(reason, KafkaError) and reason.code() not in _AWAY:
            return f"Kafka at {self._servers} refused to be asked: {reason.str()} ({reason.name()})."
        why = reason.str() if isinstance(reason, KafkaError) else f"nothing came within {ANSWER_SECONDS:g} s"
        return (
            f"No Kafka broker answers at {self._servers} ({why}); start it, or set KAFKA_BOOTSTRAP_SERVERS "
            "to where it is."
        )

    def _place(self, message: Message) -> Place:
        return (message.topic() or "").removeprefix(self._prefix), message.partition() or 0

    def _raw(self, message: Message) -> Raw:
        topic, partition = self._place(message)
        headers: Any = message.headers() or ()
        return Raw(
            topic=topic,
            partition=partition,
            offset=message.offset() or 0,
            key=_bytes(message.key()),
            value=_bytes(message.value()),
            headers=tuple(headers),
            appended_at=from_millis(max(0, message.timestamp()[1])),
        )


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
