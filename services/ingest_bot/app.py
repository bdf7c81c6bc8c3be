"""The bot's composition root."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

import discord

from services.chassis.logs import get_logger
from services.chassis.object_store import (
    ObjectStore,
    ObjectStoreError,
    ObjectStoreSettings,
    open_object_store,
)
from services.chassis.settings import SettingsError, load
from services.chassis.stage import Stage, run_stage, settings_or_exit
from services.contracts.events import GenerationRequested
from services.ingest_bot.adapters.discord_bot import Bot, point_discord_at
from services.ingest_bot.intake import Intake
from services.ingest_bot.settings import IngestSettings
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.load import load_catalogue
from services.ingest_bot.templates.problems import WorkflowError

log = get_logger()


def compose(stage: Stage, settings: IngestSettings, *, catalogue: Catalogue, store: ObjectStore) -> None:
    """Wire the bot to its Faust app, which only produces."""

    async def send(request: GenerationRequested) -> None:
        await stage.outbox.send(request, None)

    async def keep(key: str, data: bytes, content_type: str) -> None:
        await asyncio.to_thread(store.put, key, data, content_type)

    point_discord_at(settings.discord_api_base_url)
    intake = Intake(catalogue, settings, send, keep, stage.metrics, stage.clock)
    bot = Bot(intake, catalogue, settings)

    @bot.event
    async def on_shard_connect(shard_id: int) -> None:
        log.info("shard_connected", shard=shard_id)
        stage.health.ready()

    @bot.event
    async def on_shard_disconnect(shard_id: int) -> None:
        log.warning("shard_disconnected", shard=shard_id)

    async def stop() -> None:
        await intake.close()
        await bot.close()

    stage.background.append(partial(_run, bot, settings))
    stage.on_stop.append(stop)


async def _run(bot: Bot, settings: IngestSettings) -> None:
    try:
        await bot.start(settings.discord_token.reveal())
    except discord.LoginFailure as error:
        raise SettingsError(
            "DISCORD_TOKEN: Discord refuses it; copy it anew from the developer portal."
        ) from error


def main() -> None:
    """Run the stage until it is told to stop."""
    settings = settings_or_exit("ingest_bot", IngestSettings, ObjectStoreSettings)
    try:
        catalogue = load_catalogue([Path(folder).expanduser() for folder in settings.workflows_dirs])
        store = open_object_store(load(ObjectStoreSettings))
    except (WorkflowError, ObjectStoreError, SettingsError) as error:
        sys.exit(f"ingest_bot: {error}")
    run_stage(
        "ingest_bot", IngestSettings, partial(compose, catalogue=catalogue, store=store), consumes=False
    )
