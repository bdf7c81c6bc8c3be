"""The Cancel button and ``/cancel``, with the real discord.py against the loopback Discord."""

from __future__ import annotations

import pytest

from services.chassis.retry import SendFailed
from services.contracts.controls import CANCEL_LABEL, cancel_id
from services.ingest_bot import decide, wording
from services.sandbox.discord import DiscordSandbox, Fault, Route, Upload
from services.sandbox.discord.places import DIRECT, GUILDS, PATRON, PATRONS
from services.sandbox.discord.world import stamp
from tests.harness.waiting import eventually_async
from tests.ports.ingest_bots import USER, answer_to, running

GRACE = PATRONS[0]


async def test_a_queued_request_has_a_button_that_takes_it_back(sandbox: DiscordSandbox) -> None:
    """The broker has the cancellation, and the user alone reads so; the message itself stays the notifier's."""
    async with running(sandbox) as bot:
        request = await bot.serve("a boat")
        message = answer_to(request)
        [[button]] = [row["components"] for row in message.components]
        assert (button["label"], button["custom_id"]) == (CANCEL_LABEL, cancel_id(request.id))
        reply = answer_to(await bot.press(USER, message))
        assert [(event.request_id, event.user_id) for event in bot.cancelled] == [(request.id, USER)]
        assert (reply.ephemeral, reply.content) == (True, wording.CANCELLING)
        assert message.content == "Queued: **a boat**"


@pytest.mark.parametrize(("where", "shard"), [(GUILDS[2], "2"), (DIRECT, "0")])
async def test_the_button_works_after_a_restart_and_in_any_process(
    sandbox: DiscordSandbox, where: str, shard: str
) -> None:
    """Its id is all that is needed; the process that sent the request is gone."""
    async with running(sandbox) as first:
        message = answer_to(await first.serve("a boat", guild_id=where))
    env = {"DISCORD_SHARD_COUNT": "3", "DISCORD_SHARD_IDS": shard}
    async with running(sandbox, env) as second:
        reply = answer_to(await second.press(USER, message))
        assert (reply.content, len(second.cancelled)) == (wording.CANCELLING, 1)


async def test_a_button_takes_no_memory_of_the_bot(sandbox: DiscordSandbox) -> None:
    """discord.py keeps a view for as long as it may be pressed, and this one may be for ever."""
    async with running(sandbox) as bot:
        await bot.press(USER, answer_to(await bot.serve("a boat")))
        store = bot.bot._connection._view_store
        assert (store._views, store._synced_message_views) == ({}, {})


async def test_only_the_requester_may_cancel(sandbox: DiscordSandbox) -> None:
    """Discord says with the press whose message it is."""
    async with running(sandbox) as bot:
        reply = answer_to(await bot.press(GRACE, answer_to(await bot.serve("a boat"))))
        assert (reply.ephemeral, reply.content) == (True, decide.NOT_YOURS)
        assert bot.cancelled == []


async def test_a_slow_broker_is_answered_for_in_time_and_one_that_is_away_is_told(
    sandbox: DiscordSandbox,
) -> None:
    """Discord waits three seconds for an answer to a press too."""
    async with running(sandbox, hold_seconds=0.1) as bot:
        message = answer_to(await bot.serve("a boat"))
        bot.gate.clear()
        bot.error = SendFailed("no broker")
        reply = answer_to(await bot.press(USER, message))
        assert (reply.ephemeral, reply.thinking) == (True, True)
        bot.gate.set()
        await sandbox.wait_for(lambda world: reply.content == wording.NOT_CANCELLED)


async def test_a_message_that_is_held_can_be_cancelled_and_one_that_failed_cannot(
    sandbox: DiscordSandbox,
) -> None:
    """The button goes with the sentence that nothing was queued."""
    async with running(sandbox) as bot:
        attached = {"image": Upload(filename="a.png", body=b"<svg/>" * 50)}
        message = answer_to(await bot.serve("a boat", uploads=attached))
        await sandbox.wait_for(lambda world: message.edited)
        assert (bot.sent, message.components) == ([], [])
        bot.gate.clear()
        held = answer_to(await bot.serve("a boat"))
        assert held.content.startswith("Queueing")
        assert len(held.components) == 1


async def test_the_command_takes_back_the_newest_request_that_has_not_ended(sandbox: DiscordSandbox) -> None:
    """By its message: the notifier's final edit took the button of the later one away."""
    async with running(sandbox) as bot:
        open_, ended = await bot.serve("a boat"), await bot.serve("a lighthouse")
        sandbox.world.edit(answer_to(ended), {"content": "done", "components": []}, {}, "edit", stamp())
        reply = answer_to(await bot.send("cancel", {}))
        await sandbox.wait_for(lambda world: reply.content)
        assert [event.request_id for event in bot.cancelled] == [open_.id]
        assert reply.ephemeral
        assert reply.content == wording.cancelling("a boat")


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(cut=True), Fault(status=401)])
async def test_where_discord_does_not_say_the_request_counts_as_open(
    sandbox: DiscordSandbox, fault: Fault
) -> None:
    """A cancellation of what has ended changes nothing, one that is not sent leaves a job running."""
    async with running(sandbox) as bot:
        await bot.serve("a boat")
        sandbox.arm(Fault(route=Route.ORIGINAL, status=fault.status, cut=fault.cut))
        reply = answer_to(await bot.send("cancel", {}))
        await sandbox.wait_for(lambda world: reply.content)
        assert len(bot.cancelled) == 1


async def test_without_a_request_the_command_points_to_the_button(sandbox: DiscordSandbox) -> None:
    """In private, and at once."""
    async with running(sandbox) as bot:
        reply = answer_to(await bot.send("cancel", {}))
        assert (reply.ephemeral, reply.content) == (True, wording.NOTHING_TO_CANCEL)


async def test_a_role_gives_its_plan_in_the_server_that_has_it(sandbox: DiscordSandbox) -> None:
    """The bot needs no intent for it: roles come with the interaction."""
    async with running(sandbox, {"DISCORD_PLANS": f"{PATRON}=patron, {USER}=staff"}) as bot:
        for user, guild_id in ((GRACE, GUILDS[0]), (GRACE, GUILDS[1]), (GRACE, DIRECT), (USER, GUILDS[1])):
            await sandbox.submit(user, "serve", {"prompt": "a boat"}, guild_id=guild_id)
        await eventually_async(lambda: len(bot.sent) == 4)
        plans = {(r.reply_to.user_id, r.reply_to.guild_id): r.plan for r in bot.sent}
        assert plans == {
            (GRACE, GUILDS[0]): "patron",
            (GRACE, GUILDS[1]): "free",
            (GRACE, None): "free",
            (USER, GUILDS[1]): "staff",
        }
