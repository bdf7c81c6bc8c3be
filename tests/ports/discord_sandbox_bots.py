"""Real discord.py bots on the loopback Discord, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import discord
import pytest
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route as ClientRoute
from PIL import Image

from services.sandbox.discord import DiscordSandbox, SandboxSettings
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.messages import Message
from services.sandbox.discord.places import APPLICATION_ID
from tests.harness.waiting import eventually_async

ADA = "100000000000000001"
Answer = Callable[[discord.Interaction[Any]], Awaitable[None]]


class RealBot(discord.AutoShardedClient):
    """A bot with ``/serve`` and ``/look``; what it does with an interaction is the test's affair."""

    def __init__(
        self, answer: Answer | None = None, *, shards: int = 1, shard_ids: list[int] | None = None
    ) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True),
            shard_count=shards,
            shard_ids=shard_ids,  # type: ignore[arg-type]  # None is its default
            max_messages=None,
            guild_ready_timeout=0.0,
        )
        self.tree = app_commands.CommandTree(self)
        self.seen: list[discord.Interaction[Any]] = []
        self.options: list[dict[str, Any]] = []
        self.connections = 0  #: READY events
        self.resumes = 0
        self._answer = answer or defer
        self._add_commands()

    def _add_commands(self) -> None:
        @self.tree.command(name="serve", description="Draw images from words")
        @app_commands.choices(model=[app_commands.Choice(name="SD 1.5", value="sd15")])
        async def serve(
            interaction: discord.Interaction[Any],
            prompt: app_commands.Range[str, 1, 4000],
            images: app_commands.Range[int, 1, 4] | None = None,
            model: str | None = None,
            denoise: app_commands.Range[float, 0.0, 1.0] | None = None,
        ) -> None:
            self.options.append({"prompt": prompt, "images": images, "model": model, "denoise": denoise})
            await self._take(interaction)

        @self.tree.command(name="look", description="Look at a file")
        async def look(interaction: discord.Interaction[Any], file: discord.Attachment) -> None:
            self.options.append({"file": file})
            await self._take(interaction)

    async def setup_hook(self) -> None:
        """Register the commands."""
        await self.tree.sync()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Do not wait 5 s between shards, which the real Discord asks for and the loopback one does not."""

    async def on_shard_ready(self, shard_id: int) -> None:
        """A session began."""
        self.connections += 1

    async def on_shard_resumed(self, shard_id: int) -> None:
        """A session went on."""
        self.resumes += 1

    async def _take(self, interaction: discord.Interaction[Any]) -> None:
        self.seen.append(interaction)
        await self._answer(interaction)


async def defer(interaction: discord.Interaction[Any]) -> None:
    """Say that an answer will come."""
    await interaction.response.defer(thinking=True)


async def nothing(interaction: discord.Interaction[Any]) -> None:
    """Leave the user waiting."""


@contextlib.asynccontextmanager
async def loopback_discord(
    monkeypatch: pytest.MonkeyPatch, settings: SandboxSettings | None = None
) -> AsyncIterator[DiscordSandbox]:
    """A loopback Discord to which every client of this process is pointed."""
    sandbox = DiscordSandbox(settings)
    await sandbox.start()
    monkeypatch.setattr(ClientRoute, "BASE", sandbox.api_base_url)
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(sandbox.gateway_url))
    yield sandbox
    await sandbox.stop()


@contextlib.asynccontextmanager
async def running(sandbox: DiscordSandbox, bot: RealBot) -> AsyncIterator[RealBot]:
    """Run a bot until the block ends; it has begun a session on each of its shards."""
    task = asyncio.create_task(bot.start(sandbox.world.settings.bot_token))
    shards = len(bot.shard_ids or range(bot.shard_count or 1))
    try:
        await eventually_async(lambda: task.done() or bot.connections >= shards)
        if task.done():
            await task
        yield bot
    finally:
        await bot.close()
        await asyncio.gather(task, return_exceptions=True)


async def interaction_seen(bot: RealBot, count: int = 1) -> discord.Interaction[Any]:
    """The bot's ``count``-th interaction, once it has answered it."""
    await eventually_async(lambda: len(bot.seen) >= count and bot.seen[count - 1].response.is_done())
    return bot.seen[count - 1]


def picture(shade: int = 0, name: str = "image.png") -> discord.File:
    """A small real PNG."""
    return discord.File(io.BytesIO(png(shade)), filename=name)


def png(shade: int = 0, width: int = 8, height: int = 6) -> bytes:
    """The bytes of a small real PNG."""
    data = io.BytesIO()
    Image.new("RGB", (width, height), (shade, shade, shade)).save(data, "PNG")
    return data.getvalue()


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
