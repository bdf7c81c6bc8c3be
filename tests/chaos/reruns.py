"""GPU runs that were repeated, and what explains a repetition.  Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.history import History, Incident, Run
from tests.chaos.schedule import Kind

#: Seconds by which the instants of two processes may differ: one writes down what it did a moment after it.
SLACK = 0.5
#: What a worker does not outlive, or is silent for so long after that its jobs are given to others.
_DEADLY = frozenset({Kind.KILL, Kind.TERMINATE, Kind.FREEZE})
#: What keeps a worker's reports from the broker looks to everybody else as if the worker were dead.
_CUTS = frozenset({Kind.RESET, Kind.BLACKHOLE, Kind.HALF_OPEN})
FAILED = "retryable_failure"


@dataclass(frozen=True, slots=True)
class _Runs:
    """What the runs are looked up by."""

    request_of: dict[str, str] = field(default_factory=dict)  #: by prompt id, which is the dispatch id
    worker_of: dict[str, str] = field(default_factory=dict)
    retryable: frozenset[str] = frozenset()  #: dispatch ids of attempts that ended in a retryable failure


def repeated(history: History) -> Iterator[tuple[str, Run, Run, str]]:
    """Every run that followed another of the same request: the request, both, and why; "" where nothing explains it."""
    known = _known(history)
    by_request: dict[str, list[Run]] = defaultdict(list)
    for run in history.runs:
        by_request[known.request_of.get(run.prompt_id, run.prompt_id)].append(run)
    for request_id, runs in by_request.items():
        for run, again in pairwise(sorted(runs, key=lambda run: run.posted_at)):
            yield request_id, run, again, _why(run, again, known, history.incidents)


def unexplained(history: History) -> Iterator[tuple[str, Run, Run]]:
    """Those that nothing explains."""
    return ((request, run, again) for request, run, again, why in repeated(history) if not why)


def explanations(history: History) -> Counter[str]:
    """How many repetitions each cause explains; an empty name counts those that nothing does."""
    return Counter(why for _, _, _, why in repeated(history))


def _known(history: History) -> _Runs:
    return _Runs(
        request_of={event.dispatch_id: event.request_id for event in history.dispatched},
        worker_of={event.dispatch_id: event.worker_id for event in history.dispatched},
        retryable=frozenset(
            event.dispatch_id
            for event in history.completed
            if event.dispatch_id is not None and event.retryable and not event.final
        ),
    )


def _why(run: Run, again: Run, known: _Runs, incidents: tuple[Incident, ...]) -> str:
    """The attempt's own failure, or what struck its worker between the two runs."""
    if run.prompt_id in known.retryable:
        return FAILED
    worker = known.worker_of.get(run.prompt_id, "")
    for incident in incidents:
        if incident.since > again.posted_at + SLACK or incident.until < run.posted_at - SLACK:
            continue
        if incident.kind in _DEADLY and incident.target == worker:
            return f"worker_{incident.kind}"
        if incident.kind in _CUTS and incident.target == f"kafka:{worker}":
            return f"worker_{incident.kind}"
    return ""
