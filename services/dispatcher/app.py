"""The dispatcher's composition root."""

from __future__ import annotations

from functools import partial

from services.chassis.stage import Stage, run_stage
from services.contracts.topics import COMPLETED, JOBS, MODERATED, WORKERS
from services.dispatcher.agents import Dispatcher
from services.dispatcher.settings import DispatcherSettings


def compose(stage: Stage, settings: DispatcherSettings) -> None:
    """Wire the dispatcher into its Faust app."""
    dispatcher = Dispatcher(stage.outbox, stage.metrics, stage.clock, settings.policy())
    stage.consume((MODERATED, COMPLETED, WORKERS), dispatcher.handle, give_up=dispatcher.give_up)
    stage.read_back(JOBS, apply=dispatcher.apply, forget=dispatcher.forget_partition)
    stage.on_assigned.append(dispatcher.assigned)
    stage.background.append(partial(dispatcher.tick_forever, stage.in_step))


def main() -> None:
    """Run the stage until it is told to stop."""
    run_stage("dispatcher", DispatcherSettings, compose)
