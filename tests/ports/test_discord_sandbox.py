"""The loopback Discord against the real discord.py: REST, gateway, shards, and the ways in which Discord refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import discord
import pytest
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route as ClientRoute

from services.sandbox.discord import DiscordSandbox, Disturbance, Fault, Refusal, Route, Upload
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.messages import Message
from services.sandbox.discord.places import APPLICATION_ID, DIRECT, GUILDS, channel_of
from services.sandbox.discord.world import World
from tests.harness.waiting import eventually_async
from tests.ports.discord_sandbox_bots import (
    ADA,
    RealBot,
    defer,
    interaction_seen,
    nothing,
    picture,
    png,
    running,
)


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscordSandbox]:
    """A loopback Discord to which every client of this process is pointed."""
    discord_sandbox = DiscordSandbox()
    await discord_sandbox.start()
    monkeypatch.setattr(ClientRoute, "BASE", discord_sandbox.api_base_url)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(discord_sandbox.gateway_url))
    yield discord_sandbox
    await discord_sandbox.stop()


@pytest.fixture
async def bot(sandbox: DiscordSandbox) -> AsyncIterator[RealBot]:
    """A connected bot that defers."""
    async with running(sandbox, RealBot()) as started:
        yield started


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that is no bot."""
    async with aiohttp.ClientSession() as client:
        yield client


async def deferred(sandbox: DiscordSandbox, bot: RealBot, prompt: str = "a lighthouse") -> Interaction:
    """An interaction that the bot has deferred."""
    interaction_id = await sandbox.submit(ADA, "serve", {"prompt": prompt})
    await sandbox.wait_for(lambda world: world.interactions[interaction_id].answered)
    await interaction_seen(bot, len(bot.seen) or 1)
    return sandbox.world.interactions[interaction_id]


def webhook(interaction: Interaction, session: aiohttp.ClientSession) -> Any:
    """The interaction's webhook in another process, which knows no more than application id and token.

    Untyped: discord.py's annotations leave out that a message's id may be ``@original``.
    """
    return discord.Webhook.partial(int(APPLICATION_ID), interaction.token, session=session)


def original(interaction: Interaction) -> Message:
    """The original response, which must be there."""
    assert interaction.original is not None
    return interaction.original


