"""The order of those who wait: fair within a tier, and a bounded wait in the lowest."""

from __future__ import annotations

from datetime import timedelta

from services.contracts.errors import ErrorCode
from services.dispatcher.backlog import Backlog, Waiting
from services.dispatcher.policy import Policy
from tests.unit.dispatcher.world import NOON, World

TIERS = {"priority": 0, "free": 1}


def drain(world: World) -> list[str]:
    """One worker draws one request after another until nobody waits."""
    world.report("w1")
    while world.state.jobs:
        world.complete(world.order()[-1])
    return world.order()


def test_a_higher_tier_goes_first_and_is_fair_within_itself() -> None:
    """The free user came first and waits for both of the paying ones."""
    world = World(policy=Policy(tiers=TIERS))
    world.request("F1", "F2")
    world.request("P1", "P2", "Q1", plan="priority")
    assert drain(world) == ["P1", "Q1", "P2", "F1", "F2"]


def test_f6_a_request_of_the_lowest_tier_rises_with_time() -> None:
    """However many paying users come, it waits for those who were there when it rose, and no more."""
    world = World(policy=Policy(tiers=TIERS, ageing=120))
    world.request("F1")
    world.wait(119)
    world.request("P1", plan="priority")
    world.wait(1)
    world.request("Q1", "R1", plan="priority")
    assert drain(world) == ["F1", "P1", "Q1", "R1"]


def test_f6_a_request_of_the_lowest_tier_does_not_rise_early() -> None:
    """One second before its time the paying user still goes first."""
    world = World(policy=Policy(tiers=TIERS, ageing=120))
    world.request("F1")
    world.wait(119)
    world.request("P1", plan="priority")
    assert drain(world) == ["P1", "F1"]


def test_a_plan_that_is_not_named_is_in_the_last_tier() -> None:
    """A typing error in a setting must not make anybody first."""
    assert Policy(tiers=TIERS).tier_of("golden") == 1
    assert Policy().tier_of("free") == 0


def test_newcomers_do_not_overtake_those_who_wait(world: World) -> None:
    """Each new user would be the least recently served one for ever."""
    world.report("w1")
    world.request("A1", "A2")
    for user in "BCDEFG":
        world.request(f"{user}1")
        world.complete(world.order()[-1])
    assert world.order()[:3] == ["A1", "B1", "A2"]


def test_one_user_may_have_so_many_requests_waiting_and_no_more(world: World) -> None:
    """The next one is refused with a sentence that says the limit, and takes no place."""
    limit = world.policy.queued_per_user
    world.request(*(f"A{n}" for n in range(limit + 1)))
    world.request("B1")
    (end,) = world.ends()
    assert end.error is not None
    assert (end.request_id, end.error.code) == (f"A{limit}", ErrorCode.QUEUE_FULL)
    assert str(limit) in end.error.message
    assert len(world.state.backlog) == limit + 1


def test_an_empty_backlog_keeps_nothing_of_those_who_waited() -> None:
    """Users come and go for months."""
    backlog = Backlog()
    for number in range(100):
        job = Waiting(f"r{number}", f"u{number}", 1, NOON + timedelta(seconds=number), frozenset({"a"}))
        backlog.add(job)
        backlog.serve(job.user_id)
        backlog.remove(job.key)
    backlog.age(NOON + timedelta(days=1))
    assert (backlog._waiting, backlog._lines, backlog._groups, backlog._rises) == ({}, {}, {}, [])
    assert (backlog._by_need, backlog._by_user, backlog._risen) == ({}, {}, {})
