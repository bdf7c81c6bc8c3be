"""The guarded edge: nothing escapes it, nothing is acknowledged too early or out of order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.chassis.edge import Edge, Handler
from services.chassis.lease import Lease
from services.chassis.metrics import Metrics
from services.chassis.records import Received, Record
from services.chassis.retry import RetryLater, RetryPolicy, SendFailed
from services.contracts.codec import Codec, encode
from services.contracts.errors import SchemaRegistryError
from services.contracts.events import CancellationRequested
from tests.harness.waiting import eventually_async

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = encode(CancellationRequested(request_id="1", user_id="2", requested_at=NOW))
QUICK = RetryPolicy(attempts=3, first_wait_seconds=0.0, longest_wait_seconds=0.0)


@dataclass
class Graveyard:
    """Stands in for the outbox: keeps dead letters, and fails as often as told."""

    failures: int = 0
    failure: Exception = field(default_factory=lambda: SendFailed("the broker is away", after_seconds=0.0))
    buried: list[tuple[Record, Exception, int]] = field(default_factory=list)

    async def dead_letter(self, record: Record, error: Exception, attempts: int) -> None:
        """As `Outbox.dead_letter`."""
        if self.failures:
            self.failures -= 1
            raise self.failure
        self.buried.append((record, error, attempts))


@dataclass
class Message:
    """As Faust gives it."""

    offset: int
    value: bytes | None = EVENT
    key: bytes = b"2"
    topic: str = "t-cancellations"
    partition: int = 0
    headers: dict[str, bytes] = field(default_factory=dict)
    timestamp: float = NOW.timestamp()


@dataclass
class Event:
    """A Faust event that writes down its acknowledgement."""

    message: Message
    acked: list[int]

    def ack(self) -> None:
        """Acknowledge."""
        self.acked.append(self.message.offset)


class Stream:
    """A Faust stream of prepared messages."""

    def __init__(self, messages: list[Message]) -> None:
        self.acked: list[int] = []
        self._messages = messages

    def noack(self) -> Stream:
        """As Faust's: acknowledgement is by hand."""
        return self

    async def events(self) -> AsyncIterator[Event]:
        """The events, one by one."""
        for message in self._messages:
            yield Event(message, self.acked)


def an_edge(handler: Handler, graveyard: Graveyard | None = None, **options: Any) -> Edge:
    """An edge around ``handler`` with quick retries."""
    settings: Any = {"retries": QUICK, "prefix": "t-"} | options
    return Edge(
        handler=handler,
        outbox=graveyard or Graveyard(),  # type: ignore[arg-type]  # all that an edge uses of an outbox
        codec=Codec(),
        metrics=Metrics("probe"),
        clock=lambda: NOW,
        **settings,
    )


async def test_a_handled_record_is_acknowledged_after_its_handler_returned() -> None:
    """Acknowledging first would lose it in a crash."""
    stream = Stream([Message(0)])
    acked_before: list[int] = []

    async def handler(received: Received) -> None:
        acked_before.extend(stream.acked)

    await an_edge(handler).run(stream)
    assert (acked_before, stream.acked) == ([], [0])


async def test_the_handler_sees_topics_without_the_prefix() -> None:
    """Stages know nothing of installations."""
    seen: list[str] = []

    async def handler(received: Received) -> None:
        seen.append(received.record.topic)

    await an_edge(handler).run(Stream([Message(0)]))
    assert seen == ["cancellations"]


async def test_an_undecodable_record_becomes_a_dead_letter_and_the_next_is_handled() -> None:
    """A poison record never stops a partition."""
    graveyard, handled = Graveyard(), []

    async def handler(received: Received) -> None:
        handled.append(received.record.offset)

    stream = Stream([Message(0, value=b"poison"), Message(1)])
    await an_edge(handler, graveyard).run(stream)
    assert [record.value for record, _, _ in graveyard.buried] == [b"poison"]
    assert (handled, stream.acked) == ([1], [0, 1])


