"""The loopback Discord against the real discord.py: answers, edits, files, and the ways in which Discord refuses."""

from __future__ import annotations

from typing import Any

import aiohttp
import discord
import pytest

from services.sandbox.discord import DiscordSandbox, Fault, Limits, Route
from services.sandbox.discord.messages import Message
from services.sandbox.discord.places import GUILDS, channel_of
from tests.ports.discord_sandbox_bots import (
    ADA,
    RealBot,
    deferred,
    interaction_seen,
    nothing,
    original,
    picture,
    png,
    running,
    webhook,
)


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
    sandbox.world.limits = Limits(file_limit=size)
    interaction = await deferred(sandbox, bot)
    assert bot.seen[0].filesize_limit == size
    await bot.seen[0].edit_original_response(content="fits", attachments=[picture(), picture()])
    sandbox.world.limits = Limits(file_limit=size - 1)
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


def _names(message: Message) -> list[str]:
    return [attachment["filename"] for attachment in message.attachments]
