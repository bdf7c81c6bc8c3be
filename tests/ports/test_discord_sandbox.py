"""The loopback Discord against the real discord.py: connecting, shards, resumes, and commands on their way."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import discord
import pytest

from services.sandbox.discord import DiscordSandbox, Disturbance, Limits, Refusal, Route, Upload
from services.sandbox.discord.places import DIRECT, GUILDS, channel_of
from services.sandbox.discord.world import World
from tests.harness.waiting import eventually_async
from tests.ports.discord_sandbox_bots import (
    ADA,
    RealBot,
    defer,
    deferred,
    interaction_seen,
    nothing,
    png,
    running,
)


async def test_the_bot_learns_who_asks_and_where(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """User, server, channel, file limit and creation time arrive with the interaction."""
    interaction_id = await sandbox.submit(ADA, "serve", {"prompt": "x"}, guild_id=GUILDS[1])
    seen = await interaction_seen(bot)
    assert (str(seen.user.id), seen.user.display_name) == (ADA, "Ada")
    assert (str(seen.guild_id), str(seen.channel_id)) == (GUILDS[1], channel_of(GUILDS[1]))
    assert seen.filesize_limit == 10 * 1024 * 1024
    created = sandbox.world.interactions[interaction_id].created.epoch
    assert abs(seen.created_at.timestamp() - created) < 1


async def test_a_direct_message_has_no_server(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """A command sent to the bot in private arrives with a user instead of a member."""
    await sandbox.submit(ADA, "serve", {"prompt": "x"}, guild_id=DIRECT)
    seen = await interaction_seen(bot)
    assert seen.guild_id is None
    assert str(seen.user.id) == ADA


async def test_an_attached_file_is_read_by_the_bot(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """An attachment option comes resolved, with an address on this machine and the file's real type."""
    upload = Upload(filename="my photo.jpg", body=png(9))
    await sandbox.submit(ADA, "look", {}, uploads={"file": upload})
    await interaction_seen(bot)
    attachment = bot.options[0]["file"]
    assert (attachment.filename, attachment.content_type) == ("my_photo.jpg", "image/png")
    assert await attachment.read() == upload.body


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("draw", {"prompt": "x"}, "The bot has registered no /draw; it has /serve, /look."),
        (
            "serve",
            {"prompt": "x", "steps": 3},
            "/serve has no option steps; it has prompt, images, model, denoise.",
        ),
        ("serve", {}, "/serve needs the option prompt."),
        ("serve", {"prompt": "x", "images": 5}, "The option images must be an integer from 1 to 4, not '5'."),
    ],
)
async def test_what_is_not_registered_cannot_be_sent(
    sandbox: DiscordSandbox, bot: RealBot, command: str, options: dict[str, Any], sentence: str
) -> None:
    """A command, an option or a value that the bot's registration does not have is refused to the user."""
    with pytest.raises(Refusal) as caught:
        await sandbox.submit(ADA, command, options)
    assert str(caught.value) == sentence
    assert bot.seen == []


async def test_nothing_can_be_sent_to_an_absent_bot(sandbox: DiscordSandbox) -> None:
    """Without a session of the server's shard there is nobody to send a command to."""
    with pytest.raises(Refusal, match="not connected"):
        await sandbox.submit(ADA, "serve", {"prompt": "x"})


async def test_a_bot_that_signed_off_is_absent_at_once(sandbox: DiscordSandbox) -> None:
    """A clean close ends the session, so nothing waits for a resume."""
    async with running(sandbox, RealBot()):
        assert sandbox.connected(GUILDS[0])
    await eventually_async(lambda: not sandbox.connected(GUILDS[0]))
    with pytest.raises(Refusal, match="not connected"):
        await sandbox.submit(ADA, "serve", {"prompt": "x"})


async def test_two_clients_with_a_shard_each_get_only_their_servers(sandbox: DiscordSandbox) -> None:
    """``(guild_id >> 22) % shards`` decides who hears of a server and of its commands."""
    first, second = RealBot(shards=2, shard_ids=[0]), RealBot(shards=2, shard_ids=[1])
    async with running(sandbox, first), running(sandbox, second):
        assert {str(guild.id) for guild in first.guilds} == {GUILDS[0], GUILDS[2]}
        assert {str(guild.id) for guild in second.guilds} == {GUILDS[1]}
        for guild_id in GUILDS:
            await sandbox.submit(ADA, "serve", {"prompt": guild_id}, guild_id=guild_id)
        await sandbox.wait_for(lambda world: all(i.answered for i in world.interactions.values()))
    assert [options["prompt"] for options in first.options] == [GUILDS[0], GUILDS[2]]
    assert [options["prompt"] for options in second.options] == [GUILDS[1]]


