"""A test's own corner of the shared broker: topics under its prefix, records in and out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from services.contracts.topics import load_topics
from services.launcher.brokers.broker import client_config
from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.harness.waiting import eventually

_ANY_PARTITION = -1  #: RD_KAFKA_PARTITION_UA: the partitioner's choice


class KafkaCorner:
    """Names given to its methods are without the prefix, which it puts before every topic and group."""

    def __init__(self, opened: OpenBroker, prefix: str) -> None:
        self.broker = opened.broker
        self.bootstrap = opened.bootstrap
        self.prefix = prefix
        self._admin = AdminClient(client_config(self.bootstrap))
        self._producer = Producer(
            # The partitioner of every producer of the chain: librdkafka's own default is another one.
            client_config(self.bootstrap)
            | {"enable.idempotence": True, "linger.ms": 0, "partitioner": "murmur2_random"}
        )
        self._made: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete its topics, without waiting for it, so that the broker stays small."""
        if self._made and not isinstance(self.broker, EmbeddedBroker):
            self._admin.delete_topics(self._made, operation_timeout=0.0)
            self._admin.poll(0)

    def name(self, topic: str) -> str:
        """The topic's full name."""
        return self.prefix + topic

    def stage_env(self) -> dict[str, str]:
        """Settings that put a stage on this corner, with quick failover."""
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "TOPIC_PREFIX": self.prefix,
            "KAFKA_SESSION_TIMEOUT_SECONDS": "6",
        }
        # The embedded broker holds every empty fetch for the whole wait.
        return env | ({"KAFKA_FETCH_WAIT_MS": "10"} if isinstance(self.broker, EmbeddedBroker) else {})

    def create_registry_topics(self, partitions: Mapping[str, int] | None = None) -> None:
        """Make every topic of the registry, with its settings; ``partitions`` overrides counts by name."""
        counts = {name: topic.partitions for name, topic in load_topics().items()} | dict(partitions or {})
        settings = {name: topic.kafka_config() for name, topic in load_topics().items()}
        self.create_topics(counts, settings)

    def create_topics(
        self, partitions: Mapping[str, int], settings: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Make topics with these partition counts and wait until the broker serves them."""
        full = {self.name(topic): count for topic, count in partitions.items()}
        self._made.extend(full)
        if isinstance(self.broker, EmbeddedBroker):
            self.broker.create_topics(full)
            return
        config = {self.name(topic): dict(values) for topic, values in (settings or {}).items()}
        new = [
            NewTopic(name, num_partitions=count, replication_factor=-1, config=config.get(name, {}))
            for name, count in full.items()
        ]
        for future in self._admin.create_topics(new, operation_timeout=10.0).values():
            future.result(timeout=15)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | str | None = None,
        headers: Mapping[str, bytes] | None = None,
        partition: int | None = None,
        at: datetime | None = None,
    ) -> Message:
        """Write one record and return it as acknowledged, with its partition and offset.

        Args:
            at: the time that the record bears; by default now.

        Raises:
            KafkaException: it was not acknowledged within 15 s.
        """
        reports: list[tuple[KafkaError | None, Message]] = []
        self._producer.produce(
            self.name(topic),
            value,
            key=key,
            headers=list((headers or {}).items()),
            partition=_ANY_PARTITION if partition is None else partition,
            timestamp=0 if at is None else int(at.timestamp() * 1000),
            on_delivery=lambda error, message: reports.append((error, message)),
        )
        self._producer.flush(15)
        if not reports:
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
        error, message = reports[0]
        if error is not None:
            raise KafkaException(error)
        return message

    def consume_until(
        self,
        topics: str | Sequence[str],
        predicate: Callable[[list[Message]], object],
        deadline_seconds: float = 15.0,
    ) -> list[Message]:
        """Read the topics from their beginning until ``predicate`` of all records so far is true.

        Reads without a group, so it disturbs nothing.

        Raises:
            AssertionError: the deadline passed first; it says what was read.
        """
        names = [self.name(topic) for topic in ([topics] if isinstance(topics, str) else topics)]
        seen: list[Message] = []
        end = time.monotonic() + deadline_seconds
        with self._reader(names) as consumer:
            while not predicate(seen):
                if time.monotonic() > end:
                    raise AssertionError(_unmet(names, seen, deadline_seconds))
                seen.extend(m for m in consumer.consume(500, timeout=0.05) if m.error() is None)
        return seen

    def consume_all(self, topics: str | Sequence[str], deadline_seconds: float = 15.0) -> list[Message]:
        """Everything that the topics hold now."""
        listed = [topics] if isinstance(topics, str) else list(topics)
        ends = {
            (self.name(t), p): high for t in listed for p, high in self._ends(self.name(t)).items() if high
        }

        def read_up_to_the_ends(seen: list[Message]) -> bool:
            # By offset, not by count: compaction and transaction markers leave gaps.
            reached = {(m.topic(), m.partition()): (m.offset() or 0) + 1 for m in seen}
            return all(reached.get(place, 0) >= high for place, high in ends.items())

        return self.consume_until(listed, read_up_to_the_ends, deadline_seconds)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The group's committed offsets by partition; a partition without one is left out."""
        places = [TopicPartition(self.name(topic), p) for p in self._partitions(self.name(topic))]
        with _consumer(self.bootstrap, self.prefix + group) as consumer:
            found = consumer.committed(places, timeout=10)
        return {p.partition: p.offset for p in found if p.offset >= 0}

    def _reader(self, names: Sequence[str]) -> Consumer:
        consumer = _consumer(self.bootstrap, f"{self.prefix}test-reader")
        # Offset 0, not OFFSET_BEGINNING, which would cost a look-up; a reset to earliest covers deleted records.
        consumer.assign([TopicPartition(name, p, 0) for name in names for p in self._partitions(name)])
        return consumer

    def _partitions(self, name: str) -> list[int]:
        metadata = self._admin.list_topics(name, timeout=10).topics[name]
        return list(metadata.partitions)

    def _ends(self, name: str) -> dict[int, int]:
        with _consumer(self.bootstrap, f"{self.prefix}test-reader") as consumer:
            return {p: _end(consumer, TopicPartition(name, p)) for p in self._partitions(name)}


def _consumer(bootstrap: str, group: str) -> Consumer:
    return Consumer(
        client_config(bootstrap)
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # The embedded broker holds an empty fetch for this long even when a record arrives.
            "fetch.wait.max.ms": 50,
        }
    )


def _end(consumer: Consumer, place: TopicPartition) -> int:
    """The partition's end; a topic that is just made may have no leader yet for a moment."""

    def found() -> tuple[int] | None:
        try:
            return (consumer.get_watermark_offsets(place, timeout=10)[1],)
        except KafkaException as error:
            if error.args[0].code() not in (
                KafkaError.NOT_LEADER_FOR_PARTITION,
                KafkaError.LEADER_NOT_AVAILABLE,
            ):
                raise
            return None

    return eventually(found)[0]


def _unmet(names: Sequence[str], seen: Sequence[Message], seconds: float) -> str:
    counts = {name: sum(m.topic() == name for m in seen) for name in names}
    return f"The records on {counts} did not become what was waited for within {seconds:g} s."
