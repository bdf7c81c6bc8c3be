"""The guarded edge: the one place where a stage's failures end, and the only one with a broad ``except``.

Faust acknowledges an event whose agent raised, so an escaped exception is a lost request.  Here every
record is decoded, handled, and acknowledged by hand, in order per partition, only when its handler returned
or its bytes are in ``dead-letters``.  A failure becomes a retry or a dead letter; while the broker is away the
offset stays where it is.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.chassis import metrics as m
from services.chassis.clock import Clock, from_millis
from services.chassis.lease import Lease
from services.chassis.logs import get_logger
from services.chassis.outbox import Outbox
from services.chassis.records import Received, Record
from services.chassis.retry import RetryLater, RetryPolicy, wait_before_retry
from services.contracts.codec import Codec
from services.contracts.envelope import Envelope
from services.contracts.errors import SchemaRegistryError, UndecodableRecord
from services.contracts.topics import topic

log = get_logger()

Handler = Callable[[Received], Awaitable[None]]
#: Called before a decodable record becomes a dead letter, so that its user hears of it.
GiveUp = Callable[[Received, Exception], Awaitable[None]]


def by_key(record: Record) -> object:
    """Records of one key are handled one after another."""
    return record.key


@dataclass(slots=True, kw_only=True)
class Edge:
    """Runs one handler over a Faust stream.

    Guarantee: at least once; in order per ``order`` value; at most ``max_in_flight`` at a time.
    """

    handler: Handler
    outbox: Outbox
    codec: Codec
    metrics: m.Metrics
    clock: Clock
    prefix: str = ""
    #: Set while the stage's state is that of the partitions it owns: Faust lets events flow as soon as it has
    #: partitions, beside what reads the state back.  None = there is no state to wait for.
    gate: asyncio.Event | None = None
    #: Held while no other process can have the partitions.  None = the partitions are nobody else's.
    lease: Lease | None = None
    give_up: GiveUp | None = None
    #: Told of every settled record; in order per partition only where ``max_in_flight`` is 1.
    settled: Callable[[Record], None] | None = None
    order: Callable[[Record], object] = by_key
    max_in_flight: int = 1
    retries: RetryPolicy = RetryPolicy()
    _tails: dict[object, asyncio.Task[None]] = field(default_factory=dict)
    _unacked: dict[tuple[str, int], deque[_Pending]] = field(default_factory=lambda: defaultdict(deque))
    _in_flight: int = 0
    _admitted: int = 0
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stream: Any) -> None:
        """The agent's body: takes events until the stream ends."""
        async for event in stream.noack().events():
            if self.max_in_flight == 1:
                await self.settle(to_record(event.message, self.prefix))
                event.ack()
            else:
                await self._admit(event)

    async def settle(self, record: Record) -> None:
        """Handle ``record`` to its end: returns once it may be acknowledged."""
        if self.gate is not None:
            await self.gate.wait()
        if self.lease is not None:
            await self.lease.held()
        started = self.clock()
        self._count_in_flight(+1)
        self.metrics.observe(m.EVENT_AGE, _seconds(record.appended_at, started), record.topic)
        try:
            outcome = await self._handle(record)
        finally:
            self._count_in_flight(-1)
        self.metrics.count(m.EVENTS, record.topic, outcome)
        self.metrics.observe(m.EVENT_PROCESSING, _seconds(started, self.clock()), record.topic)
        if self.settled is not None:
            self.settled(record)

    async def _handle(self, record: Record) -> str:
        try:
            received = await self._read(record)
        except UndecodableRecord as error:
            await self._bury(record, error, attempts=1)
            return "poison"
        attempt = 0
        while True:
            attempt += 1
            try:
                await self.handler(received)
                return "ok"
            except Exception as error:  # noqa: BLE001 - the guarded edge: style.md, layer rule 5
                wait = wait_before_retry(error, attempt, self.retries)
                if wait is None:
                    await self._give_up(received, error)
                    await self._bury(record, error, attempts=attempt)
                    return "dead_lettered"
                self._say_retry(record, error, attempt, wait)
                await asyncio.sleep(wait)

    async def _read(self, record: Record) -> Received:
        """Decode the record; a schema registry that is away is waited for, since the record may be fine."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return read(record, self.codec)
            except SchemaRegistryError as error:
                wait = wait_before_retry(RetryLater(str(error)), attempt, self.retries) or 1.0
                self._say_retry(record, error, attempt, wait)
                await asyncio.sleep(wait)

    def _say_retry(self, record: Record, error: Exception, attempt: int, wait: float) -> None:
        self.metrics.count(m.EVENTS, record.topic, "retried")
        log.warning(
            "event_retried",
            **place(record),
            attempt=attempt,
            wait_seconds=round(wait, 2),
            error=type(error).__name__,
            why=str(error),
        )

    async def _give_up(self, received: Received, error: Exception) -> None:
        give_up = self.give_up
        if give_up is None:
            return
        try:
            await self._until_healed(lambda: give_up(received, error))
        except Exception as second:  # noqa: BLE001 - the guarded edge: telling the user failed too
            log.error("give_up_failed", **place(received.record), error=repr(second))

    async def _bury(self, record: Record, error: Exception, attempts: int) -> None:
        log.error(
            "event_dead_lettered", **place(record), attempts=attempts, error=repr(error), exc_info=error
        )
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self.outbox.dead_letter(record, error, attempts)
            except Exception as second:  # noqa: BLE001 - the guarded edge: an escape would stall in silence
                # Also what no retry can mend: the offset must not move, and an operator can.
                wait = wait_before_retry(second, attempt, self.retries)
                wait = self.retries.longest_wait_seconds if wait is None else wait
                log.error("event_unburied", **place(record), attempt=attempt, error=repr(second))
                await asyncio.sleep(wait)

    async def _until_healed(self, act: Callable[[], Awaitable[None]]) -> None:
        """Try again without limit while it fails by what heals by itself."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await act()
            except RetryLater as error:  # the offset must not move
                await asyncio.sleep(wait_before_retry(error, attempt, self.retries) or 0.0)

    async def _admit(self, event: Any) -> None:
        while self._admitted >= self.max_in_flight:
            self._room.clear()
            await self._room.wait()
        self._admitted += 1
        record = to_record(event.message, self.prefix)
        pending = _Pending(event)
        self._unacked[record.topic, record.partition].append(pending)
        key = self.order(record)
        task = asyncio.create_task(self._after(self._tails.get(key), record, pending))
        self._tails[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))

    async def _after(self, earlier: asyncio.Task[None] | None, record: Record, pending: _Pending) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        await self.settle(record)
        pending.done = True
        queue = self._unacked[record.topic, record.partition]
        while queue and queue[0].done:  # in order: Faust's own gap handling loses events (issue 606 there)
            queue.popleft().event.ack()

    def _forget(self, key: object, task: asyncio.Task[None]) -> None:
        if self._tails.get(key) is task:
            del self._tails[key]
        self._admitted -= 1
        self._room.set()

    def _count_in_flight(self, by: int) -> None:
        self._in_flight += by
        self.metrics.set(m.EVENTS_IN_FLIGHT, self._in_flight)


