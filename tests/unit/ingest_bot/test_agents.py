"""A command from its arrival to its answer, whatever is away or slow meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from services.chassis.object_store.port import ObjectStoreUnreachable
from services.chassis.retry import SendFailed
from services.contracts.errors import EventTooLarge
from services.ingest_bot import wording
from services.ingest_bot.policy import Policy
from services.ingest_bot.refusals import CommandError
from tests.unit.ingest_bot.conversations import FakeAttachment, FakeConversation, World, picture, serve


async def test_a_command_is_sent_and_then_answered() -> None:
    """The answer says the canonical command and what became of it."""
    world = World()
    talk = await world.serve("a boat --ar 27:18")
    [request] = world.topic.sent
    assert request.request_id == "9"
    assert talk.told == [("queued", "Queued: **a boat --ar 3:2**\n-# ratio 27:18 became 3:2")]
    assert world.counted("requested") == 1


async def test_nothing_is_answered_before_the_broker_has_the_request() -> None:
    """An answered command is never lost."""
    world = World()
    world.topic.open.clear()
    talk = FakeConversation()
    taking = asyncio.create_task(world.intake.take(serve("a boat"), talk))
    await asyncio.wait({taking}, timeout=0.05)
    assert talk.told == []
    world.topic.open.set()
    await taking
    assert talk.told == [("queued", "Queued: **a boat**")]


async def test_a_slow_send_holds_the_user_and_is_not_given_up() -> None:
    """After the holding answer the message is the notifier's: the late success edits nothing."""
    world = World(hold_seconds=0.01)
    world.topic.open.clear()
    talk = FakeConversation()
    taking = asyncio.create_task(world.intake.take(serve("a boat"), talk))
    await asyncio.wait_for(talk.heard.wait(), 5)
    world.topic.open.set()
    await taking
    assert talk.told == [("hold", "Queueing: **a boat**")]
    assert len(world.topic.sent) == 1
    assert world.counted("requested") == 1


async def test_a_slow_send_that_fails_edits_the_holding_answer() -> None:
    """The user never waits for what will not come."""
    world = World(hold_seconds=0.01)
    world.topic.open.clear()
    world.topic.error = SendFailed("no broker")
    talk = FakeConversation()
    taking = asyncio.create_task(world.intake.take(serve("a boat"), talk))
    await asyncio.wait_for(talk.heard.wait(), 5)
    world.topic.open.set()
    await taking
    assert talk.told[1:] == [("edit", wording.NOT_QUEUED)]


@pytest.mark.parametrize(
    ("error", "text", "outcome"),
    [
        (SendFailed("no broker"), wording.NOT_QUEUED, "failed"),
        (EventTooLarge("GenerationRequested", 300_000, 262_144), wording.TOO_LONG, "refused"),
    ],
)
async def test_a_failed_send_is_told_at_once(error: Exception, text: str, outcome: str) -> None:
    """Nothing was queued, and the user alone reads so."""
    world = World()
    world.topic.error = error
    talk = await world.serve("a boat")
    assert talk.told == [("private", text)]
    assert world.counted(outcome) == 1


async def test_a_refused_command_is_told_in_private_and_not_sent() -> None:
    """Only who typed it needs to see it."""
    world = World()
    talk = await world.serve("a boat --sed 5")
    assert talk.told == [("private", "There is no flag `--sed`; did you mean `--seed`?")]
    assert world.topic.sent == []
    assert world.counted("refused") == 1


async def test_an_unforeseen_error_counts_as_failed_and_frees_the_intake() -> None:
    """A stop does not wait for a command that has ended by an error."""
    world = World()
    world.topic.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await world.serve("a boat")
    assert world.counted("failed") == 1
    await asyncio.wait_for(world.in_hand.close(60), 5)


