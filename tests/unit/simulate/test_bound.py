"""The bound holds against every schedule there is, for traces small enough to try them all."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from tests.simulate import bound
from tests.simulate.clock import Give, Order, Run, Worker, simulate
from tests.simulate.measures import measure, percentile
from tests.simulate.trace import Request, Trace, load_seconds
from tests.unit.simulate.small_traces import trace_of


class InOrder:
    """Starts requests in a given order, however long workers wait for it: every sensible schedule is one of these."""

    held_limit = 0
    tick_seconds = math.inf

    def __init__(self, order: Sequence[str], fleet: Sequence[Worker]) -> None:
        self.order = list(order)
        self.fleet = fleet
        self.here: dict[str, Request] = {}

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """It may be its turn."""
        self.here[request.id] = request
        return self._next()

    def freed(self, worker: Worker, ended: Request | None, now: float) -> Iterator[Order]:
        """The next may start."""
        return self._next()

    def ticked(self, now: float) -> Iterator[Order]:
        """Nothing depends on time."""
        return iter(())

    def _next(self) -> Iterator[Order]:
        while self.order and self.order[0] in self.here:
            request = self.here[self.order[0]]
            idle = [worker for worker in self.fleet if not worker.busy]
            if not idle:
                return
            self.order.pop(0)
            yield Give(next((w for w in idle if w.loaded == request.checkpoint), idle[0]), request)


def every_run(trace: Trace, workers: int) -> Iterator[Run]:
    """One run for each order in which the requests could start."""
    for order in itertools.permutations(request.id for request in trace.requests):
        yield simulate(trace, workers, partial(InOrder, order))


def a_small_trace(seed: int) -> Trace:
    """Five requests that come almost at once."""
    chance = random.Random(seed)  # noqa: S311 - any small traces, the same in every run
    ats = sorted(chance.uniform(0, 20) for _ in range(5))
    requests = tuple(
        Request(id=f"r{n}", user="u", at=at, run=chance.uniform(1, 60), checkpoint=chance.choice("xyz"))
        for n, at in enumerate(ats)
    )
    return Trace(requests=requests, loads={name: load_seconds(name, seed) / 10 for name in "xyz"})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("workers", [1, 2])
def test_no_order_of_starts_beats_the_bound(seed: int, workers: int) -> None:
    """Of all 120 orders, none has a figure on the wrong side."""
    trace = a_small_trace(seed)
    used = {request.checkpoint for request in trace.requests}
    trace = Trace(requests=trace.requests, loads={name: trace.loads[name] for name in used})
    best = bound.bound(trace, workers)
    sixty = bound.wait_percentile(trace, workers, 0.6)
    for run in every_run(trace, workers):
        figures = measure(run)
        assert figures["gpu_busy"] <= best["gpu_busy"] + 1e-9
        assert figures["jain"] <= best["jain"] + 1e-9
        for name in ("wait_mean_s", "wait_p99_s", "loads", "gpu_loading", "worst_slowdown", "makespan_s"):
            assert figures[name] >= best[name] - 1e-9, name
        assert percentile(sorted(served.wait for served in run.served), 0.6) >= sixty - 1e-9


def test_the_mean_wait_is_that_of_the_shortest_first() -> None:
    """Runs of 10 s and 30 s that come together on one worker wait 0 s and 10 s at best."""
    assert bound.mean_wait(trace_of(("A1", 0, 30, "x"), ("B1", 0, 10, "x")), 1) == pytest.approx(5.0)


def test_a_late_short_run_cuts_in_on_the_fast_worker() -> None:
    """SRPT lets 4 s pass 30 s that began at 0: ends at 34 and 9, less arrivals and runs, is 4 s for two."""
    assert bound.mean_wait(trace_of(("A1", 0, 30, "x"), ("B1", 5, 4, "x")), 1) == pytest.approx(2.0)


def test_the_wait_of_a_crowd_shows_in_the_percentile() -> None:
    """200 runs of 10 s at once on one worker: 2 may wait longer and 1 still runs, so 197 x 10 s lie before the rest."""
    crowd = trace_of(*[(f"A{n}", 0, 10, "x") for n in range(200)])
    assert bound.wait_percentile(crowd, 1, 0.99) == pytest.approx(1970.0)


def test_what_has_not_arrived_cannot_keep_workers_busy() -> None:
    """10 s of work by the last arrival at 100 s on one worker is a tenth."""
    assert bound.gpu_busy(trace_of(("A1", 0, 10, "x"), ("B1", 100, 10, "x")), 1) == pytest.approx(0.1)


def test_a_worker_with_plenty_to_do_still_loads_first() -> None:
    """With a load of 10 s, 90 of the first 100 s are left for runs."""
    assert bound.gpu_busy(trace_of(("A1", 0, 500, "x"), ("B1", 100, 10, "x")), 1) == pytest.approx(0.9)


def test_each_run_is_beside_a_load_of_its_own_checkpoint() -> None:
    """100 s of one worker: all 45 s that load for 10 s take 50 s with their load, the other 50 s give 25 s of runs."""
    trace = Trace(
        requests=(
            Request(id="r1", user="u", at=0, run=45, checkpoint="fast"),
            Request(id="r2", user="u", at=0, run=500, checkpoint="slow"),
            Request(id="r3", user="u", at=100, run=10, checkpoint="slow"),
        ),
        loads={"fast": 10, "slow": 50},
    )
    assert bound.gpu_busy(trace, 1) == pytest.approx((45 + 25) / 100)
