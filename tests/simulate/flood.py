"""One user sends a thousand requests at once: what it does to everybody else.  Pure.

Both runs, with the flood and without, are judged by the same requests: those of other users that arrive while it
matters, from the flood's moment until twice the time that the whole fleet would need for the flood's runs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.simulate.clock import Run
from tests.simulate.measures import percentile
from tests.simulate.trace import Request, Trace, load_seconds

FLOODER = "flooder"
FLOOD = 1_000  #: requests
#: A checkpoint that nobody else wants: every worker that runs the flood loses what others need.
CHECKPOINT = "flooder's own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flooded:
    """A trace with the flood in it, and the requests of others by which it is judged."""

    trace: Trace
    judged: frozenset[str]


def flooded(trace: Trace, *, workers: int, seed: int, count: int = FLOOD) -> Flooded:
    """The trace with ``count`` requests of one more user when half of it has arrived, with runs like the trace's."""
    requests = trace.requests
    at = requests[len(requests) // 2].at
    runs = [requests[n * len(requests) // count].run for n in range(count)]
    flood = [
        Request(id=f"flood{n}", user=FLOODER, at=at, run=run, checkpoint=CHECKPOINT)
        for n, run in enumerate(runs)
    ]
    until = at + 2 * sum(runs) / workers
    loads = trace.loads | {CHECKPOINT: load_seconds(CHECKPOINT, seed)}
    together = tuple(sorted((*requests, *flood), key=lambda request: (request.at, request.id)))
    return Flooded(
        trace=replace(trace, requests=together, loads=loads),
        judged=frozenset(request.id for request in requests if at <= request.at <= until),
    )


def others_p95(run: Run, judged: frozenset[str]) -> float:
    """The 95th percentile of the judged requests' waits, in seconds."""
    return percentile(sorted(served.wait for served in run.served if served.request.id in judged), 0.95)
