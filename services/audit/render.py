"""A timeline and a replay's plan as text and as JSON.  Pure."""

from __future__ import annotations

from typing import Any

from services.audit.describe import as_json, facts, title
from services.audit.masking import one_line, scrub
from services.audit.moments import show_instant, show_seconds
from services.audit.observation import Observation
from services.audit.replay import Plan, Refusal, Replay
from services.audit.timeline import Step, Timeline, folded

_MILLISECONDS = 3  #: decimals of seconds in JSON


def timeline_lines(timeline: Timeline) -> list[str]:
    """The journey as a table, then the parts of the way, the summary, and what is not as it should be."""
    whose = f" of user {timeline.user_id}" if timeline.user_id else ""
    lines = [f"request {timeline.request_id}{whose}, made {show_instant(timeline.started_at)}", ""]
    lines += _table(timeline)
    if timeline.stages:
        parts = ", ".join(f"{name} {show_seconds(seconds)}" for name, seconds in timeline.stages.items())
        lines += ["", f"stages: {parts}"]
    lines += ["", timeline.summary]
    lines += [f"! {anomaly}" for anomaly in timeline.anomalies]
    return [one_line(line) for line in lines]


def timeline_json(timeline: Timeline) -> dict[str, Any]:
    """The journey as JSON-ready values; every record is in it, tokens masked."""
    return {
        "request_id": timeline.request_id,
        "user_id": timeline.user_id,
        "started_at": show_instant(timeline.started_at),
        "outcome": None if timeline.outcome is None else timeline.outcome.value,
        "attempts": timeline.attempts,
        "delivered_after_seconds": _rounded(timeline.delivered_after),
        "stage_seconds": {name: _rounded(seconds) for name, seconds in timeline.stages.items()},
        "summary": timeline.summary,
        "anomalies": list(timeline.anomalies),
        "steps": [_step_json(step) for step in timeline.steps],
    }


def plan_lines(plan: Plan, results: list[str | None] | None = None) -> list[str]:
    """One line for each record of the plan; ``results`` (none = sent, else why not) once it was carried out."""
    lines = [_replay_line(replay, _did(results, number)) for number, replay in enumerate(plan.replays)] + [
        _refusal_line(refusal) for refusal in plan.refusals
    ]
    return [one_line(line) for line in lines]


def counts_line(plan: Plan, results: list[str | None] | None = None) -> str:
    """The numbers of the plan, or of what came of it."""
    parts = [f"{plan.matched} matched"]
    if results is None:
        parts.append(f"{len(plan.replays)} to send")
    else:
        failed = sum(result is not None for result in results)
        parts += [f"{len(results) - failed} sent"] + ([f"{failed} failed"] if failed else [])
    for number, what in (
        (len(plan.refusals), "refused"),
        (plan.copies, "left out as copies of a later one"),
        (plan.beyond_limit, "beyond --limit"),
    ):
        parts += [f"{number} {what}"] if number else []
    return ", ".join(parts) + "."


def plan_json(plan: Plan, results: list[str | None] | None = None) -> dict[str, Any]:
    """The plan as JSON-ready values."""
    return {
        "executed": results is not None,
        "matched": plan.matched,
        "copies": plan.copies,
        "beyond_limit": plan.beyond_limit,
        "replays": [
            {
                "source": replay.source.raw.place,
                "topic": replay.sending.topic,
                "partition": replay.sending.partition,
                "request_id": replay.source.request_id,
                "error": _failure(results, number),
            }
            for number, replay in enumerate(plan.replays)
        ],
        "refusals": [{"source": r.source.raw.place, "why": r.why} for r in plan.refusals],
    }


def _table(timeline: Timeline) -> list[str]:
    rows = [("at", "wait", "what", "record", "by", "")]
    for step, count in folded(timeline.steps):
        seen = step.seen
        said = "; ".join(facts(seen)) + (f" ({count} records)" if count > 1 else "")
        stage = seen.envelope.producer.partition("/")[0]
        row = (_since(step.since_start), show_seconds(step.wait), title(seen), seen.raw.place, stage, said)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        "  ".join(
            [row[0].rjust(widths[0]), row[1].rjust(widths[1])]
            + [row[column].ljust(widths[column]) for column in (2, 3, 4)]
            + [row[5]]
        ).rstrip()
        for row in rows
    ]


def _since(seconds: float) -> str:
    return ("+" if seconds >= 0 else "") + show_seconds(seconds)


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "since_start_seconds": _rounded(step.since_start),
        "wait_seconds": _rounded(step.wait),
        "facts": facts(step.seen),
        "producer": step.seen.envelope.producer or None,
        **as_json(step.seen),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, _MILLISECONDS)


def _did(results: list[str | None] | None, number: int) -> str:
    if results is None:
        return "would send"
    failure = _failure(results, number)
    return "sent" if failure is None else f"FAILED ({failure})"


def _failure(results: list[str | None] | None, number: int) -> str | None:
    failure = None if results is None else results[number]
    return None if failure is None else scrub(failure)


def _replay_line(replay: Replay, did: str) -> str:
    sending = replay.sending
    where = "by its key" if sending.partition is None else f"partition {sending.partition}"
    return f"{did}  {replay.source.raw.place} -> {sending.topic} ({where})  {_what(replay.source)}"


def _refusal_line(refusal: Refusal) -> str:
    return f"refused  {refusal.source.raw.place}  {_what(refusal.source)}: {refusal.why}"


def _what(seen: Observation) -> str:
    about = f" of request {seen.request_id}" if seen.request_id else ""
    return f"{title(seen)}{about}"
