"""Requests that are taken back, whatever is away or slow meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.retry import SendFailed
from services.contracts.events import CancellationRequested
from services.ingest_bot import decide, wording
from services.ingest_bot.decide import plan_of, take_back
from services.ingest_bot.policy import Policy
from services.ingest_bot.recent import RecentRequests
from services.ingest_bot.refusals import Refusal
from tests.unit.ingest_bot.conversations import FakeConversation, World

MADE = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
#: A snowflake of that instant.
REQUEST = str(int((MADE - datetime(2015, 1, 1, tzinfo=UTC)).total_seconds() * 1000) << 22)


@pytest.fixture
def world() -> World:
    """A bot at the instant at which the request was made."""
    made = World()
    made.now = MADE
    return made


async def press(world: World, *, by: str = "1", asker: str | None = "1") -> FakeConversation:
    """Press the request's button."""
    talk = FakeConversation("press", user_id=by)
    await world.recall.pressed(REQUEST, asker, talk)
    return talk


async def cancel(world: World, *, by: str = "1") -> FakeConversation:
    """``/cancel``."""
    talk = FakeConversation("cancel", user_id=by)
    await world.recall.newest(talk)
    return talk


def cancelled(world: World) -> list[str]:
    """The requests that were asked to be stopped."""
    return [event.request_id for event in world.cancellations.sent]


async def test_a_press_is_passed_on_and_then_answered_in_private(world: World) -> None:
    """The answer promises no more than that."""
    talk = await press(world)
    assert world.cancellations.sent == [
        CancellationRequested(request_id=REQUEST, user_id="1", requested_at=MADE)
    ]
    assert talk.told == [("private", wording.CANCELLING)]
    assert world.counted("requested", "cancel") == 1


async def test_nothing_is_answered_before_the_broker_has_the_cancellation(world: World) -> None:
    """Who was told that it was passed on can rely on it."""
    world.cancellations.open.clear()
    talk = FakeConversation("press")
    pressing = asyncio.create_task(world.recall.pressed(REQUEST, "1", talk))
    await asyncio.wait({pressing}, timeout=0.05)
    assert talk.told == []
    world.cancellations.open.set()
    await pressing
    assert talk.told == [("private", wording.CANCELLING)]


async def test_a_slow_broker_does_not_let_discord_give_up() -> None:
    """The user sees that it is thought about, then the answer."""
    world = World(hold_seconds=0.01)
    world.now = MADE
    world.cancellations.open.clear()
    talk = FakeConversation("press")
    pressing = asyncio.create_task(world.recall.pressed(REQUEST, "1", talk))
    await asyncio.wait_for(talk.heard.wait(), 5)
    assert (talk.thinking, talk.told) == (True, [])
    world.cancellations.open.set()
    await pressing
    assert talk.told == [("private", wording.CANCELLING)]


async def test_a_broker_that_is_away_is_told(world: World) -> None:
    """Nothing was cancelled, and the user can try again."""
    world.cancellations.error = SendFailed("no broker")
    talk = await press(world)
    assert talk.told == [("private", wording.NOT_CANCELLED)]
    assert world.counted("failed", "cancel") == 1


async def test_nobody_cancels_another_users_request(world: World) -> None:
    """Everybody in the channel can press the button."""
    talk = await press(world, by="2")
    assert talk.told == [("private", decide.NOT_YOURS)]
    assert cancelled(world) == []
    assert world.counted("refused", "cancel") == 1


async def test_where_discord_does_not_say_whose_request_it_is_the_dispatcher_decides(world: World) -> None:
    """It knows, and the cancellation names who pressed."""
    await press(world, by="2", asker=None)
    assert [(event.request_id, event.user_id) for event in world.cancellations.sent] == [(REQUEST, "2")]


async def test_a_button_that_outlived_its_request_says_so(world: World) -> None:
    """Past the token no edit takes it away."""
    world.now = MADE + Policy().lifetime + timedelta(seconds=61)
    talk = await press(world)
    assert talk.told == [("private", decide.OVER)]
    assert cancelled(world) == []


@pytest.mark.parametrize(("seconds", "over"), [(0, False), (15 * 60, False), (15 * 60 + 1, True)])
def test_a_request_is_over_a_minute_after_its_lifetime(seconds: int, over: bool) -> None:
    """By the time in its id; the dispatcher ends it at its lifetime, and the user is told soon after."""
    decided = take_back(REQUEST, "1", "1", MADE + timedelta(seconds=seconds), Policy())
    assert isinstance(decided, Refusal) is over


