"""Sends of a threaded process (gpu_worker): encoded, with an envelope, acknowledged before they return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.dead_letters import dead_letter_headers
from services.chassis.logs import get_logger
from services.chassis.records import Record
from services.chassis.retry import RetryPolicy, SendFailed, wait_before_retry
from services.contracts.codec import Codec
from services.contracts.envelope import Envelope
from services.contracts.events import Event
from services.contracts.keys import key_of
from services.contracts.topics import DEAD_LETTERS, topic_carrying

log = get_logger()
#: Above librdkafka's own ``delivery.timeout.ms``, so that its answer always comes first.
ANSWER_SECONDS = 40.0
_AGAIN = RetryPolicy()
_BY_KEY = -1  #: RD_KAFKA_PARTITION_UA: the partitioner's choice


class SyncOutbox:
    """Sends events of one stage from any thread.

    Delivery reports are served by a thread of its own: a sender that polled for itself could be left waiting
    because another sender's poll took its report.
    """

    def __init__(
        self,
        config: dict[str, Any],
        codec: Codec,
        metrics: m.Metrics,
        clock: Clock,
        *,
        stage: str,
        prefix: str,
    ) -> None:
        self._producer = Producer(config)
        self._codec = codec
        self._metrics = metrics
        self._clock = clock
        self._stage = stage
        self._prefix = prefix
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="delivery-reports", daemon=True)
        self._poller.start()

    def send(self, event: Event, cause: Envelope | None) -> None:
        """Send ``event`` and wait for the in-sync replicas.

        Raises:
            SendFailed: the broker did not acknowledge; sending again is safe.
            EventTooLarge: it never fits.
        """
        self._send_and_wait(*self._encoded(event, cause))

    def send_soon(
        self,
        event: Event,
        cause: Envelope | None,
        *,
        partition: int | None = None,
        acknowledged: Callable[[], None] | None = None,
    ) -> None:
        """Send ``event`` without waiting; for reports and progress, which the next one replaces.

        Args:
            partition: that of its key, unless it is given.
            acknowledged: called once the in-sync replicas have it, in a thread of the outbox's: it must not wait.
        """

        def on_delivery(error: KafkaError | None, _: Any) -> None:
            if error is None and acknowledged is not None:
                acknowledged()

        try:
            self._produce(*self._encoded(event, cause), on_delivery if acknowledged else None, partition)
        except SendFailed:
            self._metrics.count(m.SEND_FAILURES, topic_carrying(type(event)).name)

    def tombstone_soon(self, topic: str, key: str, *, partition: int | None = None) -> None:
        """Delete ``key`` from a compacted topic without waiting; ``partition`` is that of the key, unless it is given.

        Raises:
            SendFailed: the producer takes no more, the broker having been away for long.
        """
        self._produce(topic, key.encode(), None, {}, None, partition)

    def flush(self, seconds: float) -> None:
        """Wait until what was sent is acknowledged or given up, for at most so long."""
        self._producer.flush(seconds)

    def dead_letter(self, record: Record, error: Exception) -> None:
        """Put the original bytes of ``record`` into ``dead-letters`` and wait for the in-sync replicas.

        Raises:
            SendFailed: the broker did not acknowledge; the record's offset must not move.
        """
        headers = dead_letter_headers(record, error, 1, stage=self._stage, now=self._clock())
        self._send_and_wait(DEAD_LETTERS, record.key, record.value, headers)

    def close(self) -> None:
        """Send what is left, for at most 10 s."""
        self._producer.flush(10.0)
        self._closing.set()
        self._poller.join(2.0)

    def _encoded(self, event: Event, cause: Envelope | None) -> tuple[str, bytes, bytes, dict[str, bytes]]:
        envelope = Envelope.for_event(event, cause, stage=self._stage)
        value = self._codec.encode(event)
        return topic_carrying(type(event)).name, key_of(event).encode(), value, envelope.to_headers()

    def _send_and_wait(
        self, topic: str, key: bytes | None, value: bytes | None, headers: dict[str, bytes]
    ) -> None:
        answered = threading.Event()
        failure: list[KafkaError] = []
        started = time.perf_counter()

        def on_delivery(error: KafkaError | None, _: Any) -> None:
            if error is not None:
                failure.append(error)
            answered.set()

        self._produce(topic, key, value, headers, on_delivery)
        if not answered.wait(ANSWER_SECONDS) or failure:
            self._metrics.count(m.SEND_FAILURES, topic)
            raise SendFailed(f"Kafka did not acknowledge a record for {topic}: {failure or 'no answer'}.")
        self._metrics.observe(m.SEND_SECONDS, time.perf_counter() - started, topic)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: dict[str, bytes],
        on_delivery: Callable[..., None] | None,
        partition: int | None = None,
    ) -> None:
        try:
            self._producer.produce(
                self._prefix + topic,
                key=key,
                value=value,
                headers=list(headers.items()),
                on_delivery=on_delivery,
                partition=_BY_KEY if partition is None else partition,
            )
        except (
            BufferError,
            KafkaException,
        ) as error:  # the local queue is full: the broker has been away for long
            raise SendFailed(f"Kafka takes no record for {topic}: {error}.") from error

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)


def until_acknowledged(send: Callable[[], None], leaving: threading.Event, *, what: str) -> bool:
    """Call ``send`` until the broker has acknowledged, or until ``leaving`` is set; for what must not be lost.

    It blocks for as long as the broker is away, so never in the thread that polls a consumer: the group would
    take that one for dead after ``max.poll.interval.ms``, and nobody would see the process being told to stop.

    Returns whether it was acknowledged; where it was not, no offset may move.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            send()
            return True
        except SendFailed as error:
            log.warning("send_postponed", what=what, attempt=attempt, why=str(error))
            if leaving.wait(wait_before_retry(error, attempt, _AGAIN) or 0.0):
                return False