@pytest.mark.parametrize("how", [Disturbance.RECONNECT, Disturbance.ABORT])
async def test_a_resume_loses_and_repeats_nothing(
    sandbox: DiscordSandbox, bot: RealBot, how: Disturbance
) -> None:
    """What is sent while the connection breaks arrives after the resume, once, in the same session."""
    await deferred(sandbox, bot, "before")
    sandbox.disturb(how)
    for prompt in ("during 1", "during 2"):
        await sandbox.submit(ADA, "serve", {"prompt": prompt})
    await eventually_async(lambda: bot.resumes == 1)
    await sandbox.submit(ADA, "serve", {"prompt": "after"})
    await eventually_async(lambda: len(bot.options) >= 4)
    assert [options["prompt"] for options in bot.options] == ["before", "during 1", "during 2", "after"]
    assert bot.connections == 1


async def test_an_invalidated_session_begins_anew(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """After op 9 the client identifies again and goes on."""
    sandbox.disturb(Disturbance.INVALIDATE)
    await eventually_async(lambda: bot.connections == 2)
    await deferred(sandbox, bot)
    assert bot.resumes == 0


async def test_one_shard_can_be_disturbed_alone(sandbox: DiscordSandbox) -> None:
    """A disturbance with a shard leaves the others connected."""
    async with running(sandbox, RealBot(shards=2)) as bot:
        sandbox.disturb(Disturbance.RECONNECT, shard=1)
        await eventually_async(lambda: bot.resumes == 1)
        assert bot.connections == 2


async def test_a_wrong_token_cannot_sign_in(sandbox: DiscordSandbox) -> None:
    """REST answers 401, which discord.py takes for what it is."""
    with pytest.raises(discord.LoginFailure):
        await RealBot().start("another-token")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": 2, "d": {"token": "another-token"}}, 4004),
        ({"op": 2, "d": {"token": "sandbox-bot-token", "shard": [3, 3]}}, 4010),
        ({"op": 3, "d": {}}, 4003),
        (["no object"], 4002),
    ],
)
async def test_the_gateway_closes_with_discords_codes(
    sandbox: DiscordSandbox, session: aiohttp.ClientSession, frame: Any, code: int
) -> None:
    """A bad token, a bad shard, a frame before identifying, a frame that is none."""
    async with session.ws_connect(f"{sandbox.gateway_url}?v=10&encoding=json") as ws:
        assert (await ws.receive_json())["op"] == 10
        await ws.send_json(frame)
        while (await ws.receive()).type != aiohttp.WSMsgType.CLOSE:
            pass
        assert ws.close_code == code


async def test_a_second_acknowledgement_is_refused(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """400/40060; the first answer stands."""
    await deferred(sandbox, bot)
    twin = bot.seen[0].response
    twin._response_type = None  # as a second process would see it
    with pytest.raises(discord.HTTPException) as caught:
        await twin.send_message("again")
    assert (caught.value.status, caught.value.code) == (400, 40060)


async def test_an_answer_after_three_seconds_is_too_late(sandbox: DiscordSandbox) -> None:
    """404/10062, and the user has been told that the application did not respond."""
    async with running(sandbox, RealBot(nothing)) as bot:
        interaction_id = await sandbox.submit(ADA, "serve", {"prompt": "x"})
        await eventually_async(lambda: bot.seen)
        sandbox.world.advance(3.0)
        assert sandbox.world.interactions[interaction_id].failed
        with pytest.raises(discord.NotFound) as caught:
            await defer(bot.seen[0])
        assert caught.value.code == 10062


async def test_the_user_is_told_when_nobody_answers(sandbox: DiscordSandbox) -> None:
    """The interaction fails by itself after the answer time."""
    sandbox.world.limits = Limits(answer_seconds=0.05)
    async with running(sandbox, RealBot(nothing)):
        interaction_id = await sandbox.submit(ADA, "serve", {"prompt": "x"})
        assert await sandbox.wait_for(lambda world: world.interactions[interaction_id].failed)


async def test_waiting_on_a_condition_ends_at_its_deadline(sandbox: DiscordSandbox) -> None:
    """A condition that never comes true is a TimeoutError, not a hang."""

    def never(world: World) -> bool:
        return False

    with pytest.raises(TimeoutError):
        await sandbox.wait_for(never, seconds=0.01)


async def test_a_registration_keeps_ids_and_forgets_what_is_gone(
    sandbox: DiscordSandbox, bot: RealBot
) -> None:
    """PUT replaces the whole set; a command that stays keeps its id."""
    before = {command.name: command.id for command in await bot.tree.fetch_commands()}
    bot.tree.remove_command("look")
    await bot.tree.sync()
    after = {command.name: command.id for command in await bot.tree.fetch_commands()}
    assert after == {"serve": before["serve"]}


async def test_two_hundred_commands_at_once_are_all_answered(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """A burst is answered in full, each command once."""
    await asyncio.gather(*(sandbox.submit(ADA, "serve", {"prompt": str(n)}) for n in range(200)))
    await sandbox.wait_for(lambda world: all(i.answered for i in world.interactions.values()))
    assert sandbox.world.counters[Route.CALLBACK] == 200
    assert sorted(int(options["prompt"]) for options in bot.options) == list(range(200))
