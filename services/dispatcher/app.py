"""The dispatcher's composition root."""

from __future__ import annotations

import sys
from datetime import timedelta

from services.chassis.settings import SettingsError
from services.chassis.stage import Stage, run_stage
from services.contracts.topics import CANCELLATIONS, COMPLETED, JOBS, MODERATED, WORKERS
from services.dispatcher.agents import Dispatcher
from services.dispatcher.settings import DispatcherSettings


def compose(stage: Stage, settings: DispatcherSettings) -> None:
    """Wire the dispatcher into its Faust app."""
    try:
        policy = settings.policy()
    except SettingsError as error:
        sys.exit(f"dispatcher: {error}")

    async def heard_all(owned: set[int]) -> bool:
        return await workers.all_handled() and await stage.positions.all_handled(COMPLETED, owned)

    dispatcher = Dispatcher(
        stage.outbox, stage.metrics, stage.clock, policy, is_owner=stage.is_owner, heard_all=heard_all
    )
    stage.consume((MODERATED, COMPLETED, CANCELLATIONS), dispatcher.handle, give_up=dispatcher.give_up)
    workers = stage.follow(
        WORKERS,
        handle=dispatcher.heard,
        poisoned=dispatcher.poisoned,
        since=lambda: stage.clock() - timedelta(seconds=2 * policy.silence),
    )
    stage.read_back(JOBS, apply=dispatcher.apply, forget=dispatcher.forget_partition)
    stage.on_assigned.append(dispatcher.assigned)
    stage.on_revoked.append(dispatcher.revoked)
    stage.background += [dispatcher.tick_forever, dispatcher.announce_forever]


def main() -> None:
    """Run the stage until it is told to stop."""
    run_stage("dispatcher", DispatcherSettings, compose)
