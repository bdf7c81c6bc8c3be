"""The real Discord: a sharded gateway client whose slash commands feed `Intake`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import discord
import yarl
from aiohttp import ClientError
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from services.chassis.logs import get_logger
from services.contracts.events import ReplyTo
from services.ingest_bot import wording
from services.ingest_bot.decide import TOKEN_LIFE, Command
from services.ingest_bot.images import too_large
from services.ingest_bot.intake import Intake
from services.ingest_bot.refusals import CommandError
from services.ingest_bot.settings import IngestSettings
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.manifest import MODEL, ChoiceParameter

log = get_logger()
NOBODY = discord.AllowedMentions.none()


class Bot(discord.AutoShardedClient):
    """The gateway client.  No members, no messages: interactions need no intent at all."""

    def __init__(self, intake: Intake, catalogue: Catalogue, settings: IngestSettings) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True),
            shard_count=settings.discord_shard_count or None,
            shard_ids=list(settings.discord_shard_ids) or None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            max_ratelimit_timeout=30.0,
            guild_ready_timeout=0.0,
            allowed_mentions=NOBODY,
        )
        self.tree = app_commands.CommandTree(self)
        self._settings = settings
        add_commands(self.tree, intake, catalogue)

    async def setup_hook(self) -> None:
        """Register the commands, once connected and before any interaction."""
        if not self._settings.discord_sync:
            return
        guild = (
            discord.Object(int(self._settings.discord_sync_guild))
            if self._settings.discord_sync_guild
            else None
        )
        if guild is not None:
            self.tree.copy_global_to(guild=guild)
        synced = await self.tree.sync(guild=guild)
        log.info("commands_synced", commands=len(synced))


def point_discord_at(api_base_url: str) -> None:
    """Let every client of this process talk to another Discord, such as the loopback one; empty = the real one."""
    if api_base_url:
        Route.BASE = api_base_url.rstrip("/")
        origin = yarl.URL(api_base_url).origin()
        DiscordWebSocket.DEFAULT_GATEWAY = (
            origin.with_scheme("wss" if origin.scheme == "https" else "ws") / "gw/"
        )


def add_commands(tree: app_commands.CommandTree[Any], intake: Intake, catalogue: Catalogue) -> None:
    """``/serve`` and ``/serve-help``."""
    words = sorted(
        {
            word
            for p in catalogue.parameters().get(MODEL, ())
            if isinstance(p, ChoiceParameter)
            for word in p.choices
        }
    )
    models = [app_commands.Choice(name=word, value=word) for word in words][:25]

    @tree.command(name="serve", description="Draw images from words")
    @app_commands.describe(
        prompt="What the images show; may hold flags, such as --ar 16:9",
        ar="Aspect ratio, as width:height",
        model="The checkpoint that draws",
        neg="What to keep out of the images",
        seed="The same seed gives the same images",
        images="How many images, 1 to 4",
        image="An image to start from",
        denoise="With an image: how far to leave it, 0 to 1",
    )
    @app_commands.choices(model=models)
    async def serve(
        interaction: discord.Interaction,
        prompt: app_commands.Range[str, 1, 4000],
        ar: str | None = None,
        model: str | None = None,
        neg: str | None = None,
        seed: str | None = None,
        images: app_commands.Range[int, 1, 4] | None = None,
        image: discord.Attachment | None = None,
        denoise: app_commands.Range[float, 0.0, 1.0] | None = None,
    ) -> None:
        typed = {
            "ar": ar,
            "model": model,
            "neg": neg,
            "seed": seed,
            "images": images,
            "imagedenoise": denoise,
        }
        options = {name: f"{value:g}" if isinstance(value, float) else str(value)
                   for name, value in typed.items() if value is not None}  # fmt: skip
        command = Command(name="serve", prompt=prompt, options=options, images={})
        await intake.take(command, DiscordConversation(interaction, image), image=image is not None)

    @tree.command(name="serve-help", description="What /serve takes")
    async def serve_help(interaction: discord.Interaction) -> None:
        await interaction.response.send_message(wording.help_text(catalogue), ephemeral=True)


class DiscordConversation:
    """One interaction; a failing answer is logged, since the notifier has other ways to reach the user."""

    def __init__(self, interaction: discord.Interaction, image: discord.Attachment | None) -> None:
        self._interaction = interaction
        self._image = image

    @property
    def request_id(self) -> str:
        """The interaction's snowflake."""
        return str(self._interaction.id)

    def reply_to(self) -> ReplyTo:
        """Where the answers go."""
        it = self._interaction
        return ReplyTo(
            user_id=str(it.user.id),
            channel_id=str(it.channel_id or 0),
            application_id=str(it.application_id),
            interaction_token=it.token,
            token_expires_at=it.created_at
            + TOKEN_LIFE
            - timedelta(microseconds=it.created_at.microsecond % 1000),
            guild_id=str(it.guild_id) if it.guild_id else None,
            locale=str(it.locale.value),
            filesize_limit=it.filesize_limit,
        )

    async def attachment(self, max_bytes: int) -> bytes:
        """The attached file's bytes; its declared size is checked before a byte is fetched."""
        assert self._image is not None
        if self._image.size > max_bytes:
            raise too_large(max_bytes)
        try:
            data = await self._image.read()
        except (discord.HTTPException, ClientError) as error:
            log.warning("attachment_failed", request_id=self.request_id, why=type(error).__name__)
            raise CommandError(
                "The attachment could not be fetched from Discord; please attach it again."
            ) from error
        if len(data) > max_bytes:
            raise too_large(max_bytes)
        return data

    async def acknowledge(self, text: str) -> None:
        """Answer that it is queued, unless deferred."""
        if not self._interaction.response.is_done():
            await self.say(text)

    async def say(self, text: str, *, private: bool = False) -> None:
        """Answer, or edit the deferred answer."""
        response = self._interaction.response
        try:
            if response.is_done():
                await self._interaction.edit_original_response(content=text, allowed_mentions=NOBODY)
            else:
                await response.send_message(text, ephemeral=private, allowed_mentions=NOBODY)
        except (discord.HTTPException, ClientError, OSError) as error:
            log.warning("answer_failed", request_id=self.request_id, why=str(error))

    async def defer(self) -> None:
        """Tell Discord that an answer will come."""
        try:
            await self._interaction.response.defer(thinking=True)
        except (discord.HTTPException, discord.InteractionResponded, ClientError, OSError) as error:
            log.warning("defer_failed", request_id=self.request_id, why=str(error))
