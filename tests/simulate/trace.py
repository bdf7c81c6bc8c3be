"""Traffic as values: requests with their arrival, run time and checkpoint.  Pure."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

LOAD_P50, LOAD_P99 = 22.7, 51.8  #: seconds to load a checkpoint, measured in GenTD26
_P99 = 2.3263  #: the normal distribution's 99th percentile, in standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: ``at`` is its arrival in seconds from the trace's start, ``run`` its seconds on a warm GPU."""

    id: str
    user: str
    at: float
    run: float
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests in order of arrival, and the seconds that loading each of their checkpoints takes."""

    requests: tuple[Request, ...]
    loads: dict[str, float]

    @property
    def work(self) -> float:
        """GPU seconds of all runs, without loads."""
        return math.fsum(request.run for request in self.requests)

    @property
    def span(self) -> float:
        """Seconds from the first to the last arrival."""
        return self.requests[-1].at - self.requests[0].at


def a_trace(requests: Iterable[Request], seed: int) -> Trace:
    """Requests put in order, with a load time for each checkpoint: one value per checkpoint, for every policy."""
    ordered = tuple(sorted(requests, key=lambda request: (request.at, request.id)))
    names = sorted({request.checkpoint for request in ordered})
    return Trace(requests=ordered, loads={name: load_seconds(name, seed) for name in names})


def load_seconds(checkpoint: str, seed: int) -> float:
    """A log-normal load time that depends on the checkpoint and the seed alone."""
    chance = random.Random(f"{seed}/{checkpoint}")  # noqa: S311 - made-up times, repeatable by their seed
    return log_normal(chance, LOAD_P50, LOAD_P99)


def log_normal(chance: random.Random, median: float, p99: float) -> float:
    """One draw of the log-normal distribution with this median and 99th percentile."""
    return chance.lognormvariate(math.log(median), math.log(p99 / median) / _P99)


def compressed(trace: Trace, *, workers: int, load: float) -> Trace:
    """The trace with every gap shrunk or stretched alike, so that runs alone take ``load`` of the workers' time.

    A ``load`` above 1 leaves a backlog whatever the schedule.  The order and the relative size of bursts stay.
    """
    factor = trace.work / (load * workers * trace.span)
    start = trace.requests[0].at
    moved = tuple(replace(request, at=(request.at - start) * factor) for request in trace.requests)
    return replace(trace, requests=moved)


def overlaid(trace: Trace, copies: int) -> Trace:
    """The trace of ``copies`` such communities at once: the same checkpoints, other users, bursts at other times."""
    start, span = trace.requests[0].at, trace.span
    requests = [
        replace(
            request,
            id=f"{request.id}~{copy}",
            user=f"{request.user}~{copy}",
            at=(request.at - start + span * copy / copies) % span if copy else request.at - start,
        )
        for copy in range(copies)
        for request in trace.requests
    ]
    requests.sort(key=lambda request: (request.at, request.id))
    return replace(trace, requests=tuple(requests))


def top_share(values: Iterable[str], count: int) -> float:
    """The share of the ``count`` most frequent values."""
    counts = Counter(values)
    return sum(number for _, number in counts.most_common(count)) / counts.total()
