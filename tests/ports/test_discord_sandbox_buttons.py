"""The loopback Discord against the real discord.py: buttons, and what a bot answers when one is pressed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import discord
import pytest

from services.sandbox.discord import DiscordSandbox, Limits, Refusal
from services.sandbox.discord.client import SandboxDiscord, SandboxRefused
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.messages import Message
from services.sandbox.discord.places import DIRECT, GUILDS, PATRON, PATRONS
from tests.ports.discord_sandbox_bots import ADA, RealBot, nothing, original, running

GRACE = PATRONS[0]
Press = Callable[[discord.Interaction[Any]], Awaitable[Any]]


class ButtonBot(RealBot):
    """Answers ``/serve`` with a message that has one button, and a press as the test says."""

    def __init__(self, pressed: Press = nothing) -> None:
        super().__init__(self._offer)
        self.presses: list[discord.Interaction[Any]] = []
        self._pressed = pressed

    async def _offer(self, interaction: discord.Interaction[Any]) -> None:
        view = discord.ui.View(timeout=None)
        button: discord.ui.Button[discord.ui.View] = discord.ui.Button(label="Go", custom_id="go")

        async def callback(press: discord.Interaction[Any]) -> None:
            self.presses.append(press)
            await self._pressed(press)

        button.callback = callback  # type: ignore[method-assign,assignment]  # discord.py's own way without a class
        view.add_item(button)
        await interaction.response.send_message("Ready", view=view)


async def offered(sandbox: DiscordSandbox, guild_id: str = "") -> Message:
    """The message with the button, once the bot has sent it."""
    request = await sandbox.submit(ADA, "serve", {"prompt": "x"}, guild_id=guild_id)
    interaction = sandbox.world.interactions[request]
    await sandbox.wait_for(lambda world: interaction.original)
    return original(interaction)


async def pressed(sandbox: DiscordSandbox, message: Message, user: str = ADA) -> Interaction:
    """A press that the bot has answered."""
    interaction = sandbox.world.interactions[await sandbox.press(user, message.id, "go")]
    await sandbox.wait_for(lambda world: interaction.answered)
    return interaction


async def in_private(press: discord.Interaction[Any]) -> None:
    """Answer with a message that only the user sees."""
    await press.response.send_message("Gone", ephemeral=True)


async def after_a_thought(press: discord.Interaction[Any]) -> None:
    """Defer in private, then answer."""
    await press.response.defer(ephemeral=True, thinking=True)
    await press.edit_original_response(content="Gone")


async def in_place(press: discord.Interaction[Any]) -> None:
    """Edit the message that has the button."""
    await press.response.edit_message(content="Gone", view=None)


async def quietly(press: discord.Interaction[Any]) -> None:
    """Acknowledge, then edit the message that has the button."""
    await press.response.defer()
    await press.edit_original_response(content="Gone", view=None)


@pytest.mark.parametrize("where", [GUILDS[1], DIRECT])
async def test_the_bot_learns_who_pressed_what_and_whose_message_it_is(
    sandbox: DiscordSandbox, where: str
) -> None:
    """The message comes with the press, and says which interaction of whom it answers."""
    async with running(sandbox, ButtonBot(in_private)) as bot:
        assert isinstance(bot, ButtonBot)
        message = await offered(sandbox, guild_id=where)
        user = ADA if where == DIRECT else GRACE
        await pressed(sandbox, message, user)
        [press] = bot.presses
        assert press.message is not None
        assert (str(press.user.id), str(press.message.id), press.message.content) == (
            user,
            message.id,
            "Ready",
        )
        metadata = press.message.interaction_metadata
        assert metadata is not None
        assert (str(metadata.user.id), str(metadata.id)) == (ADA, message.interaction_id)


@pytest.mark.parametrize("answer", [in_private, after_a_thought])
async def test_a_press_can_be_answered_in_private(sandbox: DiscordSandbox, answer: Press) -> None:
    """At once or after a deferral; the message that has the button stays as it is."""
    async with running(sandbox, ButtonBot(answer)):
        message = await offered(sandbox)
        reply = original(await pressed(sandbox, message))
        await sandbox.wait_for(lambda world: reply.content == "Gone")
        assert (reply.ephemeral, message.content, len(message.components)) == (True, "Ready", 1)


@pytest.mark.parametrize("answer", [in_place, quietly])
async def test_a_press_can_change_the_message_itself(sandbox: DiscordSandbox, answer: Press) -> None:
    """As the answer, or after a silent acknowledgement; no further message appears."""
    async with running(sandbox, ButtonBot(answer)):
        message = await offered(sandbox)
        await pressed(sandbox, message)
        await sandbox.wait_for(lambda world: message.content == "Gone")
        assert (message.components, list(sandbox.world.messages)) == ([], [message.id])


async def test_a_press_that_nobody_answers_fails(sandbox: DiscordSandbox) -> None:
    """Its user is told so after Discord's three seconds."""
    sandbox.world.limits = Limits(answer_seconds=0.1)
    async with running(sandbox, ButtonBot()):
        message = await offered(sandbox)
        interaction = sandbox.world.interactions[await sandbox.press(ADA, message.id, "go")]
        await sandbox.wait_for(lambda world: interaction.failed)


async def test_a_role_comes_with_the_member(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """In its own server only."""
    for guild_id in GUILDS[:2]:
        await sandbox.submit(GRACE, "serve", {"prompt": "x"}, guild_id=guild_id)
    await sandbox.wait_for(lambda world: len(bot.seen) == 2)
    roles = [
        [str(role.id) for role in seen.user.roles]
        for seen in bot.seen
        if isinstance(seen.user, discord.Member)
    ]
    assert roles == [[GUILDS[0], PATRON], [GUILDS[1]]]


async def test_what_is_not_there_cannot_be_pressed(sandbox: DiscordSandbox) -> None:
    """Another button, a message that is gone, one in somebody else's private channel."""
    async with running(sandbox, ButtonBot(in_private)):
        message, private = await offered(sandbox), await offered(sandbox, guild_id=DIRECT)
        with pytest.raises(Refusal, match="button is not there"):
            await sandbox.press(ADA, message.id, "stop")
        with pytest.raises(Refusal, match="message is not there"):
            await sandbox.press(GRACE, private.id, "go")
        message.components[0]["components"][0]["disabled"] = True
        with pytest.raises(Refusal, match="button is not there"):
            await sandbox.press(ADA, message.id, "go")
        sandbox.world.delete(message)
        with pytest.raises(Refusal, match="message is not there"):
            await sandbox.press(ADA, message.id, "go")


async def test_the_page_and_the_client_press_by_the_control_surface(sandbox: DiscordSandbox) -> None:
    """The message's view has its buttons; a press is an interaction without a command."""
    async with running(sandbox, ButtonBot(in_private)) as bot:
        await offered(sandbox)
        [request] = sandbox.world.interactions
        client = SandboxDiscord(sandbox.url)
        [message] = (await bot.loop.run_in_executor(None, client.interaction, request))["messages"]
        press = await bot.loop.run_in_executor(None, client.press, ADA, message, "Go")
        await sandbox.wait_for(lambda world: world.interactions[press].answered)
        seen = await bot.loop.run_in_executor(None, client.interaction, press)
        assert (seen["command"], seen["pressed"], seen["custom_id"]) == ("", message["id"], "go")
        with pytest.raises(SandboxRefused, match="button is not there"):
            await bot.loop.run_in_executor(None, client.press, ADA, message, "Stop")