async def test_the_newest_request_is_taken_back_by_command(world: World) -> None:
    """And named in the answer, since the command did not name it."""
    await world.serve("a boat", request_id="10")
    await world.serve("a *lighthouse*", request_id="11")
    talk = await cancel(world)
    assert cancelled(world) == ["11"]
    assert talk.told[0][1].startswith(
        r"I have asked for **a \*lighthouse\*** to be stopped.  If it has ended"
    )
    assert talk.thinking  # looking at messages takes time


async def test_a_request_whose_button_is_gone_is_passed_over_and_forgotten(world: World) -> None:
    """It has ended; the one before it is the newest unfinished one."""
    for request_id in ("10", "11", "12"):
        await world.serve("a boat", request_id=request_id)
    world.messages.ended = {"11", "12"}
    await cancel(world)
    assert cancelled(world) == ["10"]
    world.messages.looks.clear()
    talk = await cancel(world)
    assert talk.told == [("private", wording.NOTHING_TO_CANCEL)]
    assert world.messages.looks == []


async def test_a_second_command_takes_the_next_request_back(world: World) -> None:
    """The first one's is on its way to its end."""
    for request_id in ("10", "11"):
        await world.serve("a boat", request_id=request_id)
    await cancel(world)
    await cancel(world)
    assert cancelled(world) == ["11", "10"]


async def test_a_request_whose_cancellation_was_not_sent_can_be_taken_back_again(world: World) -> None:
    """It is still open."""
    await world.serve("a boat", request_id="10")
    world.cancellations.error = SendFailed("no broker")
    assert (await cancel(world)).told == [("private", wording.NOT_CANCELLED)]
    world.cancellations.error = None
    await cancel(world)
    assert cancelled(world) == ["10"]


async def test_without_a_request_the_command_points_to_the_button(world: World) -> None:
    """Another process may have taken the request, or this one was started since; others' requests are not meant."""
    await world.serve("a boat", request_id="10", user_id="2")
    talk = await cancel(world)
    assert talk.told == [("private", wording.NOTHING_TO_CANCEL)]
    assert "Cancel button" in wording.NOTHING_TO_CANCEL


async def test_a_closing_bot_takes_no_cancellation_and_finishes_those_in_hand(world: World) -> None:
    """Whoever comes during a restart is told to try again."""
    world.cancellations.open.clear()
    first = FakeConversation("press")
    pressing = asyncio.create_task(world.recall.pressed(REQUEST, "1", first))
    await asyncio.sleep(0)
    closing = asyncio.create_task(world.in_hand.close(60))
    await asyncio.sleep(0)
    assert (await press(world)).told == (await cancel(world)).told == [("private", wording.RESTARTING_CANCEL)]
    assert not closing.done()
    world.cancellations.open.set()
    await asyncio.wait_for(closing, 5)
    await pressing
    assert first.told == [("private", wording.CANCELLING)]


async def test_the_memory_of_requests_is_bounded(world: World) -> None:
    """By number, the oldest go first, and by the time that a request lives."""
    for request_id in ("10", "11", "12"):
        await world.serve("a boat", request_id=request_id)
    recent = RecentRequests(limit=2)
    for request in world.topic.sent:
        recent.add(request)
    now = world.topic.sent[0].requested_at
    assert [asked.request_id for asked in recent.newest_first("1", now)] == ["12", "11"]
    assert recent.newest_first("1", now + Policy().lifetime + timedelta(minutes=1)) == []
    assert len(recent) == 0


PLANS = (("1", "pro"), ("70", "team"), ("71", "patron"))


@pytest.mark.parametrize(
    ("user", "roles", "plan"),
    [
        ("9", [], "free"), ("9", ["99"], "free"), ("9", ["71"], "patron"), ("9", ["71", "70"], "team"),
        ("1", ["70"], "pro"),
    ],
)  # fmt: skip
def test_the_first_entry_that_fits_gives_the_plan(user: str, roles: list[str], plan: str) -> None:
    """Of users and roles alike; whoever fits none has the free one."""
    assert plan_of(user, roles, Policy(plans=PLANS)) == plan


async def test_a_requests_plan_is_its_users() -> None:
    """By the roles that came with the command."""
    world = World(policy=Policy(plans=PLANS))
    await world.serve("a boat", roles=("70",), user_id="9")
    await world.serve("a boat", request_id="10", user_id="9")
    assert [request.plan for request in world.topic.sent] == ["team", "free"]
