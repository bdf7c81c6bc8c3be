"""What a stage knows of whole topics, on a real broker: everything that is written, and whether it has read it all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import faust
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from services.chassis.clock import system_clock
from services.chassis.faust_app import create_app
from services.chassis.follower import Follower
from services.chassis.positions import Positions
from services.chassis.records import Received, Record
from services.chassis.settings import StageSettings, load
from services.contracts.codec import Codec, encode
from services.contracts.errors import UndecodableRecord
from services.contracts.events import WorkerReported
from tests.harness.kafka import KafkaCorner
from tests.harness.waiting import eventually_async
from tests.unit.dispatcher.world import NOON


@pytest.fixture
def app(chain_kafka: KafkaCorner) -> faust.App:
    """An app on this test's corner; its connection is all that is used of it."""
    return create_app("dispatcher", load(StageSettings, chain_kafka.stage_env()), consumes=False)


def report(kafka: KafkaCorner, worker: str, partition: int) -> Message:
    """A worker's report in one partition."""
    event = WorkerReported(
        worker_id=worker, incarnation="i", sequence=1, reported_at=NOON, lanes=[], slots=0, held_limit=0
    )
    return kafka.produce("workers", encode(event), key=worker, partition=partition)


@dataclass
class Heard:
    """What a follower handed over; it waits before each record while ``open`` is not set."""

    workers: list[str] = field(default_factory=list)
    poison: list[Record] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, received: Received) -> None:
        """One record."""
        await self.open.wait()
        self.workers.append((received.record.key or b"").decode())

    async def poisoned(self, record: Record, error: UndecodableRecord) -> None:
        """One that is no event."""
        self.poison.append(record)


@asynccontextmanager
async def following(
    app: faust.App, kafka: KafkaCorner, heard: Heard, *, ago: float
) -> AsyncIterator[Follower]:
    """A follower of ``workers`` that begins ``ago`` seconds before now."""
    heard.open.set()
    since = system_clock() - timedelta(seconds=ago)
    follower = Follower(
        app,
        Codec(),
        "workers",
        prefix=kafka.prefix,
        handle=heard.handle,
        poisoned=heard.poisoned,
        since=lambda: since,
    )
    task = asyncio.create_task(follower.run())
    yield follower
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_follower_hands_over_every_partition_whoever_owns_it(
    app: faust.App, chain_kafka: KafkaCorner
) -> None:
    """What was written before it came, and what comes after; tombstones and poison as well."""
    heard = Heard()
    report(chain_kafka, "w0", 0)
    async with following(app, chain_kafka, heard, ago=60):
        await eventually_async(lambda: heard.workers == ["w0"])
        report(chain_kafka, "w11", 11)
        chain_kafka.produce("workers", None, key="gone", partition=3)
        chain_kafka.produce("workers", b"?", key="odd", partition=4)
        await eventually_async(lambda: sorted(heard.workers) == ["gone", "w0", "w11"] and heard.poison)


async def test_a_follower_says_that_it_has_not_handled_what_lies_unread(
    app: faust.App, chain_kafka: KafkaCorner
) -> None:
    """The difference between a silent worker and a dispatcher that is behind."""
    heard = Heard()
    async with following(app, chain_kafka, heard, ago=60) as follower:
        report(chain_kafka, "w0", 0)
        await eventually_async(lambda: heard.workers == ["w0"])
        assert await follower.all_handled()
        heard.open.clear()
        report(chain_kafka, "w1", 1)
        assert not await follower.all_handled()
        heard.open.set()
        await eventually_async(lambda: heard.workers == ["w0", "w1"])
        assert await follower.all_handled()


async def test_a_follower_that_has_not_begun_has_not_handled_everything(
    app: faust.App, chain_kafka: KafkaCorner
) -> None:
    """A dispatcher that starts knows nobody yet."""
    follower = Follower(
        app,
        Codec(),
        "workers",
        prefix=chain_kafka.prefix,
        handle=Heard().handle,
        poisoned=Heard().poisoned,
        since=system_clock,
    )
    assert not await follower.all_handled()


async def test_positions_count_what_the_edge_settled_and_what_the_group_committed(
    app: faust.App, chain_kafka: KafkaCorner
) -> None:
    """A partition from which nothing came since it was taken over stands where the group left it."""
    positions = Positions(app, chain_kafka.prefix)
    try:
        assert await positions.all_handled("completed", [0, 1])
        chain_kafka.produce("completed", b"a", partition=0)
        chain_kafka.produce("completed", b"b", partition=1)
        assert not await positions.all_handled("completed", [0, 1])
        _commit(chain_kafka, "completed", 1, 1)
        assert await positions.all_handled("completed", [1])
        assert not await positions.all_handled("completed", [0, 1])
        positions.settled(_record("completed", 0))
        assert await positions.all_handled("completed", [0, 1])
        positions.clear()
        assert not await positions.all_handled("completed", [0])
    finally:
        await positions.close()


def _record(topic: str, partition: int) -> Record:
    return Record(
        topic=topic, partition=partition, offset=0, key=None, value=b"a", headers={}, appended_at=NOON
    )


def _commit(kafka: KafkaCorner, topic: str, partition: int, offset: int) -> None:
    """Commit as another process of the dispatcher's group."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": kafka.prefix + "dispatcher"})
    place = TopicPartition(kafka.name(topic), partition, offset)
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()
