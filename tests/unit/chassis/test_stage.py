"""What a stage does as partitions come and go."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from services.chassis.health import Health
from services.chassis.metrics import Metrics
from services.chassis.settings import StageSettings
from services.chassis.stage import Stage


def a_stage(**parts: Any) -> Stage:
    """A stage of which only the partitions matter."""
    nothing: Any = None
    return Stage(
        name="probe",
        settings=StageSettings(topic_prefix="t-"),
        app=nothing,
        codec=nothing,
        outbox=nothing,
        metrics=Metrics("probe"),
        health=Health(),
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