async def test_a_failing_handler_is_tried_again() -> None:
    """Two failures, then success: no dead letter."""
    calls: list[int] = []
    graveyard = Graveyard()

    async def handler(received: Received) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise KeyError("not yet")

    stream = Stream([Message(0)])
    await an_edge(handler, graveyard).run(stream)
    assert (len(calls), graveyard.buried, stream.acked) == (3, [], [0])


async def test_a_handler_that_keeps_failing_ends_in_a_dead_letter() -> None:
    """After the limit of attempts the original bytes are kept, with the error."""
    graveyard = Graveyard()

    async def handler(received: Received) -> None:
        raise KeyError("never")

    stream = Stream([Message(0)])
    await an_edge(handler, graveyard).run(stream)
    ((record, error, attempts),) = graveyard.buried
    assert (record.value, type(error), attempts, stream.acked) == (EVENT, KeyError, 3, [0])


async def test_retry_later_is_tried_without_limit() -> None:
    """What heals by itself is never given up."""
    calls: list[int] = []

    async def handler(received: Received) -> None:
        calls.append(1)
        if len(calls) < 20:
            raise RetryLater("the broker is away", after_seconds=0.0)

    graveyard = Graveyard()
    await an_edge(handler, graveyard).run(Stream([Message(0)]))
    assert (len(calls), graveyard.buried) == (20, [])


async def test_nothing_is_acknowledged_until_the_dead_letter_is_written() -> None:
    """While the broker is away the offset stays."""
    graveyard = Graveyard(failures=5)

    async def handler(received: Received) -> None:
        raise KeyError("never")

    stream = Stream([Message(0)])
    await an_edge(handler, graveyard).run(stream)
    assert (len(graveyard.buried), graveyard.failures, stream.acked) == (1, 0, [0])


async def test_before_a_record_is_buried_the_stage_may_tell_its_user() -> None:
    """The user always hears back, even of a fault of ours."""
    told: list[str] = []

    async def handler(received: Received) -> None:
        raise KeyError("never")

    async def give_up(received: Received, error: Exception) -> None:
        told.append(type(error).__name__)

    await an_edge(handler, give_up=give_up).run(Stream([Message(0)]))
    assert told == ["KeyError"]


async def test_a_failing_goodbye_does_not_keep_the_record_from_the_graveyard() -> None:
    """The second failure is logged, the first is buried."""
    graveyard = Graveyard()

    async def handler(received: Received) -> None:
        raise KeyError("never")

    async def give_up(received: Received, error: Exception) -> None:
        raise ValueError("nor this")

    await an_edge(handler, graveyard, give_up=give_up).run(Stream([Message(0)]))
    assert len(graveyard.buried) == 1


async def _drained(edge: Edge, stream: Stream, count: int) -> None:
    await edge.run(stream)
    await eventually_async(lambda: len(stream.acked) >= count)


async def test_acknowledgements_are_in_order_though_work_is_not() -> None:
    """Faust commits past a running head where later offsets were acknowledged first (its issue 606)."""
    release = asyncio.Event()
    stream = Stream([Message(n, key=b"k%d" % n) for n in range(3)])
    finished: list[int] = []

    async def handler(received: Received) -> None:
        if received.record.offset == 0:
            await release.wait()
        finished.append(received.record.offset)

    edge = an_edge(handler, max_in_flight=8)
    await edge.run(stream)
    await eventually_async(lambda: len(finished) >= 2)
    assert (finished, stream.acked) == ([1, 2], [])
    release.set()
    await eventually_async(lambda: len(stream.acked) >= 3)
    assert stream.acked == [0, 1, 2]


async def test_records_of_one_key_are_handled_one_after_another() -> None:
    """A user's events keep their order though many users' run side by side."""
    trace: list[str] = []

    async def handler(received: Received) -> None:
        trace.append(f"start {received.record.offset}")
        await asyncio.sleep(0)
        trace.append(f"end {received.record.offset}")

    stream = Stream([Message(0), Message(1)])
    await _drained(an_edge(handler, max_in_flight=8), stream, 2)
    assert trace == ["start 0", "end 0", "start 1", "end 1"]


