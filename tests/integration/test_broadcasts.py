"""What every worker hears whole: `cancellations`, read without a group on both kinds of broker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from services.chassis.clock import system_clock
from services.contracts.codec import Codec
from services.contracts.events import CancellationRequested
from services.contracts.topics import CANCELLATIONS
from services.gpu_worker import broadcasts
from services.gpu_worker.broadcasts import BroadcastReader
from services.gpu_worker.settings import WorkerSettings
from services.launcher.brokers.choose import OpenBroker
from tests.fakes.flaky_codec import FlakyCodec
from tests.harness.kafka import KafkaCorner
from tests.harness.waiting import eventually
from tests.unit.gpu_worker.test_decide import JOB


class Reading:
    """A reader, and what it heard."""

    def __init__(
        self, kafka: KafkaCorner, codec: Any = None, *, looks_back: bool = True, **look_back: float
    ) -> None:
        self.heard: list[str] = []
        settings = WorkerSettings(
            kafka_bootstrap_servers=kafka.bootstrap, topic_prefix=kafka.prefix, kafka_fetch_wait_ms=10
        )
        self.reader = BroadcastReader(
            settings,
            codec or Codec(),
            system_clock,
            CANCELLATIONS,
            CancellationRequested,
            lambda event: self.heard.append(event.request_id),
            look_back=timedelta(**(look_back or {"minutes": 16})) if looks_back else None,
        )
        self.reader.start()

    def hears(self, *requests: str) -> None:
        """Wait until exactly these were heard."""
        eventually(lambda: sorted(self.heard) == sorted(requests), 20)


def cancel(kafka: KafkaCorner, request_id: str, partition: int) -> None:
    """Write a cancellation."""
    event = CancellationRequested(request_id=request_id, user_id="2", requested_at=system_clock())
    kafka.produce(CANCELLATIONS, Codec().encode(event), key="2", partition=partition)


@pytest.fixture(params=["embedded_broker", "broker"], ids=["embedded", "real"])
def corner(request: pytest.FixtureRequest, topic_prefix: str) -> Iterator[KafkaCorner]:
    """A corner of each broker, with the topic."""
    opened: OpenBroker = request.getfixturevalue(request.param)
    with KafkaCorner(opened, topic_prefix) as kafka:
        kafka.create_topics({CANCELLATIONS: 4})
        yield kafka


def test_a_reader_hears_what_was_written_shortly_before_and_what_comes(corner: KafkaCorner) -> None:
    """From every partition, and the newest too where nothing is so young as what it asks for."""
    cancel(corner, "before", 0)
    reading = Reading(corner)
    reading.hears("before")
    for partition in range(4):
        cancel(corner, f"after {partition}", partition)
    reading.hears("before", *(f"after {partition}" for partition in range(4)))
    reading.reader.stop()


def test_two_readers_hear_the_same(corner: KafkaCorner) -> None:
    """They share no partitions, as members of a group would."""
    readings = [Reading(corner) for _ in range(2)]
    for partition in range(4):
        cancel(corner, str(partition), partition)
    for reading in readings:
        reading.hears("0", "1", "2", "3")
        reading.reader.stop()
    assert corner.committed("gpu_worker", CANCELLATIONS) == {}


def test_what_is_older_than_asked_for_is_not_read(broker: OpenBroker, topic_prefix: str) -> None:
    """A month of cancellations would otherwise be read at every start."""
    if broker.broker.describe().kind == "embedded":
        pytest.skip("the embedded broker answers no look-up by time")
    with KafkaCorner(broker, topic_prefix) as kafka:
        kafka.create_topics({CANCELLATIONS: 1})
        cancel(kafka, "old", 0)
        old = system_clock()
        eventually(lambda: system_clock() - old > timedelta(milliseconds=400))
        cancel(kafka, "young", 0)
        reading = Reading(kafka, milliseconds=200)
        cancel(kafka, "new", 0)
        eventually(lambda: "new" in reading.heard, 20)
        assert "old" not in reading.heard
        reading.reader.stop()


def test_a_reader_that_looks_back_for_nothing_hears_only_what_comes(corner: KafkaCorner) -> None:
    """An old announcement of a backlog says nothing; and the number of partitions is known with the first event."""
    for partition in range(4):
        cancel(corner, "old", partition)
    reading = Reading(corner, looks_back=False)

    def hears_new() -> bool:
        for partition in range(4):
            cancel(corner, f"new {partition}", partition)
        return len(set(reading.heard)) == 4

    eventually(hears_new, 20)
    assert "old" not in reading.heard
    assert reading.reader.partitions == 4
    reading.reader.stop()


def test_a_record_that_nobody_can_decode_does_not_end_the_reading(corner: KafkaCorner) -> None:
    """Nor does one of another event."""
    corner.produce(CANCELLATIONS, b"poison", partition=0)
    corner.produce(CANCELLATIONS, None, key="2", partition=0)
    corner.produce(CANCELLATIONS, Codec().encode(JOB), partition=0)
    cancel(corner, "good", 0)
    reading = Reading(corner)
    reading.hears("good")
    reading.reader.stop()


def test_a_registry_that_is_away_is_waited_for(corner: KafkaCorner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that was skipped would draw what nobody wants."""
    monkeypatch.setattr(broadcasts, "AGAIN_SECONDS", 0.01)
    cancel(corner, "1", 0)
    reading = Reading(corner, FlakyCodec(2))
    reading.hears("1")
    reading.reader.stop()


def test_a_topic_that_is_not_there_yet_is_looked_for_again(
    broker: OpenBroker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may be quicker than the one who makes the topics."""
    monkeypatch.setattr(broadcasts, "AGAIN_SECONDS", 0.05)
    with KafkaCorner(broker, topic_prefix) as kafka:
        reading = Reading(kafka)
        kafka.create_topics({CANCELLATIONS: 1})
        cancel(kafka, "1", 0)
        reading.hears("1")
        reading.reader.stop()
