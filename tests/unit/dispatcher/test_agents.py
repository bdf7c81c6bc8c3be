"""The dispatcher's shell: when it may act, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from services.chassis.metrics import Metrics
from services.chassis.records import Received, Record
from services.chassis.retry import SendFailed
from services.contracts.envelope import Envelope
from services.contracts.errors import EventTooLarge, UndecodableReason, UndecodableRecord
from services.contracts.events import (
    BacklogReported,
    Event,
    JobCompleted,
    JobDispatched,
    JobProgressed,
    JobRecorded,
    JobState,
    RequestModerated,
    Verdict,
    WorkerReported,
)
from services.contracts.topics import MODERATED, WORKERS
from services.dispatcher.agents import NEWS_AT_ONCE, Dispatcher
from services.dispatcher.policy import Policy
from tests.harness.waiting import eventually_async
from tests.unit.dispatcher.world import NOON, a_request


class Sent:
    """Stands in for the outbox: keeps what was sent, but refuses what cannot be encoded."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.buried: list[Record] = []
        self.impossible: set[str] = set()
        self.before_each: Callable[[], object] = lambda: None

    async def send(self, event: Event, cause: Envelope | None, *, partition: int | None = None) -> None:
        """As `Outbox.send`."""
        match event:
            case JobRecorded(state=JobState.DISPATCHED, request=request) if (
                request.request_id in self.impossible
            ):
                raise EventTooLarge("JobRecorded", 300_000, 262_144)
        self.events.append(event)
        self.before_each()

    async def dead_letter(self, record: Record, error: Exception, attempts: int) -> None:
        """As `Outbox.dead_letter`."""
        self.buried.append(record)


class Shell:
    """A dispatcher with a clock to move; it owns partition 0 and has heard everything unless told otherwise."""

    def __init__(self) -> None:
        self.now = NOON
        self.sent = Sent()
        self.is_owner = True
        self.heard_all = True
        self.dispatcher = Dispatcher(
            self.sent,  # type: ignore[arg-type]  # all that these tests use of an outbox
            Metrics("dispatcher"),
            lambda: self.now,
            Policy(),
            is_owner=lambda: self.is_owner,
            heard_all=self._heard_all,
        )
        self.dispatcher.assigned({0})
        self.now += timedelta(seconds=Policy().silence + 1)

    async def _heard_all(self, owned: set[int]) -> bool:
        return self.heard_all

    async def report(self, worker: str = "w1", *, slots: int = 1, sequence: int = 1) -> None:
        """``worker`` reports that it holds nothing."""
        event = WorkerReported(
            worker_id=worker,
            incarnation="i1",
            sequence=sequence,
            reported_at=self.now,
            lanes=[3],
            slots=slots,
            held_limit=0,
        )
        await self.dispatcher.heard(self._received(event, worker.encode()))

    async def leave(self, worker: str) -> None:
        """``worker`` writes its tombstone."""
        await self.dispatcher.heard(self._received(None, worker.encode()))

    def _received(self, event: Event | None, key: bytes) -> Received:
        record = replace(poison(0), key=key, appended_at=self.now)
        return Received(event=event, envelope=Envelope.from_headers({}, fallback_id="w"), record=record)

    def dispatched(self) -> list[str]:
        """The requests that it gave to workers."""
        return [event.request_id for event in self.sent.events if isinstance(event, JobDispatched)]

    def ends(self) -> list[JobCompleted]:
        """The requests that it ended."""
        return [event for event in self.sent.events if isinstance(event, JobCompleted)]


def approved(name: str) -> Received:
    """An approval as it comes from the topic."""
    event = RequestModerated(
        request=a_request(name), verdict=Verdict.APPROVED, moderated_at=NOON, policy_version="1"
    )
    record = Record(topic=MODERATED, partition=0, offset=0, key=b"A", value=b"", headers={}, appended_at=NOON)
    return Received(event=event, envelope=Envelope.from_headers({}, fallback_id=name), record=record)


def poison(partition: int) -> Record:
    """A record of ``workers`` that is no report."""
    return Record(
        topic=WORKERS, partition=partition, offset=0, key=b"w", value=b"?", headers={}, appended_at=NOON
    )


async def test_no_tick_decides_by_a_ledger_that_is_half_read() -> None:
    """A request that looks expired may have been finished by a record that is not read back yet."""
    shell = Shell()
    await shell.dispatcher.handle(approved("A1"))
    shell.now += timedelta(hours=1)
    shell.is_owner = False
    await shell.dispatcher.tick()
    assert shell.ends() == []
    shell.is_owner = True
    await shell.dispatcher.tick()
    assert [event.request_id for event in shell.ends()] == ["A1"]


async def test_nothing_is_dispatched_by_a_ledger_that_is_half_read() -> None:
    """A report brings room, but the job that it would get may be running elsewhere."""
    shell = Shell()
    await shell.dispatcher.handle(approved("A1"))
    shell.is_owner = False
    await shell.report()
    assert shell.dispatched() == []


