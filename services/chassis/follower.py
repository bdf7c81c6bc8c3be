"""Follows a whole topic outside the consumer group: what every process of a stage must know, whoever owns what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from services.chassis.edge import place, read, to_record
from services.chassis.faust_app import aiokafka_connection
from services.chassis.logs import get_logger
from services.chassis.positions import ANSWER_SECONDS, Handled
from services.chassis.records import Received, Record
from services.contracts.codec import Codec
from services.contracts.errors import SchemaRegistryError, UndecodableRecord

log = get_logger()
RESTART_SECONDS = 1.0


class Follower:
    """Hands every record of ``topic`` to ``handle``, one after another, in order per partition.

    Nothing is committed: a new process begins with what was written since ``since``.

    Args:
        poisoned: awaited with a record that is no event, and why.
    """

    def __init__(
        self,
        app: faust.App,
        codec: Codec,
        topic: str,
        *,
        prefix: str,
        handle: Callable[[Received], Awaitable[None]],
        poisoned: Callable[[Record, UndecodableRecord], Awaitable[None]],
        since: Callable[[], datetime],
    ) -> None:
        self._app = app
        self._codec = codec
        self._topic = prefix + topic
        self._prefix = prefix
        self._handle = handle
        self._poisoned = poisoned
        self._since = since
        self._handled = Handled()
        self._consumer: AIOKafkaConsumer | None = None

    async def run(self) -> None:
        """Follow until cancelled, through every absence of the brokers."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, SchemaRegistryError) as error:
                log.warning("follower_restarted", topic=self._topic, why=repr(error))
                await asyncio.sleep(RESTART_SECONDS)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            **aiokafka_connection(self._app),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self._app.fetch_wait_ms,  # type: ignore[attr-defined]  # our own app class
            check_crcs=False,
        )
        try:
            await consumer.start()
            await self._seek(consumer)
            self._consumer = consumer
            async for message in consumer:
                await self._take(to_record(message, self._prefix))
                self._handled.moved(TopicPartition(message.topic, message.partition), message.offset)
        finally:
            self._consumer = None
            await consumer.stop()

    async def all_handled(self) -> bool:
        """Wait until every record that the brokers hold now is handled; false where that takes too long."""
        consumer = self._consumer
        if consumer is None:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._handled.reach(await consumer.end_offsets(list(self._handled.next)))
        except (KafkaError, TimeoutError):
            return False
        return True

    async def _take(self, record: Record) -> None:
        try:
            received = read(record, self._codec)
        except UndecodableRecord as error:
            log.warning("followed_record_skipped", **place(record), why=str(error))
            await self._poisoned(record, error)
            return
        await self._handle(received)

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        partitions = await self._partitions(consumer)
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        consumer.assign(tps)
        begins = await consumer.beginning_offsets(tps)
        since = int(self._since().timestamp() * 1000)
        by_time = await consumer.offsets_for_times(dict.fromkeys(tps, since))
        for tp in tps:
            found = by_time.get(tp)
            # The embedded broker finds nothing by time, and neither does a real one when nothing is newer: read all.
            start = found.offset if found is not None and found.offset >= 0 else begins[tp]
            consumer.seek(tp, self._handled.next.setdefault(tp, start))

    async def _partitions(self, consumer: AIOKafkaConsumer) -> set[int]:
        # The public call knows a topic only once it is subscribed.
        await consumer._client.add_topic(self._topic)
        partitions: set[int] | None = consumer.partitions_for_topic(self._topic)
        if not partitions:  # a broker that has just come up; to follow nothing would be to hear nobody
            raise UnknownTopicOrPartitionError(self._topic)
        return partitions
