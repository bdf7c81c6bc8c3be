"""The notifier's composition root."""

from __future__ import annotations

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
from services.notifier.adapters.discord_rest import DiscordRest, point_discord_at
from services.notifier.agents import Notifier
from services.notifier.delivery import Delivery
from services.notifier.policy import DEFAULT
from services.notifier.progress import Progress
from services.notifier.settings import NotifierSettings


def compose(stage: Stage, settings: NotifierSettings, *, store: ObjectStore) -> None:
    """Wire the notifier into its Faust app."""
    point_discord_at(settings.discord_api_base_url)
    messenger = DiscordRest(settings.discord_token, stage.metrics)
    delivery = Delivery(messenger, store, stage.clock, DEFAULT)
    progress = Progress(messenger, DEFAULT.edit_spacing)
    notifier = Notifier(stage.outbox, stage.metrics, stage.clock, delivery, progress, DEFAULT)
    # Ordered by key, the user's id: a user whom Discord slows down holds up nobody else.
    stage.consume(
        (MODERATED, COMPLETED, PROGRESS),
        notifier.handle,
        give_up=notifier.give_up,
        max_in_flight=settings.notifier_max_in_flight,
    )
    stage.read_back(
        DELIVERED,
        apply=notifier.apply,
        forget=notifier.forget_partition,
        since=lambda: stage.clock() - DEFAULT.remembered,
    )
    stage.after_stop.append(messenger.close)


def main() -> None:
    """Run the stage until it is told to stop."""
    settings_or_exit("notifier", NotifierSettings, ObjectStoreSettings)
    try:
        store = open_object_store(load(ObjectStoreSettings))
    except (ObjectStoreError, SettingsError) as error:
        sys.exit(f"notifier: {error}")
    run_stage("notifier", NotifierSettings, partial(compose, store=store))
