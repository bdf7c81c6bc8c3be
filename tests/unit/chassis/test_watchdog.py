"""How the watchdog tells a dead group coordinator from one that lives or is not there yet."""

from __future__ import annotations

from types import SimpleNamespace as Thing
from typing import Any

import pytest
from aiokafka.errors import UnknownMemberIdError

from services.chassis.faust_app import coordinator_is_dead


def an_app(task: object = None, error: BaseException | None = None) -> Any:
    """An app whose consumer's coordinator runs ``task`` and keeps ``error`` for whoever asks."""
    coordinator = Thing(_coordination_task=task, _pending_exception=error)
    return Thing(_consumer=Thing(_thread=Thing(_consumer=Thing(_coordinator=coordinator))))


def a_task(*, done: bool) -> Thing:
    """A coordination task."""
    return Thing(done=lambda: done)


@pytest.mark.parametrize(
    "app",
    [
        Thing(),
        Thing(_consumer=None),
        Thing(_consumer=Thing(_thread=None)),
        Thing(_consumer=Thing(_thread=Thing(_consumer=None))),
        an_app(),
    ],
    ids=["no-consumer-yet", "none", "no-thread", "no-client", "no-task"],
)
def test_a_stage_that_starts_is_not_dead(app: Any) -> None:
    """The parts come one by one, and until then nothing is wrong."""
    assert not coordinator_is_dead(app)


def test_a_coordinator_that_works_is_not_dead() -> None:
    """Its task runs and no error waits."""
    assert not coordinator_is_dead(an_app(a_task(done=False)))


def test_a_coordinator_whose_task_ended_is_dead() -> None:
    """Nobody joins the group any more."""
    assert coordinator_is_dead(an_app(a_task(done=True)))


def test_a_coordinator_with_an_error_that_nobody_reads_is_dead() -> None:
    """aiokafka hands it to whoever calls ``getmany``, and Faust never does."""
    assert coordinator_is_dead(an_app(a_task(done=False), UnknownMemberIdError()))
