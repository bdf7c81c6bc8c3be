"""The bot's composition root."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from services.chassis.object_store import (
    ObjectStore,
    ObjectStoreError,
    ObjectStoreSettings,
    open_object_store,
)
from services.chassis.settings import SettingsError, load
from services.chassis.stage import Stage, run_stage, settings_or_exit
from services.contracts.events import CancellationRequested, GenerationRequested
from services.contracts.topics import CANCELLATIONS, REQUESTS
from services.ingest_bot.adapters.discord_bot import Bot
from services.ingest_bot.adapters.open_messages import OriginalMessages
from services.ingest_bot.agents import Intake
from services.ingest_bot.in_hand import InHand
from services.ingest_bot.recall import Recall
from services.ingest_bot.recent import RecentRequests
from services.ingest_bot.settings import IngestSettings
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.load import load_catalogue
from services.ingest_bot.templates.problems import WorkflowError

#: How long a stop waits for the commands in hand.
DRAIN_SECONDS = 8.0


def compose(stage: Stage, settings: IngestSettings, *, catalogue: Catalogue, store: ObjectStore) -> None:
    """Wire the bot to its Faust app, which only produces."""

    async def send(request: GenerationRequested) -> None:
        await stage.outbox.send(request, None)

    async def send_cancellation(cancellation: CancellationRequested) -> None:
        await stage.outbox.send(cancellation, None)

    async def keep(key: str, data: bytes, content_type: str) -> None:
        await asyncio.to_thread(store.put, key, data, content_type)

    policy, recent, in_hand, messages = settings.policy(), RecentRequests(), InHand(), OriginalMessages()
    intake = Intake(catalogue, policy, send, keep, stage.metrics, stage.clock, recent, in_hand)
    recall = Recall(send_cancellation, messages, recent, in_hand, policy, stage.metrics, stage.clock)
    bot = Bot(intake, recall, catalogue, settings, stage.metrics, stage.health)

    async def stop() -> None:
        await in_hand.close(DRAIN_SECONDS)  # while still connected, so that new commands are answered too
        await bot.close()
        await messages.close()

    stage.topics = (REQUESTS, CANCELLATIONS)  # so that the stage waits for them before users can ask
    stage.background.append(bot.run_until_closed)
    stage.on_stop.append(stop)


def main() -> None:
    """Run the stage until it is told to stop."""
    settings = settings_or_exit("ingest_bot", IngestSettings, ObjectStoreSettings)
    try:
        if settings.discord_shard_ids and not settings.discord_shard_count:
            raise SettingsError("DISCORD_SHARD_IDS needs DISCORD_SHARD_COUNT, which all processes share.")
        catalogue = load_catalogue([Path(folder.strip()).expanduser() for folder in settings.workflows_dirs])
        store = open_object_store(load(ObjectStoreSettings))
    except (WorkflowError, ObjectStoreError, SettingsError) as error:
        sys.exit(f"ingest_bot: {error}")
    run_stage(
        "ingest_bot", IngestSettings, partial(compose, catalogue=catalogue, store=store), consumes=False
    )