async def test_a_deferred_command_becomes_four_images(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """Slash command, defer, edit with four files, follow-up: the whole course of a request."""
    interaction_id = await sandbox.submit(
        ADA, "serve", {"prompt": "a lighthouse", "images": 4, "model": "SD 1.5"}
    )
    seen = await interaction_seen(bot)
    assert str(seen.id) == interaction_id
    assert bot.options == [{"prompt": "a lighthouse", "images": 4, "model": "sd15", "denoise": None}]
    assert sandbox.world.interactions[interaction_id].original is not None
    assert original(sandbox.world.interactions[interaction_id]).thinking

    edited = await seen.edit_original_response(content="done", attachments=[picture(n) for n in range(4)])
    follow_up = await seen.followup.send("and more", wait=True)

    message = original(sandbox.world.interactions[interaction_id])
    assert (message.content, message.thinking, len(message.attachments)) == ("done", False, 4)
    assert [attachment.content_type for attachment in edited.attachments] == ["image/png"] * 4
    assert (edited.attachments[0].width, edited.attachments[0].height) == (8, 6)
    assert [m.id for m in sandbox.world.interactions[interaction_id].messages] == [
        str(edited.id),
        str(follow_up.id),
    ]


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


async def test_a_first_answer_can_be_a_message(sandbox: DiscordSandbox) -> None:
    """Callback type 4, private and with a file; an edit keeps it private."""

    async def say(interaction: discord.Interaction[Any]) -> None:
        await interaction.response.send_message("only for you", ephemeral=True, file=picture())

    async with running(sandbox, RealBot(say)) as bot:
        interaction_id = await sandbox.submit(ADA, "serve", {"prompt": "x"})
        seen = await interaction_seen(bot)
        message = original(sandbox.world.interactions[interaction_id])
        assert (message.content, message.ephemeral, len(message.attachments)) == ("only for you", True, 1)
        await seen.edit_original_response(content="still only for you")
        assert (message.content, message.ephemeral, len(message.attachments)) == (
            "still only for you",
            True,
            1,
        )


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
    sandbox.world.limits = type(sandbox.world.limits)(answer_seconds=0.05)
    async with running(sandbox, RealBot(nothing)):
        interaction_id = await sandbox.submit(ADA, "serve", {"prompt": "x"})
        assert await sandbox.wait_for(lambda world: world.interactions[interaction_id].failed)


async def test_an_edit_before_the_answer_knows_no_webhook(
    sandbox: DiscordSandbox, session: aiohttp.ClientSession
) -> None:
    """404/10015 until the interaction is acknowledged."""
    async with running(sandbox, RealBot(nothing)):
        interaction_id = await sandbox.submit(ADA, "serve", {"prompt": "x"})
        hook = webhook(sandbox.world.interactions[interaction_id], session)
        with pytest.raises(discord.NotFound) as caught:
            await hook.edit_message("@original", content="early")
        assert caught.value.code == 10015


async def test_another_process_delivers_with_the_token_alone(
    sandbox: DiscordSandbox, bot: RealBot, session: aiohttp.ClientSession
) -> None:
    """Editing and following up take the application id and the token, and neither bot token nor gateway."""
    interaction = await deferred(sandbox, bot)
    hook = webhook(interaction, session)
    await hook.edit_message("@original", content="here", attachments=[picture()])
    await hook.send("more", wait=True)
    assert [message.content for message in interaction.messages] == ["here", "more"]
    assert len(original(interaction).attachments) == 1


async def test_an_expired_token_is_refused(
    sandbox: DiscordSandbox, bot: RealBot, session: aiohttp.ClientSession
) -> None:
    """401/50027 when its 15 minutes are over, and for a token that a test let expire."""
    aged, ended = await deferred(sandbox, bot), await deferred(sandbox, bot)
    sandbox.world.expire(ended.id)
    await webhook(aged, session).edit_message("@original", content="in time")
    with pytest.raises(discord.HTTPException) as caught:
        await webhook(ended, session).edit_message("@original", content="late")
    assert (caught.value.status, caught.value.code) == (401, 50027)
    sandbox.world.advance(15 * 60)
    with pytest.raises(discord.HTTPException) as caught:
        await webhook(aged, session).send("late", wait=True)
    assert (caught.value.status, caught.value.code) == (401, 50027)


async def test_a_deleted_answer_is_unknown(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """404/10008 once it is gone, for reading and for editing."""
    interaction = await deferred(sandbox, bot)
    assert (await bot.seen[0].original_response()).id == int(original(interaction).id)
    await bot.seen[0].delete_original_response()
    with pytest.raises(discord.NotFound) as caught:
        await bot.seen[0].edit_original_response(content="x")
    assert caught.value.code == 10008
    assert sandbox.world.messages == {}


async def test_a_follow_up_right_after_a_deferral_fills_the_deferred_message(
    sandbox: DiscordSandbox, bot: RealBot
) -> None:
    """As on Discord: no second message appears, and its privacy is the deferral's."""
    interaction = await deferred(sandbox, bot)
    await bot.seen[0].followup.send("the answer", ephemeral=True, wait=True)
    assert len(interaction.messages) == 1
    assert (original(interaction).content, original(interaction).ephemeral) == ("the answer", False)


async def test_an_edit_replaces_attachments_only_when_it_lists_them(
    sandbox: DiscordSandbox, bot: RealBot
) -> None:
    """Without ``attachments`` they stay; with it, what is not listed goes."""
    interaction = await deferred(sandbox, bot)
    seen = bot.seen[0]
    first = await seen.edit_original_response(attachments=[picture(1, "a.png"), picture(2, "b.png")])
    await seen.edit_original_response(content="text only")
    assert _names(original(interaction)) == ["a.png", "b.png"]
    await seen.edit_original_response(attachments=[first.attachments[1], picture(3, "c.png")])
    assert _names(original(interaction)) == ["b.png", "c.png"]
    await seen.edit_original_response(attachments=[])
    assert _names(original(interaction)) == []


async def test_text_of_more_than_2000_characters_is_refused(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """400/50035, and the message stays as it was; 2000 are accepted."""
    interaction = await deferred(sandbox, bot)
    await bot.seen[0].edit_original_response(content="x" * 2000)
    with pytest.raises(discord.HTTPException, match="Must be 2000 or fewer in length") as caught:
        await bot.seen[0].edit_original_response(content="y" * 2001)
    assert (caught.value.status, caught.value.code) == (400, 50035)
    assert original(interaction).content == "x" * 2000


async def test_a_file_over_the_limit_is_refused(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """413/40005; the limit is each file's, as since 2025, and the message stays as it was."""
    size = len(png())
    sandbox.world.limits = type(sandbox.world.limits)(file_limit=size)
    interaction = await deferred(sandbox, bot)
    assert bot.seen[0].filesize_limit == size
    await bot.seen[0].edit_original_response(content="fits", attachments=[picture(), picture()])
    sandbox.world.limits = type(sandbox.world.limits)(file_limit=size - 1)
    with pytest.raises(discord.HTTPException) as caught:
        await bot.seen[0].edit_original_response(content="too large", attachments=[picture()])
    assert (caught.value.status, caught.value.code) == (413, 40005)
    assert (original(interaction).content, len(original(interaction).attachments)) == ("fits", 2)


async def test_a_rate_limit_is_waited_out(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """discord.py takes the 429 for a rate limit, not for a ban, and tries again."""
    interaction = await deferred(sandbox, bot)
    sandbox.arm(Fault(route=Route.EDIT, status=429, retry_after=0.02, times=2))
    await bot.seen[0].edit_original_response(content="at last")
    assert original(interaction).content == "at last"
    assert sandbox.world.counters[Route.EDIT] == 3


async def test_an_endless_rate_limit_is_given_up(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """The webhook client gives up after five tries."""
    await deferred(sandbox, bot)
    sandbox.arm(Fault(route=Route.EDIT, status=429, retry_after=0.01, times=0))
    with pytest.raises(discord.HTTPException) as caught:
        await bot.seen[0].edit_original_response(content="never")
    assert caught.value.status == 429
    assert sandbox.world.counters[Route.EDIT] == 5


async def test_a_fault_can_strike_one_interaction_only(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """Others pass the armed fault by."""
    spared, struck = await deferred(sandbox, bot), await deferred(sandbox, bot)
    sandbox.arm(Fault(route=Route.EDIT, interaction_id=struck.id, status=403))
    await bot.seen[0].edit_original_response(content="passes")
    with pytest.raises(discord.Forbidden) as caught:
        await bot.seen[1].edit_original_response(content="does not")
    assert caught.value.code == 50013
    assert (original(spared).content, original(struck).content) == ("passes", "")


async def test_an_enforced_nonce_posts_once(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """The same nonce gives the same message, and whom it pings is recorded."""
    channel = bot.get_partial_messageable(int(channel_of(GUILDS[0])))
    only_ada = discord.AllowedMentions(everyone=False, roles=False, users=[discord.Object(int(ADA))])
    text = f"<@{ADA}> <@100000000000000002> @everyone your images"
    sent = [
        await channel.send(text, nonce="n1", allowed_mentions=only_ada, files=[picture()]) for _ in range(2)
    ]
    assert sent[0].id == sent[1].id
    (message,) = sandbox.world.messages.values()
    assert message.pinged == (ADA,)
    assert message.allowed_mentions == {"parse": [], "users": [int(ADA)], "replied_user": True}
    assert (await channel.send(text, nonce="n2")).id != sent[0].id


async def test_a_nonce_is_forgotten_after_some_minutes(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """Discord looks back only so far."""
    channel = bot.get_partial_messageable(int(channel_of(GUILDS[0])))
    first = await channel.send("one", nonce="n1")
    sandbox.world.advance(sandbox.world.limits.nonce_seconds)
    assert (await channel.send("two", nonce="n1")).id != first.id


async def test_a_lost_answer_leaves_its_effect(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """The message is there though the client never heard of it, so only the nonce keeps a retry from posting twice."""
    channel = bot.get_partial_messageable(int(channel_of(GUILDS[0])))
    sandbox.arm(Fault(route=Route.POST, lose_answer=True))
    with pytest.raises(aiohttp.ClientError):
        await channel.send("once", nonce="n1")
    assert len(sandbox.world.messages) == 1
    again = await channel.send("once", nonce="n1")
    assert list(sandbox.world.messages) == [str(again.id)]


async def test_posting_needs_the_bots_token_and_a_channel(
    sandbox: DiscordSandbox, bot: RealBot, session: aiohttp.ClientSession
) -> None:
    """401 without the token, 404/10003 for a channel that is not there."""
    url = f"{sandbox.api_base_url}/channels/{channel_of(GUILDS[0])}/messages"
    async with session.post(url, json={"content": "x"}) as answer:
        assert answer.status == 401
    with pytest.raises(discord.NotFound) as caught:
        await bot.get_partial_messageable(12345).send("x")
    assert caught.value.code == 10003


async def test_every_state_of_a_message_is_kept_with_its_times(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """Interaction and edits carry monotonic and epoch instants of one machine, in order."""
    interaction = await deferred(sandbox, bot)
    await bot.seen[0].edit_original_response(content="50 %")
    await bot.seen[0].edit_original_response(content="done", attachments=[picture()])
    history = original(interaction).history
    assert [(edit.how, edit.content, edit.attachments) for edit in history] == [
        ("callback", "", 0),
        ("edit", "50 %", 0),
        ("edit", "done", 1),
    ]
    instants = [interaction.created.at, *(edit.at for edit in history)]
    assert instants == sorted(instants)
    assert instants[-1] - instants[0] == pytest.approx(
        history[-1].epoch - interaction.created.epoch, abs=0.05
    )


async def test_filling_a_deferral_is_no_edit_to_readers(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """Only a change of what could be read marks the message as edited."""
    await deferred(sandbox, bot)
    assert (await bot.seen[0].edit_original_response(content="first")).edited_at is None
    assert (await bot.seen[0].edit_original_response(content="second")).edited_at is not None


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


def _names(message: Message) -> list[str]:
    return [attachment["filename"] for attachment in message.attachments]
