"""What the notifier remembers and holds: delivered requests, and bytes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from services.notifier.budget import ByteBudget
from services.notifier.delivered import DeliveredRequests
from tests.unit.notifier.world import NOON


@pytest.mark.parametrize("request_id", ["1300000000000000001", "req-7", "", "٣"])
def test_a_delivered_request_is_known_in_its_partition(request_id: str) -> None:
    """Whatever its id is made of."""
    delivered = DeliveredRequests()
    delivered.add(request_id, NOON, 3)
    delivered.add(request_id, NOON, 3)
    assert delivered.has(request_id, 3)
    assert not delivered.has(request_id, 4)
    assert len(delivered) == 1


def test_ids_that_are_equal_as_numbers_are_two_ids() -> None:
    """A number is only a smaller way to keep the text."""
    delivered = DeliveredRequests()
    delivered.add("7", NOON, 3)
    assert not delivered.has("007", 3)


def test_a_lost_partition_is_forgotten_whole() -> None:
    """Its new owner reads it back."""
    delivered = DeliveredRequests()
    delivered.add("1", NOON, 3)
    delivered.add("2", NOON, 4)
    delivered.forget_partition(3)
    assert not delivered.has("1", 3)
    assert delivered.has("2", 4)


def test_requests_of_old_hours_are_forgotten() -> None:
    """Memory is bounded by the window."""
    delivered = DeliveredRequests()
    delivered.add("1", NOON, 3)
    delivered.add("2", NOON + timedelta(hours=1), 3)
    delivered.forget_before(NOON + timedelta(hours=1))
    assert not delivered.has("1", 3)
    assert delivered.has("2", 3)


async def test_bytes_over_the_budget_wait_for_others_to_be_given_back() -> None:
    """Sixty-four finished requests at once do not load all their images."""
    budget = ByteBudget(100)
    order: list[str] = []

    async def second() -> None:
        async with budget.hold(60):
            order.append("second")

    async with budget.hold(60):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


async def test_more_than_the_whole_budget_takes_all_of_it() -> None:
    """A request larger than the limit is served alone instead of never."""
    budget = ByteBudget(100)
    async with budget.hold(1000):
        small = asyncio.create_task(_hold(budget, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not small.done()
    await small


async def test_a_large_demand_is_not_overtaken_by_small_ones() -> None:
    """First come, first served, or it would starve."""
    budget = ByteBudget(100)
    order: list[int] = []

    async def take(size: int) -> None:
        async with budget.hold(size):
            order.append(size)

    async with budget.hold(50):
        tasks = [asyncio.create_task(take(size)) for size in (90, 10)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == []
    await asyncio.gather(*tasks)
    assert order == [90, 10]


async def _hold(budget: ByteBudget, size: int) -> None:
    async with budget.hold(size):
        pass
