"""Sends of a Faust stage: what goes to the producer, and what its failures become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, MessageSizeTooLargeError
from faust.exceptions import ProducerSendError

from services.chassis.metrics import SEND_FAILURES, Metrics
from services.chassis.outbox import Outbox
from services.chassis.records import Record
from services.chassis.retry import SendFailed
from services.contracts.codec import Codec, decode
from services.contracts.envelope import Envelope
from services.contracts.events import CancellationRequested

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EVENT = CancellationRequested(request_id="1", user_id="42", requested_at=NOW)


@dataclass
class Sent:
    """One call of the producer."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    headers: Mapping[str, bytes]


@dataclass
class Producer:
    """Stands in for Faust's: keeps what it is given, or fails."""

    failure: Exception | None = None
    sent: list[Sent] = field(default_factory=list)

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Mapping[str, bytes],
    ) -> None:
        """As Faust's; the broker stamps the time."""
        assert timestamp is None
        if self.failure is not None:
            raise self.failure
        self.sent.append(Sent(topic, key, value, partition, headers))


class World:
    """An outbox over the stand-in."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.producer = Producer(failure)
        self.metrics = Metrics("probe")
        app: Any = SimpleNamespace(producer=self.producer)
        self.outbox = Outbox(app, Codec(), self.metrics, lambda: NOW, stage="probe", prefix="blue-")

    def failures(self, topic: str) -> float | None:
        """How many failed sends were counted."""
        return self.metrics.registry.get_sample_value(SEND_FAILURES.name, {"stage": "probe", "topic": topic})


async def test_an_event_goes_to_its_topic_under_its_key_with_its_envelope() -> None:
    """The caller names neither topic nor key; the partition is the key's unless the caller fixes it."""
    world = World()
    envelope = await world.outbox.send(EVENT, None)
    await world.outbox.send(EVENT, None, partition=3)
    first, second = world.producer.sent
    assert (first.topic, first.key, first.partition) == ("blue-cancellations", b"42", None)
    assert decode(first.value or b"") == EVENT
    assert first.headers == envelope.to_headers()
    assert second.partition == 3


async def test_what_is_caused_twice_is_sent_with_the_same_id() -> None:
    """So whoever reads it can tell a repetition from news."""
    world = World()
    cause = Envelope.from_headers({}, fallback_id="requests/0/1")
    one, two = [await world.outbox.send(EVENT, cause) for _ in range(2)]
    assert one == two
    assert one.causation_id == cause.event_id


async def test_a_tombstone_has_a_key_and_no_value() -> None:
    """Compaction then deletes the key."""
    world = World()
    await world.outbox.tombstone("workers", "w1")
    assert world.producer.sent == [Sent("blue-workers", b"w1", None, None, {})]


async def test_a_dead_letter_keeps_key_and_bytes() -> None:
    """A replay needs both as they were."""
    world = World()
    record = Record(
        topic="requests", partition=1, offset=2, key=b"k", value=b"\xff", headers={}, appended_at=NOW
    )
    await world.outbox.dead_letter(record, ValueError("no"), 3)
    (dead,) = world.producer.sent
    assert (dead.topic, dead.key, dead.value) == ("blue-dead-letters", b"k", b"\xff")
    assert (dead.headers["dlq-attempts"], dead.headers["dlq-stage"]) == (b"3", b"probe")


@pytest.mark.parametrize(
    "failure", [KafkaConnectionError(), KafkaTimeoutError(), ProducerSendError("no broker")], ids=repr
)
async def test_a_send_that_nobody_acknowledged_is_to_be_tried_again(failure: Exception) -> None:
    """The edge waits and repeats it for as long as it takes; the failure is counted."""
    world = World(failure)
    with pytest.raises(SendFailed, match="did not acknowledge a record for cancellations"):
        await world.outbox.send(EVENT, None)
    assert world.failures("cancellations") == 1


async def test_a_partition_that_the_client_does_not_know_yet_is_waited_for() -> None:
    """Its metadata follows a topic's growth, or a broker's restart, with a delay; aiokafka asserts that it does not."""
    world = World(AssertionError("Unrecognized partition"))
    with pytest.raises(SendFailed, match="no partition 9 of cancellations yet"):
        await world.outbox.send(EVENT, None, partition=9)
    assert world.failures("cancellations") == 1


async def test_any_other_assertion_of_the_client_is_a_fault_of_ours() -> None:
    """No wait mends it, so the edge counts the attempts."""
    world = World(AssertionError("Both key and value can't be None"))
    with pytest.raises(AssertionError):
        await world.outbox.send(EVENT, None)


async def test_a_record_that_never_fits_is_not_tried_for_ever() -> None:
    """It is no `SendFailed`, so the edge gives the record up."""
    world = World(MessageSizeTooLargeError())
    with pytest.raises(ValueError, match="larger than the broker takes"):
        await world.outbox.send(EVENT, None)
