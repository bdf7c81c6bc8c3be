"""Figures that no schedule can beat, not even one that knows the future.  Pure.

Each is proved on its own, so no single schedule need reach them all.  Below, n requests of run p and arrival r go to
m alike workers that run one at a time, without preemption, from the first arrival on, with nothing in memory.

mean wait
    Let loads cost nothing.  Whatever m workers do, one worker of m times their speed can do by sharing its time among
    the same requests at the same rates, with the same ends.  On one worker, shortest-remaining-time-first has the
    least sum of ends (Schrage 1968).  So the mean of (end - r - p), which is the mean wait, is at least SRPT's on the
    fast worker less r and p; and at least 0.
99th percentile of the wait
    It is at most w only if all but k = n - ceil(0.99 n) requests begin by r + w.  Of the requests that arrive in
    [s, t], then, all but k begin by t + w; at most m of those still run at t + w; so the others, which make at least
    the interval's work less its k + m longest runs, are done by t + w, on m workers from s on:
    W(s, t) - longest(k + m) <= m (t + w - s).  Any interval gives a w; the one with the largest excess is taken.
GPU busy
    Of what arrived by the last arrival T, let U_c be the seconds that checkpoint c's runs have had by then.  A worker
    that has run any of them has loaded c, for l_c, and so has given them T - l_c at most: at least U_c / (T - l_c)
    workers have.  Runs and loads fill the workers' time, so that the sum of U_c + l_c U_c / (T - l_c) is at most m T.
    The most that this allows goes to the checkpoints that load fastest.
    And for every s, runs have had at most what arrived by s, and then m (T - s).
checkpoint loads
    A checkpoint that is asked for is loaded once.
makespan
    The last end is at least any r + p, at least s + W(arriving from s on) / m for every s, and, since runs and the
    loads counted above fill it, at least (W + loads) / m from the first arrival.
Jain's index and slowdown
    1 by definition.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict

from tests.simulate.trace import Request, Trace


def bound(trace: Trace, workers: int) -> dict[str, float]:
    """A bound for every figure of `measures.measure`, by the same name."""
    return {
        "wait_mean_s": mean_wait(trace, workers),
        "wait_p99_s": wait_percentile(trace, workers, 0.99),
        "gpu_busy": gpu_busy(trace, workers),
        "gpu_loading": 0.0,
        "loads": len(trace.loads),
        "jain": 1.0,
        "worst_slowdown": 1.0,
        "makespan_s": makespan(trace, workers),
    }


def mean_wait(trace: Trace, workers: int) -> float:
    """Seconds; by shortest-remaining-time-first on one worker of all workers' speed."""
    ends = math.fsum(_srpt_ends(trace.requests, workers))
    earliest = math.fsum(request.at + request.run for request in trace.requests)
    return max(0.0, (ends - earliest) / len(trace.requests))


def wait_percentile(trace: Trace, workers: int, share: float) -> float:
    """Seconds; by the interval of arrivals whose work exceeds the workers' time most."""
    requests = trace.requests
    spared = len(requests) - math.ceil(share * len(requests)) + workers
    first, last = _densest(requests, workers)
    interval = requests[first : last + 1]
    work = math.fsum(request.run for request in interval)
    longest = math.fsum(heapq.nlargest(spared, (request.run for request in interval)))
    return max(0.0, (work - longest) / workers - (interval[-1].at - interval[0].at))


def gpu_busy(trace: Trace, workers: int) -> float:
    """Share of the workers' time between the first and the last arrival."""
    first, last = trace.requests[0].at, trace.requests[-1].at
    most = _runs_beside_loads(trace, workers)
    arrived = 0.0
    for (
        request
    ) in trace.requests:  # just before each arrival, what came so far is all that can have been done
        most = min(most, arrived + workers * (last - request.at))
        arrived += request.run
    return most / (workers * (last - first))


def _runs_beside_loads(trace: Trace, workers: int) -> float:
    """The most run seconds between the first and the last arrival when each must be beside its load."""
    work: dict[str, float] = defaultdict(float)
    for request in trace.requests:
        work[request.checkpoint] += request.run
    length = trace.span
    left, done = workers * length, 0.0
    for checkpoint in sorted(work, key=trace.loads.__getitem__):
        net = (length - trace.loads[checkpoint]) / length  # of a worker's time with one load of it
        if net <= 0.0:
            break
        share = min(work[checkpoint], left * net)
        done += share
        left -= share / net
    return done


def makespan(trace: Trace, workers: int) -> float:
    """Seconds from the first arrival."""
    requests, first = trace.requests, trace.requests[0].at
    least = (trace.work + math.fsum(trace.loads.values())) / workers
    left = 0.0
    for request in reversed(requests):
        left += request.run
        least = max(least, request.at - first + max(request.run, left / workers))
    return least


def _srpt_ends(requests: tuple[Request, ...], speed: int) -> list[float]:
    """When each request ends on one preemptive worker of this speed that always runs the shortest remainder."""
    ends: list[float] = []
    remainders: list[float] = []
    now = 0.0
    for request in requests:
        while remainders and now + remainders[0] / speed <= request.at:
            now += heapq.heappop(remainders) / speed
            ends.append(now)
        if remainders:
            heapq.heapreplace(remainders, remainders[0] - (request.at - now) * speed)
        now = request.at
        heapq.heappush(remainders, request.run)
    while remainders:
        now += heapq.heappop(remainders) / speed
        ends.append(now)
    return ends


def _densest(requests: tuple[Request, ...], workers: int) -> tuple[int, int]:
    """Indices of the first and last request of the interval with the largest work / workers - length (Kadane)."""
    best, best_at, since = -math.inf, (0, 0), 0
    excess = 0.0
    for index, request in enumerate(requests):
        if index:
            excess -= request.at - requests[index - 1].at
        if excess <= 0.0:
            excess, since = 0.0, index
        excess += request.run / workers
        if excess > best:
            best, best_at = excess, (since, index)
    return best_at
