"""Progress edits of one message."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta

import pytest

from services.contracts.events import JobProgressed, Phase
from services.notifier.conversation import Conversation, Shown
from services.notifier.policy import Policy
from tests.harness.waiting import eventually_async
from tests.unit.notifier.world import NOON, ManualTimers, progressed

POLICY = Policy()
PAST_FIRST = POLICY.first_edit_wait + 0.01


class Screen:
    """What was shown, and a gate that holds an edit under way."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.begun = 0
        self.pause = 0.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def show(self, event: JobProgressed) -> Shown:
        """An edit."""
        self.begun += 1
        await self.gate.wait()
        self.shown.append(event.percent)
        return Shown(answered=True, pause=self.pause)


@pytest.fixture
def timers() -> ManualTimers:
    """Manual time."""
    return ManualTimers()


@pytest.fixture
def screen() -> Screen:
    """A message."""
    return Screen()


@pytest.fixture
def conversation(screen: Screen, timers: ManualTimers) -> Conversation:
    """One open request."""
    return Conversation(screen.show, timers, POLICY, NOON + timedelta(minutes=15))


def take(conversation: Conversation, *percents: int) -> None:
    """News arrives."""
    for percent in percents:
        conversation.take(progressed(Phase.RUNNING, percent), 0.0)


async def test_the_latest_of_a_burst_is_shown_in_one_edit(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """A sampler tells of every step; the message is edited once."""
    take(conversation, 1, 2, 3)
    assert screen.begun == 0
    timers.advance(PAST_FIRST)
    await eventually_async(lambda: screen.shown == [3])


async def test_the_next_edit_waits_out_the_spacing(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """Two seconds apart, or Discord's rate limit would strike."""
    take(conversation, 1)
    timers.advance(PAST_FIRST)
    await eventually_async(lambda: screen.shown == [1])
    take(conversation, 2)
    timers.advance(POLICY.edit_spacing - 0.1)
    await asyncio.sleep(0)
    take(conversation, 3)
    assert screen.begun == 1
    timers.advance(0.2)
    await eventually_async(lambda: screen.shown == [1, 3])


async def test_news_during_an_edit_is_shown_after_it(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """One edit at a time, and none is forgotten."""
    screen.gate.clear()
    take(conversation, 1)
    timers.advance(PAST_FIRST)
    await eventually_async(lambda: screen.begun == 1)
    take(conversation, 2)
    assert timers.pending == []
    screen.gate.set()
    await eventually_async(lambda: timers.pending)
    timers.advance(POLICY.edit_spacing)
    await eventually_async(lambda: screen.shown == [1, 2])


async def test_without_news_nothing_is_scheduled(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """No polling: a message that stands still costs nothing."""
    take(conversation, 1)
    timers.advance(PAST_FIRST)
    await eventually_async(lambda: screen.shown == [1])
    take(conversation, 1, 0)
    await asyncio.sleep(0)
    assert timers.pending == []


async def test_no_edit_begins_once_the_conversation_is_closed(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """Terminal wins, over what is pending and over what comes late."""
    take(conversation, 1)
    await conversation.close()
    take(conversation, 99)
    timers.advance(60.0)
    await asyncio.sleep(0)
    assert screen.begun == 0


async def test_closing_waits_for_the_edit_under_way_and_lets_no_other_follow(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """Else it could land after the final edit."""
    screen.gate.clear()
    take(conversation, 1)
    timers.advance(PAST_FIRST)
    await eventually_async(lambda: screen.begun == 1)
    take(conversation, 2)
    closing = asyncio.create_task(conversation.close())
    await asyncio.sleep(0)
    assert not closing.done()
    screen.gate.set()
    await closing
    timers.advance(60.0)
    await asyncio.sleep(0)
    assert screen.shown == [1]


async def test_a_rate_limit_moves_the_next_edit_back(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """The message is left alone for as long as Discord asks."""
    screen.pause = 10.0
    take(conversation, 1)
    timers.advance(PAST_FIRST)
    await eventually_async(lambda: screen.shown == [1])
    take(conversation, 2)
    timers.advance(9.0)
    await asyncio.sleep(0)
    assert screen.begun == 1
    timers.advance(1.1)
    await eventually_async(lambda: screen.shown == [1, 2])


async def test_a_message_that_cannot_be_edited_any_more_is_left_alone(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """An expired token expires for ever."""
    screen.pause = math.inf
    take(conversation, 1)
    timers.advance(PAST_FIRST)
    await eventually_async(lambda: screen.shown == [1])
    take(conversation, 2)
    assert timers.pending == []


async def test_old_news_after_a_restart_waits_for_newer(
    conversation: Conversation, screen: Screen, timers: ManualTimers
) -> None:
    """A message that showed 80 % does not fall to the 20 % that is read again first."""
    conversation.take(progressed(Phase.RUNNING, 20), 30.0)
    timers.advance(POLICY.edit_spacing - 0.1)
    conversation.take(progressed(Phase.RUNNING, 80), 1.0)
    timers.advance(0.2)
    await eventually_async(lambda: screen.shown == [80])


async def test_a_conversation_is_over_when_its_token_is_and_nothing_is_owed(
    conversation: Conversation,
) -> None:
    """What cannot be edited any more need not be kept, unless its end is being told."""
    assert not conversation.is_over(NOON)
    assert conversation.is_over(NOON + timedelta(minutes=16))
    async with conversation.turn:
        assert not conversation.is_over(NOON + timedelta(minutes=16))
