"""Figures reckoned by hand."""

from __future__ import annotations

import pytest

from tests.simulate.baselines.fifo import Fifo
from tests.simulate.clock import Served, simulate
from tests.simulate.measures import jain, measure, percentile, presence
from tests.simulate.trace import Request
from tests.unit.simulate.small_traces import trace_of


def test_the_figures_of_a_run_are_those_reckoned_by_hand() -> None:
    """One worker, 10 s a load: A1 runs 10-30, A2 30-50, B1 loads until 60 and runs until 80."""
    run = simulate(trace_of(("A1", 0, 20, "x"), ("A2", 0, 20, "x"), ("B1", 40, 20, "y")), 1, Fifo)
    figures = measure(run)
    assert figures == pytest.approx(
        {
            "wait_mean_s": (10 + 30 + 20) / 3,
            "wait_p99_s": 30,
            "gpu_busy": 30 / 40,
            "gpu_loading": 20 / 80,
            "loads": 2,
            "jain": (40 / 50 + 20 / 40) ** 2 / (2 * ((40 / 50) ** 2 + (20 / 40) ** 2)),
            "worst_slowdown": 2.0,
            "makespan_s": 80,
        }
    )


def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed() -> None:
    """Of a hundred values, the 99th percentile is the second largest."""
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([7.0], 0.95) == 7.0


def test_jain_is_one_for_equals_and_one_nth_for_one_who_has_all() -> None:
    """The index's two ends."""
    assert jain([0.4, 0.4, 0.4]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_time_with_nothing_unfinished_is_no_presence() -> None:
    """Overlapping requests count once, gaps not at all."""
    spans = [(0.0, 10.0), (5.0, 20.0), (6.0, 8.0), (30.0, 31.0)]
    assert presence(_served(at, ended) for at, ended in spans) == 21.0


def _served(at: float, ended: float) -> Served:
    request = Request(id=f"r{at}", user="u", at=at, run=1.0, checkpoint="x")
    return Served(request=request, worker=0, started=ended - 1.0, ended=ended)
