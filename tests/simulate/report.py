"""What the figures say: a table, and each aim with whether it is met.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.simulate.experiment import BOUND, POLICIES

#: Figures by ``<scenario>_<policy>_<measure>``, as in ``build/simulate.json``.
Figures = Mapping[str, float]

COLUMNS = {
    "wait_mean_s": "mean wait s",
    "wait_p99_s": "p99 wait s",
    "gpu_busy": "GPU busy",
    "gpu_loading": "loading",
    "loads": "loads",
    "jain": "Jain",
    "worst_slowdown": "worst slowdown",
    "others_p95_s": "others p95 s",
    "others_p95_flooded_s": "in a flood s",
}
_SHARES = frozenset({"gpu_busy", "gpu_loading", "jain"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One aim in one scenario: the core's figure as a multiple of what it is compared with, and the limit."""

    scenario: str
    aim: str
    ratio: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of the limit."""
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def sentence(self) -> str:
        """For people."""
        side = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "NOT MET"
        return (
            f"{self.scenario:<14} {self.aim:<44} {self.ratio:7.3f}   aim: {side} {self.limit:.2f}   {verdict}"
        )


def verdicts(figures: Figures, scenario: str) -> Iterator[Verdict]:
    """The aims that a scenario can show."""

    def core(measure: str) -> float:
        return figures[f"{scenario}_core_{measure}"]

    if scenario.endswith("_backlog"):
        busy = core("gpu_busy") / figures[f"{scenario}_{BOUND}_gpu_busy"]
        yield Verdict(scenario=scenario, aim="GPU busy / the bound's", ratio=busy, limit=0.95, at_least=True)
    loads = core("loads") / figures[f"{scenario}_fifo_loads"]
    yield Verdict(scenario=scenario, aim="checkpoint loads / FIFO's", ratio=loads, limit=1 / 3)
    wait = core("wait_p99_s") / max(figures[f"{scenario}_fifo_wait_p99_s"], 1e-9)
    yield Verdict(scenario=scenario, aim="p99 wait / FIFO's", ratio=wait, limit=1.0)
    flood = core("flood_ratio")
    yield Verdict(scenario=scenario, aim="others' p95 wait in a flood / without", ratio=flood, limit=1.2)


def table(figures: Figures, scenario: str) -> Iterator[str]:
    """A line for each policy, the bound last."""
    yield f"{scenario:<14}" + "".join(f"{title:>16}" for title in COLUMNS.values())
    for policy in (*POLICIES, BOUND):
        cells = (_cell(measure, figures.get(f"{scenario}_{policy}_{measure}")) for measure in COLUMNS)
        yield f"  {policy:<12}" + "".join(f"{cell:>16}" for cell in cells)


def _cell(measure: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if measure in _SHARES else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
