"""The notifier's composition root."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from services.chassis.object_store import (
    ObjectStore,
    ObjectStoreError,
    ObjectStoreSettings,
    open_object_store,
)
from services.chassis.settings import SettingsError, load
from services.chassis.stage import Stage, run_stage, settings_or_exit
from services.contracts.topics import COMPLETED, DELIVERED, MODERATED, PROGRESS
from services.notifier.adapters.discord_webhook import DiscordMessenger
from services.notifier.agents import Notifier, by_request
from services.notifier.counting import CountingMessenger
from services.notifier.delivery import Delivery
from services.notifier.settings import NotifierSettings


async def compose(stage: Stage, settings: NotifierSettings, *, store: ObjectStore) -> None:
    """Wire the notifier into its Faust app."""
    policy = settings.policy()
    discord = DiscordMessenger(settings.discord_token, settings.discord_api_base_url)
    messenger = CountingMessenger(discord, stage.metrics)
    memory = settings.notifier_image_memory_mib * 1024 * 1024
    delivery = Delivery(messenger, store, stage.clock, policy, memory)
    loop = asyncio.get_running_loop()
    notifier = Notifier(
        stage.outbox, stage.metrics, stage.clock, loop, messenger, delivery, policy, stage.is_owner
    )
    stage.consume(
        (MODERATED, COMPLETED, PROGRESS),
        notifier.handle,
        give_up=notifier.give_up,
        order=by_request,
        max_in_flight=settings.notifier_max_in_flight,
    )
    # Deliveries last: what is delivered needs its notes no more.
    for topic, since in ((MODERATED, notifier.noted_since), (DELIVERED, notifier.known_since)):
        stage.read_back(topic, apply=notifier.apply, forget=notifier.forget_partition, since=since)
    stage.on_revoked.append(notifier.revoked)
    stage.background.append(notifier.sweep_forever)
    stage.on_stop.append(notifier.stop)
    stage.after_stop.append(discord.close)


def main() -> None:
    """Run the stage until it is told to stop."""
    settings_or_exit("notifier", NotifierSettings, ObjectStoreSettings)
    try:
        store = open_object_store(load(ObjectStoreSettings))
    except (ObjectStoreError, SettingsError) as error:
        sys.exit(f"notifier: {error}")
    run_stage("notifier", NotifierSettings, partial(compose, store=store))
