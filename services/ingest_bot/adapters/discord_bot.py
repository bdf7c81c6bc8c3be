"""The gateway client: connects shards, and hands each slash command to `Intake`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from services.chassis import metrics as m
from services.chassis.health import Health
from services.chassis.logs import get_logger
from services.chassis.settings import SettingsError
from services.contracts.errors import RetryableError
from services.ingest_bot import wording
from services.ingest_bot.adapters.cancel_button import CancelButton
from services.ingest_bot.adapters.conversation import (
    NOBODY,
    DiscordAttachment,
    DiscordConversation,
    Interaction,
)
from services.ingest_bot.adapters.discord_outage import discord_answers
from services.ingest_bot.adapters.slash_commands import SERVE, SERVE_HELP, register, serve_command, text_of
from services.ingest_bot.agents import Intake
from services.ingest_bot.decide import Command
from services.ingest_bot.recall import CANCEL, Recall
from services.ingest_bot.settings import IngestSettings
from services.ingest_bot.templates.catalogue import Catalogue

log = get_logger()

#: A call that Discord wants delayed for longer fails instead; the least that discord.py takes.
LONGEST_RATE_LIMIT_SECONDS = 30.0
DOWNLOAD_SECONDS = 20.0


class DiscordUnreachable(RetryableError):
    """Discord does not answer at the start; a later start can succeed."""


class Bot(discord.AutoShardedClient):
    """A client that keeps nothing: interactions bring all that is needed, and need no intent."""

    def __init__(
        self,
        intake: Intake,
        recall: Recall,
        catalogue: Catalogue,
        settings: IngestSettings,
        metrics: m.Metrics,
        health: Health,
    ) -> None:
        sharding: dict[str, Any] = {"shard_count": settings.discord_shard_count or None}
        if settings.discord_shard_ids:
            sharding["shard_ids"] = list(settings.discord_shard_ids)
        _quieten()
        super().__init__(
            intents=discord.Intents.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_RATE_LIMIT_SECONDS,
            guild_ready_timeout=0.0,
            allowed_mentions=NOBODY,
            **sharding,
        )
        self._intake = intake
        self._recall = recall
        self._settings = settings
        self.metrics = metrics
        self._health = health
        self._connected: set[int] = set()
        self._closing = asyncio.Event()
        self._downloads: aiohttp.ClientSession | None = None
        help_text = wording.help_text(catalogue)
        self.tree = _Tree(self)
        self.tree.add_command(serve_command(catalogue, self._serve))
        self.tree.add_command(self._cancel_command())
        self.tree.add_command(_help_command(help_text))
        self.add_dynamic_items(CancelButton)

    async def run_until_closed(self) -> None:
        """Wait until Discord answers, log in and stay connected until `close`.

        Raises:
            SettingsError: Discord refuses the token.
            DiscordUnreachable: Discord went away between its first answer and the login.
        """
        self._health.not_ready("not connected to Discord yet")
        if self._settings.discord_api_base_url:
            Route.BASE = self._settings.discord_api_base_url.rstrip("/")
        if not await discord_answers(Route.BASE, self._health, self._closing):
            return
        try:
            await self.start(self._settings.discord_token.reveal())
        except discord.LoginFailure as error:
            why = "DISCORD_TOKEN: Discord refuses it; copy it anew from the developer portal."
            raise SettingsError(why) from error
        except (aiohttp.ClientError, discord.GatewayNotFound, discord.DiscordServerError, OSError) as error:
            raise DiscordUnreachable(f"Discord does not answer at {Route.BASE} ({error!r}).") from error

    async def setup_hook(self) -> None:
        """Between login and the first shard: find the gateway, register the commands."""
        self._downloads = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DOWNLOAD_SECONDS))
        shards, gateway, _ = await self.http.get_bot_gateway()
        self.shard_count = self._settings.discord_shard_count or shards
        # discord.py asks the API for the gateway only where it does not know the shard count.
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(self._settings.discord_gateway_url or gateway)
        sync, guild = self._settings.discord_sync, self._settings.discord_sync_guild
        if sync == "always" or (sync == "auto" and (self.shard_ids is None or 0 in self.shard_ids)):
            where = discord.Object(int(guild)) if guild else None
            await register(self.tree, where, even_if_equal=sync == "always")

    async def close(self) -> None:
        """Disconnect."""
        self._closing.set()
        await super().close()
        if self._downloads is not None:
            await self._downloads.close()

    async def on_shard_connect(self, shard_id: int) -> None:
        """The shard receives interactions from now on."""
        log.info("shard_connected", shard=shard_id)
        self._connected.add(shard_id)
        self._say_health()

    async def on_shard_resumed(self, shard_id: int) -> None:
        """As before; what it missed is replayed."""
        await self.on_shard_connect(shard_id)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """It reconnects by itself."""
        log.warning("shard_disconnected", shard=shard_id)
        self._connected.discard(shard_id)
        self._say_health()

    def _say_health(self) -> None:
        away = sorted(set(self.shard_ids or range(self.shard_count or 1)) - self._connected)
        if self.is_closed():
            return
        if away:
            self._health.not_ready(f"not connected to Discord: shards {away}")
        else:
            self._health.ready()

    async def cancel_pressed(self, interaction: Interaction, request_id: str) -> None:
        """The button of a request was pressed, by whomever."""
        asked = interaction.message.interaction_metadata if interaction.message else None
        talk = DiscordConversation(interaction, self.metrics)
        await self._recall.pressed(request_id, str(asked.user.id) if asked else None, talk)

    def _cancel_command(self) -> app_commands.Command[Any, ..., None]:
        async def cancel(interaction: Interaction) -> None:
            await self._recall.newest(DiscordConversation(interaction, self.metrics))

        return app_commands.Command(name=CANCEL, description="Take back your newest request", callback=cancel)

    async def _serve(self, interaction: Interaction, prompt: str, given: Mapping[str, Any]) -> None:
        assert self._downloads is not None, "made before the first shard connects"
        attached = [
            DiscordAttachment(name, value, self._downloads)
            for name, value in given.items()
            if isinstance(value, discord.Attachment)
        ]
        # An option that is false says the same as one that is not given.
        options = {
            name: text_of(value)
            for name, value in given.items()
            if value is not False and not isinstance(value, discord.Attachment)
        }
        command = Command(name=SERVE, prompt=prompt, options=options, images={})
        await self._intake.take(command, DiscordConversation(interaction, self.metrics), attached)


def _quieten() -> None:
    """discord.py warns of what is so on purpose: no voice, and no intent for servers."""
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    logging.getLogger("discord.state").setLevel(logging.ERROR)


class _Tree(app_commands.CommandTree[Bot]):
    """Dispatches commands; what a handler did not foresee ends in a sentence too."""

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError, /) -> None:
        outdated = (
            app_commands.CommandSignatureMismatch, app_commands.CommandNotFound, app_commands.TransformerError,
        )  # fmt: skip
        if isinstance(error, outdated):
            log.warning("command_outdated", request_id=str(interaction.id), why=type(error).__name__)
        else:
            log.error("command_broken", request_id=str(interaction.id), exc_info=error)
        text = wording.OUTDATED if isinstance(error, outdated) else wording.BROKEN
        await DiscordConversation(interaction, self.client.metrics).tell(text)


def _help_command(text: str) -> app_commands.Command[Any, ..., None]:
    async def serve_help(interaction: Interaction) -> None:
        await interaction.response.send_message(text, ephemeral=True, allowed_mentions=NOBODY)

    return app_commands.Command(name=SERVE_HELP, description="What /serve takes", callback=serve_help)
