"""Sends of a Faust stage: encoded, with an envelope, awaited until the in-sync replicas have them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import faust
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from faust.exceptions import ProducerSendError

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.dead_letters import dead_letter_headers
from services.chassis.records import Record
from services.chassis.retry import SendFailed
from services.contracts.codec import Codec
from services.contracts.envelope import Envelope
from services.contracts.events import Event
from services.contracts.keys import key_of
from services.contracts.topics import DEAD_LETTERS, topic_carrying


class Outbox:
    """Sends events of one stage; every method returns when the broker has acknowledged.

    Raises:
        SendFailed: the broker did not acknowledge; sending again is safe.
        EventTooLarge: the event is over 256 KiB and never fits.
    """

    def __init__(
        self, app: faust.App, codec: Codec, metrics: m.Metrics, clock: Clock, *, stage: str, prefix: str
    ) -> None:
        self._app = app
        self._codec = codec
        self._metrics = metrics
        self._clock = clock
        self._stage = stage
        self._prefix = prefix

    async def send(self, event: Event, cause: Envelope | None, *, partition: int | None = None) -> Envelope:
        """Send ``event`` to its topic under its key.

        Args:
            cause: the envelope of what led to it; none starts a new trace.
            partition: where the design fixes it; by default the key's.
        """
        envelope = Envelope.for_event(event, cause, stage=self._stage)
        key = key_of(event).encode()
        value = self._codec.encode(event)
        topic = topic_carrying(type(event)).name
        await self._produce(topic, key, value, partition, envelope.to_headers())
        return envelope

    async def tombstone(self, topic: str, key: str, partition: int | None = None) -> None:
        """Delete ``key`` from a compacted topic."""
        await self._produce(topic, key.encode(), None, partition, {})

    async def dead_letter(self, record: Record, error: Exception, attempts: int) -> None:
        """Put the original bytes of ``record`` into ``dead-letters``, with where from and why as headers."""
        headers = dead_letter_headers(record, error, attempts, stage=self._stage, now=self._clock())
        await self._produce(DEAD_LETTERS, record.key, record.value, None, headers)

    async def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        headers: Mapping[str, bytes],
    ) -> None:
        started = time.perf_counter()
        producer: Any = self._app.producer
        try:
            await producer.send_and_wait(self._prefix + topic, key, value, partition, None, headers)
        except (KafkaError, ProducerSendError) as error:
            self._metrics.count(m.SEND_FAILURES, topic)
            if isinstance(error, MessageSizeTooLargeError) or "MessageSizeTooLarge" in str(error):
                raise ValueError(f"A record for {topic} is larger than the broker takes.") from error
            raise SendFailed(f"Kafka did not acknowledge a record for {topic}: {error!r}.") from error
        except (
            AssertionError
        ) as error:  # aiokafka's word for a partition that its metadata does not have (yet)
            if "Unrecognized partition" not in str(error):
                raise
            self._metrics.count(m.SEND_FAILURES, topic)
            raise SendFailed(f"Kafka's client knows no partition {partition} of {topic} yet.") from error
        self._metrics.observe(m.SEND_SECONDS, time.perf_counter() - started, topic)
