"""How far a stage has handled its topics, against how far they go: whether anything is still unread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.chassis.faust_app import aiokafka_connection
from services.chassis.records import Record

#: A broker that takes longer is as good as away for a decision that can be taken a second later.
ANSWER_SECONDS = 2.0


class Handled:
    """How far each partition is handled, and who waits for it to go on."""

    def __init__(self) -> None:
        self.next: dict[TopicPartition, int] = {}  #: the offset after the last one that was handled
        self._moved = asyncio.Event()

    def moved(self, tp: TopicPartition, offset: int) -> None:
        """The record at ``offset`` was handled, and so was every earlier one of its partition."""
        self.next[tp] = offset + 1
        self._moved.set()

    async def reach(self, ends: Mapping[TopicPartition, int]) -> None:
        """Return once every partition is handled up to its end."""
        while any(self.next.get(tp, 0) < end for tp, end in ends.items()):
            self._moved.clear()
            await self._moved.wait()


class Positions:
    """Kept by the edge of one stage; asked by decisions that need all that was written so far."""

    def __init__(self, app: faust.App, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._handled = Handled()
        self._consumer: AIOKafkaConsumer | None = None

    def settled(self, record: Record) -> None:
        """``record`` was handled, and so was every earlier one of its partition."""
        self._handled.moved(TopicPartition(self._prefix + record.topic, record.partition), record.offset)

    def clear(self) -> None:
        """The owned partitions are about to change: another process may go on where this one stands."""
        self._handled.next.clear()

    async def all_handled(self, topic: str, partitions: Iterable[int]) -> bool:
        """Wait until every record that the brokers hold now is handled; false where that takes too long."""
        tps = [TopicPartition(self._prefix + topic, partition) for partition in partitions]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                consumer = await self._started()
                ends = await consumer.end_offsets(tps)
                behind = [tp for tp in tps if self._handled.next.get(tp, 0) < ends[tp]]
                unread = [tp for tp in behind if await self._committed(consumer, tp) < ends[tp]]
                await self._handled.reach({tp: ends[tp] for tp in unread})
        except (KafkaError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Let the connection go."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def _committed(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        """Where the group stood when this process took the partition over, if nothing came since."""
        committed: int | None = await consumer.committed(tp)
        if committed is None:
            begins: dict[TopicPartition, int] = await consumer.beginning_offsets([tp])
            return begins[tp]
        return committed

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # It subscribes to nothing, so it never joins the group whose offsets it reads.
            consumer = AIOKafkaConsumer(
                **aiokafka_connection(self._app), group_id=self._app.conf.id, enable_auto_commit=False
            )
            await consumer.start()
            self._consumer = consumer
        return self._consumer
