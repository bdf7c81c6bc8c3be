"""A progress edit that was not answered may land late: the final message stands all the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.chassis.retry import RetryLater
from services.contracts.events import DeliveryMethod, JobCompleted, Phase
from services.notifier.ports import DiscordBusy, InteractionOver, Message, MessageRefused, OriginalUnknown
from tests.harness.waiting import eventually_async
from tests.unit.notifier.world import REQUEST, World, a_reply, completed, failed, progressed

TOKEN = f"token-{REQUEST}"
SILENCE = DiscordBusy("no answer", "error", 0.25)
OUTAGE = DiscordBusy("502", "5xx", 1.0)
STALE = Message(content="In the queue, place 1", cancels=REQUEST)


async def show(world: World, percent: int, error: Exception | None = None) -> None:
    """A progress edit begins and ends, by ``error`` if there is one."""
    world.discord.fail_next = [error]  # type: ignore[list-item]  # also what is no messenger's error
    before = world.discord.calls
    await world.handle(progressed(Phase.RUNNING, percent))
    world.timers.advance(2.1)
    await eventually_async(lambda: world.discord.calls > before and not world.discord.fail_next)
    await asyncio.sleep(0)


async def waits(world: World, event: JobCompleted) -> float:
    """The end arrives and is put off; returns for how long."""
    with pytest.raises(RetryLater) as caught:
        await world.handle(event)
    return caught.value.after_seconds


@pytest.mark.parametrize("error", [SILENCE, OUTAGE, RuntimeError("bug")], ids=["silence", "5xx", "bug"])
@pytest.mark.parametrize("end", [completed(), failed()], ids=["images", "text"])
async def test_what_lands_after_the_final_edit_does_not_stand(
    world: World, error: Exception, end: JobCompleted
) -> None:
    """The final edit is told at once and repeated when the doubt is over, before ``delivered``."""
    await show(world, 10, error)
    assert await waits(world, end) == world.policy.settling
    final = replace(world.discord.originals[TOKEN])
    assert final.cancels == ""
    await world.discord.edit_original(a_reply(), STALE)  # what was held arrives
    world.timers.advance(world.policy.settling)
    assert world.outbox.sent == []
    await world.handle(end)
    assert world.discord.originals[TOKEN] == final
    assert len(world.outbox.sent) == 1


async def test_the_repetition_sends_no_file_again(world: World) -> None:
    """They are there, and megabytes."""
    await show(world, 10, SILENCE)
    await waits(world, completed())
    world.timers.advance(world.policy.settling)
    await world.handle(completed())
    assert [edit.files is None for edit in world.discord.edits] == [False, True]
    assert len(world.discord.originals[TOKEN].files) == 4


async def test_the_doubt_ends_only_after_an_answer(world: World) -> None:
    """However long ago the edit was given up: the network may hold it until then."""
    await show(world, 10, SILENCE)
    world.timers.advance(600.0)
    assert await waits(world, completed()) == world.policy.settling


async def test_an_answered_progress_edit_ends_the_doubt_before_the_end_comes(world: World) -> None:
    """It came the same way, so a final edit that is begun long enough after it needs no repetition."""
    await show(world, 10, SILENCE)
    await show(world, 20)
    world.timers.advance(world.policy.settling)
    await world.handle(completed())
    assert len(world.outbox.sent) == 1
    assert world.discord.calls == 3


async def test_a_final_edit_soon_after_that_answer_waits_only_for_what_is_left(world: World) -> None:
    """The first answer counts, not the last."""
    await show(world, 10, SILENCE)
    await show(world, 20)
    world.timers.advance(world.policy.settling - 1.0)
    assert await waits(world, completed()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "error",
    [
        None,
        DiscordBusy("429", "429", 1.0),
        OriginalUnknown("404", "404"),
        InteractionOver("expired", "4xx"),
        MessageRefused("400", "4xx"),
    ],
)
async def test_an_answer_of_any_kind_leaves_no_doubt(world: World, error: Exception | None) -> None:
    """What Discord refused does not land; the final edit is sent once."""
    await show(world, 10, error)
    before = world.discord.calls
    await world.handle(completed())
    assert world.discord.calls == before + 1
    assert len(world.outbox.sent) == 1


async def test_a_repetition_that_fails_is_tried_again_before_delivered(world: World) -> None:
    """Else the late edit could stand for ever."""
    await show(world, 10, SILENCE)
    await waits(world, completed())
    await world.discord.edit_original(a_reply(), STALE)
    world.timers.advance(world.policy.settling)
    world.discord.fail_next = [SILENCE]
    assert await waits(world, completed()) == SILENCE.after_seconds
    assert world.outbox.sent == []
    await world.handle(completed())
    assert "12.3 seconds" in world.discord.originals[TOKEN].content
    assert len(world.outbox.sent) == 1


@pytest.mark.parametrize("error", [OriginalUnknown("deleted", "404"), InteractionOver("expired", "4xx")])
async def test_a_message_that_nothing_can_edit_any_more_needs_no_repetition(
    world: World, error: Exception
) -> None:
    """Neither can what was held."""
    await show(world, 10, SILENCE)
    await waits(world, completed())
    world.timers.advance(world.policy.settling)
    world.discord.fail_next = [error]  # type: ignore[list-item]  # they are messenger's errors
    await world.handle(completed())
    assert [event.method for event in world.outbox.sent] == [DeliveryMethod.EDIT]


async def test_a_channel_message_is_not_repeated(world: World) -> None:
    """A progress edit is of another message."""
    await show(world, 10, SILENCE)
    world.discord.fail_next = [InteractionOver("expired", "4xx")]
    await waits(world, completed())
    world.timers.advance(world.policy.settling)
    await world.handle(completed())
    assert world.discord.edits == []
    assert [event.method for event in world.outbox.sent] == [DeliveryMethod.CHANNEL_MESSAGE]


async def test_a_rebalance_does_not_end_the_doubt(world: World) -> None:
    """Most of them bring the same partitions back, and the edit is under way all the same."""
    await show(world, 10, SILENCE)
    await world.notifier.revoked()
    assert await waits(world, completed()) == world.policy.settling


async def test_a_rebalance_keeps_nothing_that_is_not_in_doubt(world: World) -> None:
    """What other processes have now takes no memory here."""
    await show(world, 10)
    await world.notifier.revoked()
    assert world.notifier.open_requests() == 0
