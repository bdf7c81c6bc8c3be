"""GPU runs that were repeated, and what explains a repetition.  Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.history import Dispatched, History, Incident, Run
from tests.chaos.schedule import Kind

#: Seconds by which the instants of two processes may differ: one writes down what it did a moment after it.
SLACK = 0.5
#: What a worker does not outlive, or is silent for so long after that its jobs are given to others.
_DEADLY = frozenset({Kind.KILL, Kind.TERMINATE, Kind.FREEZE})
#: What keeps a worker's reports from the broker looks to everybody else as if the worker were dead.
_CUTS = frozenset({Kind.RESET, Kind.BLACKHOLE, Kind.HALF_OPEN})
FAILED = "retryable_failure"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the runs are looked up by."""

    attempts: dict[str, Dispatched]  #: by prompt id, which is the dispatch id
    retryable: frozenset[str]  #: dispatch ids of attempts that ended in a retryable failure


def repeated(history: History) -> Iterator[tuple[str, Run, Run, str]]:
    """Every run of what had been run before: the request, the run before, this one, and why; "" for no reason."""
    known = _known(history)
    by_request: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(history.runs, key=lambda run: run.posted_at):
        attempt = known.attempts.get(run.prompt_id)
        earlier = by_request[attempt.request_id if attempt else run.prompt_id]
        before = next((one for one in reversed(earlier) if _overlap(one, run, known)), None)
        if before is not None:
            request_id = attempt.request_id if attempt else run.prompt_id
            yield request_id, before, run, _why(before, run, known, history.incidents)
        earlier.append(run)


def unexplained(history: History) -> Iterator[tuple[str, Run, Run]]:
    """Those that nothing explains."""
    return ((request, run, again) for request, run, again, why in repeated(history) if not why)


def explanations(history: History) -> Counter[str]:
    """How many repetitions each cause explains; an empty name counts those that nothing does."""
    return Counter(why for _, _, _, why in repeated(history))


def _known(history: History) -> _Known:
    return _Known(
        attempts={event.dispatch_id: event for event in history.dispatched},
        retryable=frozenset(
            event.dispatch_id
            for event in history.completed
            if event.dispatch_id is not None and event.retryable and not event.final
        ),
    )


def _overlap(run: Run, again: Run, known: _Known) -> bool:
    """Whether both draw the same images: the same part, or one draws all."""
    parts = [
        known.attempts[one.prompt_id].part if one.prompt_id in known.attempts else 0 for one in (run, again)
    ]
    return parts[0] == parts[1] or 0 in parts


def _why(run: Run, again: Run, known: _Known, incidents: tuple[Incident, ...]) -> str:
    """The attempt's own failure, or what struck its worker between the two runs."""
    if run.prompt_id in known.retryable:
        return FAILED
    worker = known.attempts[run.prompt_id].worker_id if run.prompt_id in known.attempts else ""
    for incident in incidents:
        if incident.since > again.posted_at + SLACK or incident.until < run.posted_at - SLACK:
            continue
        if incident.kind in _DEADLY and incident.target == worker:
            return f"worker_{incident.kind}"
        if incident.kind in _CUTS and incident.target == f"kafka:{worker}":
            return f"worker_{incident.kind}"
    return ""