@dataclass(slots=True)
class _Pending:
    """An event that waits for its turn to be acknowledged."""

    event: Any
    done: bool = False


def guard(call: Callable[[], object]) -> Exception | None:
    """Run ``call`` and return what it raised: the edge of a thread, where nobody else would see it."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the guarded edge: style.md, layer rule 5
        return error
    return None


def to_record(message: Any, prefix: str) -> Record:
    """A `Record` of a Faust or aiokafka message (both name topic, partition, offset, key, value, headers)."""
    headers = message.headers or {}
    return Record(
        topic=message.topic.removeprefix(prefix),
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=dict(headers),
        appended_at=_appended_at(message.timestamp),
    )


def read(record: Record, codec: Codec) -> Received:
    """Decode ``record``.

    Raises:
        UndecodableRecord: its bytes are of no known event, or of another topic's.
    """
    expected = topic(record.topic).event
    event = None if record.value is None else codec.decode(record.value, expected)
    where = f"{record.topic}/{record.partition}/{record.offset}"
    envelope = Envelope.from_headers(record.headers, fallback_id=where)
    return Received(event=event, envelope=envelope, record=record)


def place(record: Record) -> dict[str, Any]:
    """Where a record lies, for a log line."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def _appended_at(timestamp: float | None) -> datetime:
    # Faust gives seconds, aiokafka milliseconds; no record is older than 2001 in milliseconds.
    value = timestamp or 0
    return from_millis(int(value if value > 1e11 else value * 1000))


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())
