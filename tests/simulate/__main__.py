"""``python -m tests.simulate``: every policy on every scenario; a table, ``build/simulate.json`` and a plot.

``TRAFFIC`` (or ``--traffic``) names a GenTD26 file to measure with; without it the traffic is made up.
``SEED`` (or ``--seed``) decides load times and made-up traffic; the same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.simulate import experiment, gentd26, plot, report, synthetic
from tests.simulate.flood import FLOOD
from tests.simulate.trace import Trace

BUILD = Path(__file__).parents[2] / "build"
_QUICK_REQUESTS, _QUICK_FLOOD = 300, 40


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    wanted = _parser().parse_args(arguments)
    try:
        trace = _traffic(wanted)
    except (OSError, gentd26.UnreadableTraffic) as error:
        sys.exit(f"simulate: {error}")
    fleets = experiment.QUICK_FLEETS if wanted.quick else experiment.FLEETS
    flood = _QUICK_FLOOD if wanted.quick else FLOOD
    figures, names = measure(trace, fleets, wanted.seed, flood)
    wanted.out.mkdir(parents=True, exist_ok=True)
    facts = {"seed": wanted.seed, "traffic": "gentd26" if wanted.traffic else "synthetic"}
    text = json.dumps(facts | figures, indent=2)
    (wanted.out / "simulate.json").write_text(text + "\n", encoding="utf-8")
    plot.draw(figures, names, wanted.out / "simulate.png")
    say_results(figures, names)


def measure(
    trace: Trace, fleets: Sequence[experiment.Fleet], seed: int, flood: int
) -> tuple[dict[str, float], list[str]]:
    """All figures in one flat object, and the scenarios' names."""
    cold, warm = gentd26.cold_start_seconds(trace)
    figures: dict[str, float] = {
        "requests": len(trace.requests),
        "run_p50_unused_checkpoint_s": cold,
        "run_p50_used_checkpoint_s": warm,
    }
    names = []
    for scenario in experiment.scenarios(trace, fleets, seed, flood):
        started = time.monotonic()
        for policy, name, value in experiment.figures(scenario):
            figures[f"{scenario.name}_{policy}_{name}"] = round(value, 4)
        names.append(scenario.name)
        took = time.monotonic() - started
        print(f"simulate: {scenario.name} took {took:.0f} s", file=sys.stderr, flush=True)
    return figures, names


def say_results(figures: report.Figures, names: Sequence[str]) -> None:
    """The tables, then the aims."""
    for name in names:
        print()
        print("\n".join(report.table(figures, name)))
    print()
    for name in names:
        for verdict in report.verdicts(figures, name):
            print(verdict.sentence())


def _traffic(wanted: argparse.Namespace) -> Trace:
    if wanted.traffic:
        return gentd26.read(Path(wanted.traffic), wanted.seed)
    return synthetic.generate(wanted.seed, _QUICK_REQUESTS if wanted.quick else synthetic.REQUESTS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description="Simulate the dispatcher.")
    parser.add_argument(
        "--traffic", default=os.environ.get("TRAFFIC", ""), help="a GenTD26 file, .csv or .csv.gz"
    )
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1), help="repeats a run")
    parser.add_argument(
        "--quick", action="store_true", help="hundreds of requests and small fleets: no measurement"
    )
    parser.add_argument(
        "--out", type=Path, default=BUILD, help="the folder for simulate.json and simulate.png"
    )
    return parser


if __name__ == "__main__":
    main()
