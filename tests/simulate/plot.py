"""The figures as a picture: a row for each scenario, a column for each measure, a bar for each policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.simulate.experiment import BOUND, POLICIES
from tests.simulate.report import Figures

_PANELS = {
    "wait_mean_s": "mean wait, s",
    "wait_p99_s": "p99 wait, s",
    "gpu_busy": "GPU busy, share",
    "loads": "checkpoint loads",
    "jain": "Jain's index",
    "worst_slowdown": "worst user's slowdown",
    "flood_ratio": "others' p95 wait,\nflood / no flood",
}
_LABELS = {"core": "dispatcher", "fifo": "one FIFO", "lanes": "key-hash lanes", "pressure": "model pressure"}
_OURS, _OTHERS, _LIMIT = "#1f6fb2", "#b8bec6", "#c0392b"
_ROOM = 1.3  #: of the longest bar, so that its number fits beside it


def draw(figures: Figures, scenarios: Sequence[str], path: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(2.3 * len(_PANELS), 1.75 * len(scenarios) + 0.6), layout="constrained")
    grid = figure.subplots(len(scenarios), len(_PANELS), squeeze=False)
    for row, scenario in zip(grid, scenarios, strict=True):
        for axes, (measure, title) in zip(row, _PANELS.items(), strict=True):
            _panel(axes, figures, scenario, measure)
            if scenario == scenarios[0]:
                axes.set_title(title, fontsize=9, loc="left")
        row[0].set_yticks(range(len(POLICIES)), [_LABELS[policy] for policy in POLICIES], fontsize=8)
        row[0].set_ylabel(scenario.replace("_", "\n"), fontsize=9, rotation=0, ha="right", va="center")
    figure.supxlabel("dashed: a bound that no schedule can beat", fontsize=8, color=_LIMIT)
    figure.savefig(path, dpi=130)


def _panel(axes: Axes, figures: Figures, scenario: str, measure: str) -> None:
    values = [figures[f"{scenario}_{policy}_{measure}"] for policy in POLICIES]
    colours = [_OURS if policy == "core" else _OTHERS for policy in POLICIES]
    axes.barh(range(len(values)), values, color=colours, height=0.7)
    bound = figures.get(f"{scenario}_{BOUND}_{measure}")
    if bound is not None:
        axes.axvline(bound, color=_LIMIT, linestyle="--", linewidth=1)
    for place, value in enumerate(values):
        label = axes.annotate(_number(value), (value, place), (3, 0), textcoords="offset points", va="center")
        label.set(
            fontsize=7, bbox={"color": "white", "pad": 0.5}
        )  # legible where the bound's line crosses it
    axes.set_xlim(0, _ROOM * max([*values, bound or 0.0]))
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
