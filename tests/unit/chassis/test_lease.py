"""A process handles nothing while its partitions may be another's."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from services.chassis.faust_app import WATCHDOG_EXIT, keep_lease
from services.chassis.lease import Lease
from tests.harness.waiting import eventually_async


class Clock:
    """A monotonic clock to move."""

    now = 1000.0

    def __call__(self) -> float:
        """As `time.monotonic`."""
        return self.now


async def test_a_lease_is_held_for_a_session_from_when_the_heartbeat_was_sent() -> None:
    """The broker counts from when it heard it, which is later."""
    clock = Clock()
    lease = Lease(10, clock)
    assert (lease.is_held(), lease.has_ended()) == (False, False)
    lease.renew(1000.0)
    clock.now = 1009.9
    assert lease.is_held()
    clock.now = 1010.0
    assert (lease.is_held(), lease.has_ended()) == (False, True)


async def test_an_answer_that_comes_late_does_not_shorten_a_lease() -> None:
    """Two heartbeats' answers can overtake each other."""
    clock = Clock()
    lease = Lease(10, clock)
    lease.renew(1005.0)
    lease.renew(1000.0)
    clock.now = 1014.0
    assert lease.is_held()


async def test_who_waits_for_a_lease_goes_on_when_another_thread_renews_it() -> None:
    """The consumer's heartbeats are sent from a thread of their own."""
    lease = Lease(10)
    waiting = asyncio.create_task(lease.held())
    await asyncio.sleep(0)
    assert not waiting.done()
    thread = threading.Thread(target=lambda: lease.renew(time.monotonic()))
    thread.start()
    thread.join()
    await asyncio.wait_for(waiting, 5)


class Coordinator:
    """As aiokafka's, as far as the lease asks."""

    def __init__(self) -> None:
        self.is_member = True
        self.joined: list[Any] = []
        self.hold: asyncio.Event | None = None

    async def _do_heartbeat(self) -> bool:
        return self.is_member

    async def _on_join_prepare(self, previous: Any) -> None:
        if self.hold is not None:
            await self.hold.wait()
        self.joined.append(previous)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Exit codes, instead of exits."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


async def test_an_acknowledged_heartbeat_renews_the_lease_and_a_refused_one_does_not(
    exits: list[int],
) -> None:
    """A member that the group forgot is told so by the next heartbeat."""
    coordinator, lease = Coordinator(), Lease(10)
    keep_lease(coordinator, lease)
    coordinator.is_member = False
    assert not await coordinator._do_heartbeat()
    assert not lease.is_held()
    coordinator.is_member = True
    assert await coordinator._do_heartbeat()
    assert lease.is_held()


async def test_a_process_that_lost_its_session_ends_instead_of_joining_anew(exits: list[int]) -> None:
    """It would first handle what it has in hand, up to hundreds of records that another process has handled."""
    clock = Clock()
    coordinator, lease = Coordinator(), Lease(10, clock)
    keep_lease(coordinator, lease)
    owned = SimpleNamespace(tps={"requests/0"})
    await coordinator._on_join_prepare(None)
    lease.renew(1000.0)
    await coordinator._on_join_prepare(owned)
    assert exits == []
    clock.now = 1011.0
    await coordinator._on_join_prepare(SimpleNamespace(tps=set()))
    assert exits == []
    await coordinator._on_join_prepare(owned)
    assert exits == [WATCHDOG_EXIT]


async def test_a_session_lost_while_joining_ends_the_process_as_well(exits: list[int]) -> None:
    """What is in hand waits for a lease that nobody renews any more, and joining waits for what is in hand."""
    clock = Clock()
    coordinator, lease = Coordinator(), Lease(10, clock)
    coordinator.hold = asyncio.Event()
    keep_lease(coordinator, lease)
    lease.renew(1000.0)
    joining = asyncio.create_task(coordinator._on_join_prepare(SimpleNamespace(tps={"requests/0"})))
    clock.now = 1011.0
    await eventually_async(lambda: exits == [WATCHDOG_EXIT])
    coordinator.hold.set()
    await joining