async def test_no_worker_is_called_lost_by_a_dispatcher_that_was_deaf() -> None:
    """Its own outage looks like everyone's silence; afterwards the workers get the time to come back as well."""
    shell = Shell()
    await shell.report()
    await shell.dispatcher.handle(approved("A1"))
    shell.now += timedelta(minutes=1)
    shell.heard_all = False
    await shell.dispatcher.tick()
    shell.heard_all = True
    shell.now += timedelta(seconds=Policy().silence)
    await shell.report(sequence=2)
    await shell.dispatcher.tick()
    assert shell.dispatched() == ["A1"]


async def test_a_silent_worker_is_called_lost_by_a_dispatcher_that_has_heard_everything() -> None:
    """The same silence, with nothing unread."""
    shell = Shell()
    await shell.report()
    await shell.dispatcher.handle(approved("A1"))
    shell.now += timedelta(minutes=1)
    await shell.report("w2")
    await shell.dispatcher.tick()
    assert shell.dispatched() == ["A1", "A1"]


async def test_a_job_that_can_never_be_written_ends_and_the_others_go_on() -> None:
    """It would fail every later event and tick otherwise."""
    shell = Shell()
    shell.sent.impossible = {"A1"}
    await shell.dispatcher.handle(approved("A1"))
    await shell.dispatcher.handle(approved("B1"))
    await shell.report(slots=2)
    assert shell.dispatched() == ["B1"]
    assert [event.request_id for event in shell.ends()] == ["A1"]


async def test_a_record_of_workers_that_is_no_report_is_kept_by_its_partitions_owner() -> None:
    """Every dispatcher reads it, and one of them buries it."""
    shell = Shell()
    error = UndecodableRecord(UndecodableReason.TOO_SHORT, "It has no header")
    await shell.dispatcher.poisoned(poison(1), error)
    assert shell.sent.buried == []
    await shell.dispatcher.poisoned(poison(0), error)
    assert shell.sent.buried == [poison(0)]


async def test_a_partition_is_given_away_only_after_the_decision_that_is_being_written() -> None:
    """Its next owner would read a ledger that is still being added to."""
    shell = Shell()
    async with shell.dispatcher._turn:
        leaving = asyncio.create_task(shell.dispatcher.revoked())
        await asyncio.sleep(0)
        assert not leaving.done()
    await leaving


async def test_giving_an_event_up_does_not_end_a_request_that_was_taken_in() -> None:
    """What failed came after the admission; the request would end as failed while a worker draws it."""
    shell = Shell()
    await shell.dispatcher.handle(approved("A1"))
    await shell.dispatcher.give_up(approved("A1"), ValueError("another job did not fit"))
    assert shell.ends() == []


async def test_giving_up_a_request_that_was_not_taken_in_ends_it() -> None:
    """Its user hears of it."""
    shell = Shell()
    await shell.dispatcher.give_up(approved("A1"), ValueError("it did not fit"))
    assert [event.request_id for event in shell.ends()] == ["A1"]


async def test_a_request_that_begins_to_wait_is_announced_at_once() -> None:
    """An idle worker of another dispatcher comes over as soon as it hears of it."""
    shell = Shell()
    announcing = asyncio.create_task(shell.dispatcher.announce_forever())
    await shell.dispatcher.handle(approved("A1"))
    await eventually_async(
        lambda: any(isinstance(e, BacklogReported) and e.queued == 1 for e in shell.sent.events), 0.9
    )
    announcing.cancel()


async def test_nothing_more_is_written_once_the_partitions_may_be_anothers() -> None:
    """A process frozen in the middle of a turn would go on from where it was, over its sibling's decisions."""
    shell = Shell()
    await shell.report(slots=3)
    shell.sent.before_each = lambda: setattr(shell, "is_owner", len(shell.sent.events) < 1)
    with pytest.raises(SendFailed):
        await shell.dispatcher.handle(approved("A1"))
    assert len(shell.sent.events) == 1


async def test_everybody_who_waits_hears_how_they_stand_in_the_end() -> None:
    """Those in front change their place every second, and are not told every time instead of the others."""
    shell = Shell()
    for number in range(3 * NEWS_AT_ONCE):
        await shell.dispatcher.handle(approved(f"{chr(200 + number)}1"))
    for _ in range(4):
        await shell.dispatcher.tick()
    told = {event.request_id for event in shell.sent.events if isinstance(event, JobProgressed)}
    assert len(told) == 3 * NEWS_AT_ONCE


async def test_the_jobs_of_a_worker_that_left_are_given_to_another_without_waiting_for_the_clock() -> None:
    """A worker that is stopped hands over within a moment."""
    shell = Shell()
    await shell.report("w1")
    await shell.dispatcher.handle(approved("A1"))
    await shell.report("w2")
    shell.now += timedelta(milliseconds=10)
    ticking = asyncio.create_task(shell.dispatcher.tick_forever())
    await asyncio.sleep(0)
    await shell.leave("w1")
    await eventually_async(lambda: shell.dispatched() == ["A1", "A1"], 0.9)
    ticking.cancel()
