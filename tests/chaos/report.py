"""A run in figures: one flat object, and a table for people.  Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from tests.chaos.cast import CAST
from tests.chaos.checker import INVARIANTS, Violation
from tests.chaos.history import History, first_finals, first_of_each
from tests.chaos.reruns import explanations
from tests.chaos.schedule import Kind
from tests.chaos.settings import ChaosSettings
from tests.chaos.stalls import Stall

Figures = dict[str, float | int | str | None]
#: Seconds that the end of one process of a stage may keep its partitions waiting.
AIMS = {Kind.KILL: 12.0, Kind.TERMINATE: 1.0}
_SHOWN = 20  #: violations that the table lists by name


def figures(
    settings: ChaosSettings,
    history: History,
    violations: Iterable[Violation],
    stalls: Iterable[Stall],
    *,
    seconds: float,
    restarts: Mapping[str, int],
) -> Figures:
    """Everything countable; a percentile of nothing is none."""
    return {
        "seed": settings.seed,
        "requests": len(first_of_each(history.requested)),
        "commands": len(history.told),
        "never_queued": _never_queued(history),
        "users": settings.users,
        "seconds": round(seconds, 1),
        **_faults(history),
        **_broken(violations),
        **_ends(history),
        **_gpu(history),
        **_repetitions(history),
        "exits_by_themselves": sum(restarts.values()),
        **_stall_figures(list(stalls)),
    }


def table(found: Figures, violations: list[Violation]) -> str:
    """The figures for people: what was done, what came of it, what broke, and how long it stalled."""
    lines = [
        f"  {found['commands']} commands of {found['users']} users in {found['seconds']} s",
        f'  {found["never_queued"]} of them read "Queueing" for ever, since their bot died before the broker had them',
        f"  {found['faults']} faults: {_listed(found, 'faults_')}",
        f"  {found['requests']} requests: {_listed(found, 'ended_')}; failures: {_listed(found, 'failed_')}",
        f"  {found['gpu_runs']} GPU runs, {found['gpu_reruns']} repeated: {_listed(found, 'gpu_reruns_')}",
        f"  records repeated: {_listed(found, 'repeated_')}; late successes: {found['late_successes']}",
        "",
        *(f"  {name:<24} {found[name]:>6}" for name in INVARIANTS),
        "",
        *_stall_lines(found),
        "",
        *(f"  {violation}" for violation in violations[:_SHOWN]),
    ]
    if len(violations) > _SHOWN:
        lines.append(f"  and {len(violations) - _SHOWN} more")
    verdict = f"{len(violations)} violations" if violations else "every invariant held"
    return "\n".join([*lines, f"  seed {found['seed']}: {verdict}"])


def _listed(found: Figures, prefix: str) -> str:
    """The figures of a group that are not zero."""
    some = [
        f"{name.removeprefix(prefix)} {value}"
        for name, value in found.items()
        if name.startswith(prefix) and value
    ]
    return ", ".join(some) or "none"


def _stall_lines(found: Figures) -> list[str]:
    """One line for each stage and way to end; an aim that was missed is marked."""
    lines = [f"  {'stall after':<12} {'of a':<12} {'ends':>5} {'alone':>6} {'p50':>9} {'p99':>9}   aim"]
    for kind, aim in AIMS.items():
        for stage in CAST.stages:
            name = f"stall_{kind}_{stage}"
            half, most = found[f"{name}_p50_s"], found[f"{name}_p99_s"]
            shown = [f"{'-' if value is None else f'{value} s':>9}" for value in (half, most)]
            missed = "  missed" if isinstance(most, float) and most > aim else ""
            counts = f"{found[f'{name}_count']:>5} {found[f'{name}_alone']:>6}"
            lines.append(f"  {kind:<12} {stage:<12} {counts} {' '.join(shown)}   {aim:g} s{missed}")
    return lines


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _faults(history: History) -> Figures:
    counts = Counter(incident.kind for incident in history.incidents)
    return {"faults": counts.total(), **{f"faults_{kind}": counts[kind] for kind in Kind}}


def _broken(violations: Iterable[Violation]) -> Figures:
    counts = Counter(violation.name for violation in violations)
    return {"violations": counts.total(), **{name: counts[name] for name in INVARIANTS}}


def _ends(history: History) -> Figures:
    delivered = first_of_each(history.delivered).values()
    outcomes = Counter(event.outcome.lower() for event in delivered)
    codes = Counter(event.code for event in first_finals(history).values() if event.code)
    return {
        **{f"ended_{outcome}": count for outcome, count in sorted(outcomes.items())},
        **{f"failed_{code}": count for code, count in sorted(codes.items())},
        "told_in_the_channel": sum(event.method == "CHANNEL_MESSAGE" for event in delivered),
    }


def _never_queued(history: History) -> int:
    """Commands whose bot died with them in hand: their users read "Queueing", and nothing is."""
    requested = {request.request_id for request in history.requested}
    last = {told.request_id: told.shown[-1].states[-1:] for told in history.told if told.shown}
    return sum(
        request_id not in requested and bool(states) and states[0].text.startswith("Queueing: ")
        for request_id, states in last.items()
    )


def _gpu(history: History) -> Figures:
    reruns = explanations(history)
    return {
        "gpu_runs": len(history.runs),
        "gpu_reruns": reruns.total(),
        **{f"gpu_reruns_{why}": count for why, count in sorted(reruns.items()) if why},
    }


def _repetitions(history: History) -> Figures:
    """At least once, seen: records that say again what another has said, beyond those that the run wrote itself."""
    found: Figures = {}
    for name in ("requested", "moderated", "delivered"):
        records = [record for record in getattr(history, name) if record.place not in history.copies]
        found[f"repeated_{name}"] = len(records) - len({record.request_id for record in records})
    finals = [end for end in history.completed if end.final and end.place not in history.copies]
    found["repeated_ends"] = len(finals) - len({end.request_id for end in finals})
    firsts = first_finals(history)
    found["late_successes"] = sum(
        end.outcome == "SUCCEEDED" and firsts[end.request_id].outcome != "SUCCEEDED" for end in finals
    )
    return found


def _stall_figures(stalls: list[Stall]) -> Figures:
    """By stage and kind, without those in which another fault had a part; how many there were of both."""
    found: Figures = {}
    for kind in AIMS:
        for stage in CAST.stages:
            of_both = [stall for stall in stalls if (stall.stage, stall.kind) == (stage, kind)]
            alone = [stall.seconds for stall in of_both if not stall.disturbed]
            name = f"stall_{kind}_{stage}"
            found |= {f"{name}_count": len(of_both), f"{name}_alone": len(alone)}
            found |= {f"{name}_p50_s": percentile(alone, 0.5), f"{name}_p99_s": percentile(alone, 0.99)}
    return found
