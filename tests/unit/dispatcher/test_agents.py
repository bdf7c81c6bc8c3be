"""The dispatcher's shell: when it may act, and what it leaves alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from services.chassis.metrics import Metrics
from services.chassis.records import Received, Record
from services.contracts.envelope import Envelope
from services.contracts.events import Event, JobCompleted, RequestModerated, Verdict
from services.contracts.topics import MODERATED
from services.dispatcher.agents import Dispatcher
from services.dispatcher.policy import Policy
from tests.unit.dispatcher.world import NOON, a_request


class Sent:
    """Stands in for the outbox: keeps what was sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def send(self, event: Event, cause: Envelope | None, *, partition: int | None = None) -> None:
        """As `Outbox.send`."""
        self.events.append(event)


class Shell:
    """A dispatcher with a clock to move."""

    def __init__(self) -> None:
        self.now = NOON
        self.sent = Sent()
        self.dispatcher = Dispatcher(
            self.sent,  # type: ignore[arg-type]  # all that these tests use of an outbox
            Metrics("dispatcher"),
            lambda: self.now,
            Policy(),
        )

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


async def test_no_tick_decides_by_a_ledger_that_is_half_read() -> None:
    """A request that looks expired may have been finished by a record that is not read back yet."""
    shell, in_step = Shell(), asyncio.Event()
    await shell.dispatcher.handle(approved("A1"))
    shell.now += timedelta(hours=1)
    await shell.dispatcher.tick(in_step)
    assert shell.ends() == []
    in_step.set()
    await shell.dispatcher.tick(in_step)
    assert [event.request_id for event in shell.ends()] == ["A1"]


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
