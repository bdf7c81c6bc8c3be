"""What a stage does as partitions come and go, and as it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.chassis import stage as module
from services.chassis.health import Health
from services.chassis.lease import Lease
from services.chassis.metrics import Metrics
from services.chassis.positions import Positions
from services.chassis.settings import StageSettings
from services.chassis.stage import Stage, _wind_down

Step = Callable[[], Awaitable[None]]


def a_stage(app: Any = None, **parts: Any) -> Stage:
    """A stage of which only the partitions and the stop matter."""
    nothing: Any = None
    return Stage(
        name="probe",
        settings=StageSettings(topic_prefix="t-"),
        app=app,
        codec=nothing,
        outbox=nothing,
        metrics=Metrics("probe"),
        health=Health(),
        positions=Positions(app, "t-"),
        lease=Lease(10),
        topics=("requests", "delivered"),
        **parts,
    )


def owned(*numbers: int) -> set[Any]:
    """What Faust says of these partitions of both topics."""
    topics = ("t-requests", "t-delivered")
    return {_Frozen(topic=topic, partition=n) for topic in topics for n in numbers}


class _Frozen(SimpleNamespace):
    """Hashable by what it says, as Faust's TP is."""

    def __hash__(self) -> int:  # type: ignore[override]  # a namespace has none
        return hash((self.topic, self.partition))


async def test_events_flow_only_once_the_state_is_read_back() -> None:
    """The read-backs come first, then the stage is told, then the gate opens."""
    seen: list[Any] = []

    class Back:
        async def catch_up(self, partitions: Iterable[int]) -> None:
            seen.append(("read back", set(partitions), stage.in_step.is_set()))

    back: Any = Back()
    stage = a_stage(read_backs=[back])
    stage.on_assigned.append(lambda partitions: seen.append(("told", partitions, stage.in_step.is_set())))
    await stage.assigned(owned(1, 4))
    assert seen == [("read back", {1, 4}, False), ("told", {1, 4}, False)]
    assert stage.in_step.is_set()


async def test_before_partitions_change_the_gate_closes_and_the_stage_ends_its_own_work() -> None:
    """In this order: nothing may begin beside what is being ended."""
    seen: list[bool] = []

    async def end() -> None:
        seen.append(stage.in_step.is_set())

    stage = a_stage(on_revoked=[end])
    await stage.assigned(owned(1))
    await stage.revoked()
    assert seen == [False]


class App:
    """Of Faust's app, its stop."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def stop(self) -> None:
        """Stop."""
        self._seen.append("app")


async def stopped(seen: list[str], before: Step, after: Step) -> int:
    """Wind a stage down that has these steps, and return its exit code."""
    app: Any = App(seen)
    stage = a_stage(app=app, on_stop=[before], after_stop=[after])
    return await _wind_down(stage, [], failed=False)


async def test_a_stop_takes_its_steps_in_order() -> None:
    """What needs sends comes before the app's stop, what needs quiet after it."""
    seen: list[str] = []

    async def before() -> None:
        seen.append("before")

    async def after() -> None:
        seen.append("after")

    assert await stopped(seen, before, after) == 0
    assert seen == ["before", "app", "after"]


@pytest.mark.parametrize("stuck", ["before", "after"])
async def test_a_step_of_a_stop_that_does_not_end_is_named_and_left_behind(
    stuck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the platform's SIGKILL would end the process with all that comes after the step undone."""
    monkeypatch.setattr(module, "STOP_SECONDS", 0.6)
    for name in ("ON_STOP_SECONDS", "AFTER_STOP_SECONDS"):
        monkeypatch.setattr(module, name, 0.2)
    seen: list[str] = []

    async def before() -> None:
        seen.append("before")
        if stuck == "before":
            await asyncio.Event().wait()

    async def after() -> None:
        seen.append("after")
        if stuck == "after":
            await asyncio.Event().wait()

    with capture_logs() as logs:
        assert await stopped(seen, before, after) == 1
    assert seen == ["before", "app", "after"]
    (late,) = [line["step"] for line in logs if line["event"] == "stop_timed_out"]
    assert late.endswith(stuck)


async def test_a_step_of_a_stop_that_fails_does_not_keep_the_others_from_theirs() -> None:
    """The offsets of what was done are still committed, and the exit code says that something was wrong."""
    seen: list[str] = []

    async def before() -> None:
        raise OSError("no route")

    async def after() -> None:
        seen.append("after")

    with capture_logs() as logs:
        assert await stopped(seen, before, after) == 1
    assert seen == ["app", "after"]
    assert [line["error"] for line in logs] == ["OSError('no route')"]
