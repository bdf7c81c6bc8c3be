"""State read back from a topic: a fold over the owned partitions, caught up at every assignment.

The answer to Faust's tables, which lose and repeat updates on redelivery.  The topic is the state's log; a
process that comes to own a partition reads that partition once, and from where it stopped the next time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.chassis.edge import place, read, to_record
from services.chassis.faust_app import aiokafka_connection
from services.chassis.logs import get_logger
from services.chassis.records import Received, Record
from services.contracts.codec import Codec
from services.contracts.errors import UndecodableRecord

log = get_logger()


class ReadBack:
    """Keeps a fold in step with the partitions that this process owns.

    Args:
        apply: folds one record into the state; must be idempotent, since a process reads its own writes again.
        forget: drops what was folded of a partition that went to another process.
        since: how far back to read, for topics whose old records no longer matter; by default all.
    """

    def __init__(
        self,
        app: faust.App,
        codec: Codec,
        topic: str,
        *,
        prefix: str,
        apply: Callable[[Received], None],
        forget: Callable[[int], None],
        since: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._app = app
        self._codec = codec
        self._topic = topic
        self._prefix = prefix
        self._apply = apply
        self._forget = forget
        self._since = since
        self._next: dict[int, int] = {}

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Make the state that of exactly ``partitions``, as of now.

        Raises:
            aiokafka.errors.KafkaError: the brokers did not answer.
        """
        owned = set(partitions)
        for lost in set(self._next) - owned:
            self._forget(lost)
            del self._next[lost]
        if not owned:
            return
        count = 0
        async for message in self._unread(owned):
            self._take(to_record(message, self._prefix))
            count += 1
        log.info("state_read_back", topic=self._topic, partitions=len(owned), records=count)

    def _take(self, record: Record) -> None:
        self._next[record.partition] = record.offset + 1
        try:
            self._apply(read(record, self._codec))
        except (
            UndecodableRecord
        ) as error:  # the edge of the topic's consumer buries it; here it only has no meaning
            log.warning("state_record_skipped", **place(record), why=str(error))

    async def _unread(self, owned: set[int]) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            **aiokafka_connection(self._app),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=20,
            check_crcs=False,
        )
        await consumer.start()
        try:
            tps = [TopicPartition(self._prefix + self._topic, p) for p in owned]
            consumer.assign(tps)
            ends = await self._seek(consumer, tps)
            while tps := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                batches = await consumer.getmany(*tps, timeout_ms=1000)
                for messages in batches.values():
                    for message in messages:
                        yield message
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        begins = await consumer.beginning_offsets(tps)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
        unread = [tp for tp in tps if max(begins[tp], self._next.get(tp.partition, 0)) < ends[tp]]
        found = await self._offsets_by_time(consumer, unread, ends)
        for tp in tps:
            start = max(found.get(tp, 0), self._next.get(tp.partition, 0), begins[tp])
            self._next[tp.partition] = start
            consumer.seek(tp, start)
        return ends

    async def _offsets_by_time(
        self, consumer: AIOKafkaConsumer, tps: list[TopicPartition], ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """From where what is newer than ``since`` lies; a partition without an entry is to be read whole."""
        since = self._since()
        if since is None:
            return {}
        millis = int(since.timestamp() * 1000)
        answers = await consumer.offsets_for_times(dict.fromkeys(tps, millis))
        starts = {tp: answer.offset for tp, answer in answers.items() if answer is not None}
        for tp in tps:
            # No answer: nothing is newer.  The embedded broker always gives none, so the last record has to say.
            if tp not in starts and await self._is_older(consumer, tp, ends[tp], millis):
                starts[tp] = ends[tp]
        return starts

    async def _is_older(self, consumer: AIOKafkaConsumer, tp: TopicPartition, end: int, millis: int) -> bool:
        """Whether the partition's last record is older than that; false where none comes, as after a marker."""
        consumer.seek(tp, end - 1)
        batches = await consumer.getmany(tp, timeout_ms=1000)
        return all(message.timestamp < millis for message in batches[tp]) if batches else False
