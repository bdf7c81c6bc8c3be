"""The whole simulation in small: what must hold whatever the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.simulate import experiment, synthetic
from tests.simulate.__main__ import main
from tests.simulate.bound import bound
from tests.simulate.clock import simulate
from tests.simulate.experiment import BOUND, POLICIES, Scenario
from tests.simulate.flood import FLOODER
from tests.simulate.measures import measure

HIGHER_IS_BETTER = frozenset({"gpu_busy", "jain"})


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    """The quick form's scenarios."""
    trace = synthetic.generate(7, requests=400)
    return list(experiment.scenarios(trace, experiment.QUICK_FLEETS, seed=7, flood=50))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_serves_every_request_once(policy: str, scenarios: list[Scenario]) -> None:
    """With a backlog, without, and in a flood."""
    for scenario in scenarios:
        for trace in (scenario.trace, scenario.flooded.trace):
            run = simulate(trace, scenario.workers, POLICIES[policy])
            assert sorted(s.request.id for s in run.served) == sorted(r.id for r in trace.requests)
            assert all(s.wait >= 0 for s in run.served)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_beats_the_bound(policy: str, scenarios: list[Scenario]) -> None:
    """A figure beyond the bound would be an error in one of the two."""
    for scenario in scenarios:
        best = bound(scenario.trace, scenario.workers)
        figures = measure(simulate(scenario.trace, scenario.workers, POLICIES[policy]))
        for name, value in figures.items():
            better = value > best[name] + 1e-9 if name in HIGHER_IS_BETTER else value < best[name] - 1e-9
            assert not better, f"{policy} has {name} {value}, the bound is {best[name]}"


def test_a_flood_is_judged_by_others_that_arrive_in_its_time(scenarios: list[Scenario]) -> None:
    """The flooder's own waits do not count, nor do requests before the flood."""
    for scenario in scenarios:
        by_id = {request.id: request for request in scenario.flooded.trace.requests}
        began = min(request.at for request in by_id.values() if request.user == FLOODER)
        assert sum(request.user == FLOODER for request in by_id.values()) == 50
        assert scenario.flooded.judged
        for request_id in scenario.flooded.judged:
            assert by_id[request_id].user != FLOODER
            assert by_id[request_id].at >= began


def test_the_quick_form_writes_flat_figures_and_a_plot_that_its_seed_repeats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs write the same file, with each policy's figures for each fleet, and say the aims."""
    written = []
    for name in ("first", "second"):
        main(["--quick", "--traffic", "", "--seed", "3", "--out", str(tmp_path / name)])
        written.append((tmp_path / name / "simulate.json").read_text(encoding="utf-8"))
    assert written[0] == written[1]
    figures = json.loads(written[0])
    assert all(isinstance(value, int | float | str) for value in figures.values())
    for policy in (*POLICIES, BOUND):
        assert f"w6_backlog_{policy}_wait_p99_s" in figures
        assert f"w20_calm_{policy}_gpu_busy" in figures
    assert (tmp_path / "first" / "simulate.png").read_bytes().startswith(b"\x89PNG")
    assert "others' p95 wait in a flood / without" in capsys.readouterr().out


def test_traffic_that_cannot_be_read_ends_in_one_sentence(tmp_path: Path) -> None:
    """A wrong path is no traceback."""
    with pytest.raises(SystemExit, match=r"simulate: .*nowhere\.csv"):
        main(["--traffic", str(tmp_path / "nowhere.csv")])
