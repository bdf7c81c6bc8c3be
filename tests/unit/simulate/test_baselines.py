"""What the simulation compares with does what its rule says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.simulate import synthetic
from tests.simulate.baselines.fifo import Fifo
from tests.simulate.baselines.lanes import Lanes
from tests.simulate.baselines.pressure import ModelPressure
from tests.simulate.clock import Scheduler, Worker, simulate
from tests.simulate.trace import Trace, compressed
from tests.unit.simulate.small_traces import trace_of

Making = Callable[[Sequence[Worker]], Scheduler]


def _starts(trace: Trace, workers: int, scheduler: Making) -> list[tuple[str, int, float]]:
    run = simulate(trace, workers, scheduler)
    return [(served.request.id, served.worker, served.started) for served in run.served]


@pytest.mark.parametrize("scheduler", [Fifo, Lanes, ModelPressure])
def test_every_request_is_served_once(scheduler: Making) -> None:
    """A baseline that lost work would be no baseline."""
    trace = compressed(synthetic.generate(2, requests=500), workers=5, load=1.1)
    run = simulate(trace, 5, scheduler)
    assert sorted(s.request.id for s in run.served) == sorted(r.id for r in trace.requests)


def test_fifo_loads_whatever_the_oldest_lacks() -> None:
    """The order is that of arrival, at the price of a load for each change."""
    trace = trace_of(("A1", 0, 5, "x"), ("B1", 1, 5, "y"), ("C1", 2, 5, "x"))
    assert _starts(trace, 1, Fifo) == [("A1", 0, 10), ("B1", 0, 25), ("C1", 0, 40)]


def test_a_lane_keeps_its_users_however_long_the_others_idle() -> None:
    """All of one user's requests run one after the other on one of many workers."""
    trace = trace_of(("A1", 0, 5, "x"), ("A2", 0, 5, "x"), ("A3", 0, 5, "x"))
    starts = _starts(trace, 50, Lanes)
    assert [(name, at) for name, _, at in starts] == [("A1", 10), ("A2", 15), ("A3", 20)]
    assert len({worker for _, worker, _ in starts}) == 1


def test_pressure_takes_the_worker_that_has_the_checkpoint() -> None:
    """A later request passes an older one whose checkpoint is not in memory."""
    trace = trace_of(("A1", 0, 15, "x"), ("B1", 3, 5, "y"), ("C1", 20, 5, "x"))
    assert [name for name, _, _ in _starts(trace, 1, ModelPressure)] == ["A1", "C1", "B1"]


def test_pressure_counts_ten_seconds_for_each_that_waits() -> None:
    """Two that wait for 5 s outweigh one that waits for 12 s, and not one that waits for 17 s."""
    for first_at, expected in ((3, "C1"), (-5, "B1")):
        trace = trace_of(
            ("A1", -20, 25, "x"), ("B1", first_at, 5, "y"), ("C1", 10, 5, "z"), ("D1", 10, 5, "z")
        )
        assert _starts(trace, 1, ModelPressure)[1][0] == expected


def test_pressure_that_is_new_waits_where_several_workers_idle() -> None:
    """With two idle workers a load begins at the first look after 1.5 s, and only one worker loads a checkpoint."""
    trace = trace_of(("A1", 0, 5, "x"), ("B1", 0, 5, "x"))
    assert _starts(trace, 2, ModelPressure) == [("A1", 0, 12), ("B1", 0, 17)]
