"""Which aims are met is said as it is."""

from __future__ import annotations

import pytest

from tests.simulate.report import table, verdicts

MET = {
    "w60_backlog_core_gpu_busy": 0.76,
    "w60_backlog_bound_gpu_busy": 0.80,
    "w60_backlog_core_loads": 30,
    "w60_backlog_fifo_loads": 90,
    "w60_backlog_core_wait_p99_s": 50.0,
    "w60_backlog_fifo_wait_p99_s": 50.0,
    "w60_backlog_core_flood_ratio": 1.2,
}


def test_figures_at_their_limits_meet_every_aim() -> None:
    """95 % of the bound, a third of the loads, FIFO's wait, 1.2 times the wait without the flood."""
    assert [verdict.met for verdict in verdicts(MET, "w60_backlog")] == [True, True, True, True]


@pytest.mark.parametrize(
    ("figure", "value", "aim"),
    [
        ("core_gpu_busy", 0.75, "GPU busy"),
        ("core_loads", 31, "checkpoint loads"),
        ("core_wait_p99_s", 51.0, "p99 wait"),
        ("core_flood_ratio", 1.21, "others' p95"),
    ],
)
def test_a_figure_past_its_limit_is_said_to_miss_its_aim(figure: str, value: float, aim: str) -> None:
    """Each aim fails alone, and its line says so."""
    missed = [v for v in verdicts({**MET, f"w60_backlog_{figure}": value}, "w60_backlog") if not v.met]
    assert [verdict.aim.startswith(aim) for verdict in missed] == [True]
    assert missed[0].sentence().endswith("NOT MET")


def test_gpu_busy_is_an_aim_only_where_requests_wait() -> None:
    """An idle fleet is no fault of the schedule."""
    calm = {name.replace("backlog", "calm"): value for name, value in MET.items()}
    assert [v.aim.split()[0] for v in verdicts(calm, "w60_calm")] == ["checkpoint", "p99", "others'"]


def test_the_table_shows_a_dash_for_what_a_bound_does_not_have() -> None:
    """The flood has no bound."""
    lines = list(table(MET, "w60_backlog"))
    assert len(lines) == 6
    assert lines[-1].split()[0] == "bound"
    assert lines[-1].rstrip().endswith("-")
