"""Reading state back from a broker: from where, and how much."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from services.chassis.clock import system_clock
from services.chassis.faust_app import create_app
from services.chassis.read_back import ReadBack
from services.chassis.records import Received
from services.chassis.settings import StageSettings, load
from services.contracts.codec import Codec, encode
from services.contracts.events import CancellationRequested
from services.contracts.topics import CANCELLATIONS
from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.harness.kafka import KafkaCorner

SINCE = system_clock() - timedelta(days=2)
OLD, NEW = SINCE - timedelta(hours=1), SINCE + timedelta(hours=1)
PARTITION = 1


class World:
    """A read-back of one partition of a topic, and what it folded."""

    def __init__(self, corner: KafkaCorner, since: datetime | None) -> None:
        corner.create_topics({CANCELLATIONS: 4})
        self.corner = corner
        self.folded: list[str] = []
        app = create_app("probe", load(StageSettings, corner.stage_env()))
        self.back = ReadBack(
            app,
            Codec(),
            CANCELLATIONS,
            prefix=corner.prefix,
            apply=self._fold,
            forget=lambda partition: None,
            since=lambda: since,
        )

    def write(self, request_id: str, at: datetime) -> None:
        """Write a record that bears this time."""
        event = CancellationRequested(request_id=request_id, user_id="42", requested_at=at)
        self.corner.produce(CANCELLATIONS, encode(event), key="42", partition=PARTITION, at=at)

    async def read(self) -> list[str]:
        """What a catch-up folds."""
        self.folded.clear()
        await self.back.catch_up({PARTITION})
        return list(self.folded)

    def _fold(self, received: Received) -> None:
        assert isinstance(received.event, CancellationRequested)
        self.folded.append(received.event.request_id)


@pytest.fixture
def world(kafka: KafkaCorner) -> World:
    """A read-back of the last two days."""
    return World(kafka, SINCE)


async def test_reading_begins_with_the_first_record_that_is_new_enough(world: World) -> None:
    """A week of retention is not read for the sake of two days."""
    for request_id, at in (("1", OLD), ("2", OLD), ("3", NEW), ("4", NEW)):
        world.write(request_id, at)
    finds_by_time = not isinstance(world.corner.broker, EmbeddedBroker)
    assert await world.read() == (["3", "4"] if finds_by_time else ["1", "2", "3", "4"])


async def test_a_partition_that_holds_nothing_new_enough_is_not_read(world: World) -> None:
    """The broker answers that it finds no offset, which does not mean that everything matters."""
    for request_id in ("1", "2", "3"):
        world.write(request_id, OLD)
    assert await world.read() == []
    world.write("4", NEW)
    assert await world.read() == ["4"]


async def test_an_empty_partition_is_nothing_to_read(world: World) -> None:
    """As on a cluster's first day."""
    assert await world.read() == []


async def test_without_a_limit_all_is_read_once(kafka: KafkaCorner) -> None:
    """A second catch-up goes on where the first one stopped."""
    world = World(kafka, None)
    world.write("1", OLD)
    world.write("2", NEW)
    assert await world.read() == ["1", "2"]
    world.write("3", NEW)
    assert await world.read() == ["3"]


async def test_what_the_embedded_broker_cannot_find_by_time_is_read_whole(
    embedded_broker: OpenBroker, topic_prefix: str
) -> None:
    """It answers that it finds nothing, whatever it holds; the last record says that something matters."""
    with KafkaCorner(embedded_broker, topic_prefix) as corner:
        world = World(corner, SINCE)
        world.write("1", NEW)
        world.write("2", NEW)
        assert await world.read() == ["1", "2"]
