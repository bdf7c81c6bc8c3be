"""Every policy over the same traffic, on a fleet of each size, with a backlog and without, with a flood and without.

``backlog`` traffic is compressed until its runs alone are 1.2 times what the workers can do, so that requests wait
whatever the schedule.  ``calm`` traffic fills a tenth of their time on average, and its busiest hours all of it.
The larger fleet serves several communities at once (`overlaid`), so that each worker has dozens of requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.simulate.baselines.fifo import Fifo
from tests.simulate.baselines.lanes import Lanes
from tests.simulate.baselines.pressure import ModelPressure
from tests.simulate.bound import bound
from tests.simulate.clock import Scheduler, Worker, simulate
from tests.simulate.core import Core
from tests.simulate.flood import FLOOD, Flooded, flooded, others_p95
from tests.simulate.measures import measure
from tests.simulate.trace import Trace, compressed, overlaid

BOUND = "bound"
#: Names in figures, and what makes the scheduler.
POLICIES: dict[str, Callable[[Sequence[Worker]], Scheduler]] = {
    "core": Core,
    "fifo": Fifo,
    "lanes": Lanes,
    "pressure": ModelPressure,
}
LOADS = {"backlog": 1.2, "calm": 0.1}
_LEAST_WAIT = 1.0  #: seconds; a wait of less is nothing to be a multiple of


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A number of workers, and how many communities' traffic they serve."""

    workers: int
    copies: int = 1


FLEETS = (Fleet(workers=60), Fleet(workers=1_000, copies=4))
QUICK_FLEETS = (Fleet(workers=6), Fleet(workers=20, copies=2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Traffic for a fleet, as it is and with a flood in it."""

    name: str  #: such as ``w60_backlog``
    workers: int
    trace: Trace
    flooded: Flooded


def scenarios(trace: Trace, fleets: Sequence[Fleet], seed: int, flood: int = FLOOD) -> Iterator[Scenario]:
    """Each fleet with each load."""
    for fleet in fleets:
        crowd = overlaid(trace, fleet.copies)
        for load_name, load in LOADS.items():
            traffic = compressed(crowd, workers=fleet.workers, load=load)
            yield Scenario(
                name=f"w{fleet.workers}_{load_name}",
                workers=fleet.workers,
                trace=traffic,
                flooded=flooded(traffic, workers=fleet.workers, seed=seed, count=flood),
            )


def figures(scenario: Scenario) -> Iterator[tuple[str, str, float]]:
    """Policy, measure and value, one policy after the other, the bound first."""
    for measure_name, value in bound(scenario.trace, scenario.workers).items():
        yield BOUND, measure_name, value
    for policy, making in POLICIES.items():
        for measure_name, value in judged(scenario, making).items():
            yield policy, measure_name, value


def judged(scenario: Scenario, making: Callable[[Sequence[Worker]], Scheduler]) -> dict[str, float]:
    """One policy's figures, those of the flood among them."""
    run = simulate(scenario.trace, scenario.workers, making)
    storm = simulate(scenario.flooded.trace, scenario.workers, making)
    before = others_p95(run, scenario.flooded.judged)
    after = others_p95(storm, scenario.flooded.judged)
    flood = {
        "others_p95_s": before,
        "others_p95_flooded_s": after,
        "flood_ratio": max(after, _LEAST_WAIT) / max(before, _LEAST_WAIT),
    }
    return measure(run) | flood