@pytest.mark.parametrize("same_key", [True, False])
async def test_no_more_than_the_limit_is_in_flight(same_key: bool) -> None:
    """Of one key or of many: a burst waits in the topic, not in memory."""
    running, most = 0, 0

    async def handler(received: Received) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    stream = Stream([Message(n, key=b"k" if same_key else b"k%d" % n) for n in range(20)])
    await _drained(an_edge(handler, max_in_flight=3), stream, 20)
    assert most <= 3
    assert stream.acked == list(range(20))


async def test_a_tombstone_reaches_the_handler_as_none() -> None:
    """Compacted topics say with it that a key is gone."""
    seen: list[Any] = []

    async def handler(received: Received) -> None:
        seen.append(received.event)

    await an_edge(handler).run(Stream([Message(0, value=None)]))
    assert seen == [None]


async def test_no_event_is_handled_before_the_state_is_that_of_its_partitions() -> None:
    """Faust lets events flow beside what reads the state back; one handled then could be decided on nothing."""
    gate, handled = asyncio.Event(), []

    async def handler(received: Received) -> None:
        handled.append(received.record.offset)

    running = asyncio.create_task(an_edge(handler, gate=gate).run(Stream([Message(0)])))
    done, _ = await asyncio.wait({running}, timeout=0.05)
    assert (done, handled) == (set(), [])
    gate.set()
    await running
    assert handled == [0]


async def test_telling_the_user_is_tried_until_it_works_before_the_record_is_buried() -> None:
    """Discord's outage passes like the broker's: nobody is left without a word because of it."""
    graveyard, told = Graveyard(), 0

    async def handler(received: Received) -> None:
        raise KeyError("never")

    async def give_up(received: Received, error: Exception) -> None:
        nonlocal told
        told += 1
        if told < 20:
            raise RetryLater("Discord is away", after_seconds=0.0)
        assert graveyard.buried == []

    await an_edge(handler, graveyard, give_up=give_up).run(Stream([Message(0)]))
    assert (told, len(graveyard.buried)) == (20, 1)


@pytest.mark.parametrize("max_in_flight", [1, 8])
async def test_a_burial_that_fails_for_whatever_reason_is_tried_again(max_in_flight: int) -> None:
    """An error that escaped here would be read by nobody, and its partition would stand still for ever."""
    graveyard = Graveyard(failures=5, failure=ValueError("larger than the broker takes"))

    async def handler(received: Received) -> None:
        raise KeyError("never")

    stream = Stream([Message(0)])
    with capture_logs() as logs:
        await _drained(an_edge(handler, graveyard, max_in_flight=max_in_flight), stream, 1)
    assert (len(graveyard.buried), stream.acked) == (1, [0])
    assert [line["log_level"] for line in logs if line["event"] == "event_unburied"] == ["error"] * 5


async def test_no_record_is_handled_while_the_partitions_may_be_anothers() -> None:
    """A process that was frozen past its session has hundreds of records in hand that its sibling has handled."""
    handled: list[Received] = []
    lease = Lease(10)

    async def handler(received: Received) -> None:
        handled.append(received)

    running = asyncio.create_task(an_edge(handler, lease=lease).run(Stream([Message(0)])))
    await asyncio.sleep(0)
    assert handled == []
    lease.renew(time.monotonic())
    await running
    assert len(handled) == 1


async def test_a_record_is_kept_while_the_schema_registry_is_away() -> None:
    """It may be fine: an error that escaped the edge would have it acknowledged, and so lost."""
    seen: list[object] = []

    async def handler(received: Received) -> None:
        seen.append(received.event)

    class AwayTwice(Codec):
        away = 2

        def decode(self, *args: Any, **more: Any) -> Any:
            self.away -= 1
            if self.away >= 0:
                raise SchemaRegistryError("The registry does not answer.")
            return super().decode(*args, **more)

    edge = an_edge(handler)
    edge.codec = AwayTwice()
    stream = Stream([Message(0)])
    await edge.run(stream)
    assert (len(seen), stream.acked) == (1, [0])
