"""What a run is judged by.  Pure: figures out of `Run`, each a plain number.

Name | Meaning
--- | ---
wait_mean_s, wait_p99_s | seconds from arrival to the first sampling step, the checkpoint's load included
gpu_busy | share of the workers' time between first and last arrival that went into runs; loads are no use to anyone
gpu_loading | share of the workers' time up to the last run's end that went into loads
loads | checkpoint loads in the whole run
jain | Jain's index, (Σx)² / nΣx², over users; x is a user's GPU seconds per second with a request unfinished, at most 1
worst_slowdown | the largest mean over a user's requests of (wait + run) / run, runs under 10 s taken as 10 s
makespan_s | seconds from the first arrival to the end of the last run
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.simulate.clock import Run, Served

_SHORT_RUN = (
    10.0  #: seconds; relative to a run of almost nothing any wait is long (Feitelson's bounded slowdown)
)


def measure(run: Run) -> dict[str, float]:
    """Every figure by its name."""
    waits = sorted(served.wait for served in run.served)
    users = _by_user(run.served)
    first = run.trace.requests[0].at
    end = max(served.ended for served in run.served)
    return {
        "wait_mean_s": math.fsum(waits) / len(waits),
        "wait_p99_s": percentile(waits, 0.99),
        "gpu_busy": busy_share(run),
        "gpu_loading": run.load_seconds / (run.workers * (end - first)),
        "loads": run.loads,
        "jain": jain(min(1.0, _runs(mine) / presence(mine)) for mine in users),
        "worst_slowdown": max(_slowdown(mine) for mine in users),
        "makespan_s": end - first,
    }


def percentile(ascending: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that ``share`` of all do not exceed."""
    return ascending[math.ceil(share * len(ascending)) - 1]


def busy_share(run: Run) -> float:
    """Run seconds between the first and the last arrival, over the workers' seconds then."""
    first, last = run.trace.requests[0].at, run.trace.requests[-1].at
    seconds = math.fsum(max(0.0, min(served.ended, last) - served.started) for served in run.served)
    return seconds / (run.workers * (last - first))


def jain(values: Iterable[float]) -> float:
    """1 where all are equal, 1/n where one has everything."""
    xs = list(values)
    return math.fsum(xs) ** 2 / (len(xs) * math.fsum(x * x for x in xs))


def presence(mine: Iterable[Served]) -> float:
    """Seconds during which at least one of a user's requests was unfinished."""
    total, until = 0.0, -math.inf
    for served in sorted(mine, key=lambda served: served.request.at):
        total += max(0.0, served.ended - max(until, served.request.at))
        until = max(until, served.ended)
    return total


def _by_user(served: Iterable[Served]) -> list[list[Served]]:
    users: dict[str, list[Served]] = defaultdict(list)
    for one in served:
        users[one.request.user].append(one)
    return list(users.values())


def _runs(mine: Iterable[Served]) -> float:
    return math.fsum(served.request.run for served in mine)


def _slowdown(mine: Sequence[Served]) -> float:
    ratios = [(s.wait + s.request.run) / max(s.request.run, _SHORT_RUN) for s in mine]
    return max(1.0, math.fsum(ratios) / len(ratios))