async def test_an_attachment_is_held_copied_and_referred_to() -> None:
    """Discord's link expires, so the object store's copy goes into the request, under its real type."""
    world = World()
    data = picture("JPEG", (96, 32))
    talk = await world.serve("a boat", FakeAttachment(data, declared_size=(96, 32)))
    [(key, stored)] = world.store.kept.items()
    [entry] = world.topic.sent[0].job.inputs
    assert stored == (data, "image/jpeg")
    assert (entry.parameter, entry.object_key, entry.bytes) == ("image", key, len(data))
    assert key.startswith("inputs/")
    assert key.endswith(".jpg")
    assert talk.told == [("hold", "Queueing: **a boat**")]


async def test_the_real_size_of_an_attachment_counts() -> None:
    """What Discord declares is only good enough for an early refusal."""
    world = World()
    await world.serve("a boat", FakeAttachment(picture(size=(40, 80)), declared_size=(80, 40)))
    assert world.topic.sent[0].job.parameters["ar"] == "1:2"


async def test_a_wrong_flag_is_refused_before_the_attachment_is_fetched() -> None:
    """The user reads it at once and in private, and nothing is stored."""
    world = World()
    file = FakeAttachment(picture())
    talk = await world.serve("a boat --sed 5", file)
    assert [how for how, _ in talk.told] == ["private"]
    assert (file.reads, world.store.kept) == (0, {})


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (FakeAttachment(b"GIF89a..."), "is no PNG, JPEG or WebP image"),
        (FakeAttachment(b"x" * 2000), "is larger than"),
        (
            FakeAttachment(b"", error=CommandError("The attachment could not be fetched.")),
            "could not be fetched",
        ),
    ],
)
async def test_a_bad_attachment_edits_the_holding_answer(file: FakeAttachment, said: str) -> None:
    """It was answered in time, so the reason takes the place of that answer."""
    world = World(policy=Policy(input_bytes=1000))
    talk = await world.serve("a boat", file)
    assert [how for how, _ in talk.told] == ["hold", "edit"]
    assert said in talk.told[1][1]
    assert (world.topic.sent, world.store.kept) == ([], {})


async def test_an_object_store_that_is_away_is_told() -> None:
    """Without its image the request could not be drawn, so it is not queued."""
    world = World()
    world.store.error = ObjectStoreUnreachable("no store")
    talk = await world.serve("a boat", FakeAttachment(picture()))
    assert talk.told[1] == ("edit", wording.NOT_QUEUED)
    assert world.topic.sent == []
    assert world.counted("failed") == 1


async def test_a_closing_intake_finishes_what_it_has_and_takes_nothing_new() -> None:
    """Whoever comes during a restart is told to try again."""
    world = World()
    world.topic.open.clear()
    first = FakeConversation()
    taking = asyncio.create_task(world.intake.take(serve("a boat"), first))
    await asyncio.sleep(0)
    closing = asyncio.create_task(world.in_hand.close(60))
    await asyncio.sleep(0)
    late = await world.serve("a late boat")
    assert late.told == [("private", wording.RESTARTING)]
    assert not closing.done()
    world.topic.open.set()
    await asyncio.wait_for(closing, 5)
    await taking
    assert first.told == [("queued", "Queued: **a boat**")]
    assert len(world.topic.sent) == 1


async def test_a_closing_intake_does_not_wait_for_ever() -> None:
    """A broker that is away cannot hold up a stop."""
    world = World()
    world.topic.open.clear()
    taking = asyncio.create_task(world.intake.take(serve("a boat"), FakeConversation()))
    await asyncio.sleep(0)
    await asyncio.wait_for(world.in_hand.close(0.01), 5)
    taking.cancel()
    await asyncio.wait({taking})


async def test_a_drawn_seed_is_short_and_differs_between_commands() -> None:
    """It can be typed again, and equal prompts draw different images."""
    world = World()
    for _ in range(20):
        await world.serve("a boat")
    seeds = {request.job.seed for request in world.topic.sent}
    assert len(seeds) > 15
    assert all(0 <= seed < 2**31 for seed in seeds)
