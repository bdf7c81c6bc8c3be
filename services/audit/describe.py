"""What an operator reads of one record: a title of a word or two, and facts.  Pure."""

from __future__ import annotations

from typing import Any

from services.audit.masking import one_line, preview, printable, scrub, scrub_header
from services.audit.moments import show_instant, show_seconds
from services.audit.observation import BURIAL_PREFIX, REPORTS, Observation
from services.contracts.events import (
    BacklogReported,
    CancellationRequested,
    ErrorInfo,
    Event,
    GenerationRequested,
    JobCompleted,
    JobDispatched,
    JobProgressed,
    JobRecorded,
    JobState,
    Phase,
    RequestDelivered,
    RequestModerated,
    Verdict,
    WorkerReported,
)

_TITLES = {
    GenerationRequested: "requested",
    JobDispatched: "dispatched",
    RequestDelivered: "delivered",
    CancellationRequested: "cancellation",
    WorkerReported: "reported",
    BacklogReported: "backlog",
}
_LONGEST_TEXT = 160  #: characters of a command in one line


def title(seen: Observation) -> str:
    """What happened, in one or two words."""
    if seen.burial is not None:
        return "dead letter"
    if seen.problem is not None:
        return "undecodable"
    if seen.event is None:
        return "worker left" if seen.raw.topic in REPORTS else "ledger closed"
    return _event_title(seen.event)


def facts(seen: Observation) -> list[str]:
    """What is worth reading of the record, each a phrase; no token and no graph is among them."""
    found: list[str] = []
    if seen.burial is not None:
        found += _burial_facts(seen)
    if seen.problem is not None and seen.raw.value is not None:
        found += [f"{seen.problem.detail} ({seen.problem.reason.value})", preview(seen.raw.value)]
    elif seen.event is not None:
        found += event_facts(seen.event, seen.raw.partition)
    if seen.envelope.replay_of:
        found.append(f"replay of {seen.envelope.replay_of}")
    return [scrub(fact, seen.event) for fact in found]


def event_facts(event: Event, partition: int) -> list[str]:
    """The facts of a whole event."""
    match event:
        case GenerationRequested():
            return _request_facts(event)
        case RequestModerated():
            return _verdict_facts(event)
        case JobRecorded():
            return _ledger_facts(event)
        case JobDispatched():
            limit = show_seconds((event.deadline_at - event.dispatched_at).total_seconds())
            return [
                f"attempt {event.attempt} to {event.worker_id} on lane {partition}",
                f"{limit} until its deadline",
            ]
        case JobProgressed():
            return _progress_facts(event)
        case JobCompleted():
            return _completion_facts(event)
        case RequestDelivered():
            return _delivery_facts(event)
        case CancellationRequested():
            return ["taken back by its user"]
        case WorkerReported() | BacklogReported():
            return _report_facts(event)


def event_line(event: Event, partition: int) -> str:
    """An event that is known only by itself, as one line; no token and no graph is in it."""
    found = "; ".join(event_facts(event, partition))
    return one_line(scrub(f"{_event_title(event)}: {found}" if found else _event_title(event), event))


def as_json(seen: Observation) -> dict[str, Any]:
    """The record as JSON-ready values; bytes that are no event only as a preview."""
    raw = seen.raw
    burial = seen.burial
    return {
        "topic": raw.topic,
        "partition": raw.partition,
        "offset": raw.offset,
        "appended_at": show_instant(raw.appended_at),
        "key": None if raw.key is None else scrub(raw.key.decode("utf-8", errors="replace"), seen.event),
        "title": title(seen),
        "headers": {name: scrub_header(name, value, seen.event) for name, value in raw.headers},
        "event_type": type(seen.event).__name__ if seen.event is not None else None,
        "event": printable(seen.event) if seen.event is not None else None,
        "tombstone": seen.is_tombstone,
        "problem": None if seen.problem is None else str(seen.problem),
        "preview": preview(raw.value) if seen.problem is not None and raw.value is not None else None,
        "original": None if burial is None else burial.place,
    }


def as_line(seen: Observation) -> str:
    """The record as one line, for reading; an undecodable one and a dead letter show their headers too."""
    raw = seen.raw
    about = f"user {seen.user_id}" if seen.user_id else ""
    subject = f"request {seen.request_id}" if seen.request_id else ""
    if raw.topic in REPORTS:
        subject = f"{raw.topic.removesuffix('s')} {_key(seen)}"
    words = [show_instant(raw.appended_at), raw.place, title(seen), subject, about]
    line = "  ".join(word for word in words if word)
    found = facts(seen)
    if seen.problem is not None or seen.burial is not None:
        found += _header_facts(seen)
    return one_line(line + ("  | " + "; ".join(found) if found else ""))


def _event_title(event: Event) -> str:
    match event:
        case RequestModerated():
            return event.verdict.value.lower()
        case JobRecorded():
            return f"ledger: {event.state.value.lower()}"
        case JobProgressed():
            return event.phase.value.lower()
        case JobCompleted():
            return event.outcome.value.lower()
    return _TITLES[type(event)]


def _key(seen: Observation) -> str:
    return "?" if seen.raw.key is None else seen.raw.key.decode("utf-8", errors="replace")


def _header_facts(seen: Observation) -> list[str]:
    shown = [
        f"{name}={scrub_header(name, value, seen.event)}"
        for name, value in seen.raw.headers
        if not name.startswith(BURIAL_PREFIX)
    ]
    return ["headers " + " ".join(shown)] if shown else ["no headers"]


def _burial_facts(seen: Observation) -> list[str]:
    burial = seen.burial
    assert burial is not None
    attempts = f" after {_count(burial.attempts, 'attempt')}" if burial.attempts is not None else ""
    return [
        f"{burial.stage or 'an unknown stage'} gave up on {burial.place}{attempts}",
        f"{burial.error_class or 'no error class'}: {burial.error_message or 'no message'}",
    ]


def _request_facts(event: GenerationRequested) -> list[str]:
    job = event.job
    facts = [
        f"/{event.command} {_short(event.command_string)}",
        f"{_count(job.images, 'image')} by {job.workflow} {job.workflow_version}, seed {job.seed}",
        f"plan {event.plan}",
    ]
    return facts + event.notes


def _verdict_facts(event: RequestModerated) -> list[str]:
    facts = [f"policy {event.policy_version}"]
    if event.verdict is Verdict.REJECTED:
        facts += [f"{reason.code} ({reason.category})" for reason in event.reasons] or ["no reason given"]
    if event.quota_left is not None:
        facts.append(f"{event.quota_left} left today")
    return facts


def _ledger_facts(event: JobRecorded) -> list[str]:
    facts = []
    if event.state is JobState.DISPATCHED:
        facts.append(f"attempt {event.attempt} to {event.worker_id} on lane {event.lane}")
    elif event.attempt:
        facts.append(f"{_count(event.attempt, 'attempt')} so far")
    if event.failed_workers:
        facts.append(f"failed on {', '.join(event.failed_workers)}")
    if event.last_error is not None:
        facts.append(_error(event.last_error))
    return facts


def _progress_facts(event: JobProgressed) -> list[str]:
    if event.phase is Phase.QUEUED:
        place = "" if event.queue_place is None else f"place {event.queue_place}"
        eta = "" if event.eta_seconds is None else f"about {show_seconds(event.eta_seconds)} to go"
        return [fact for fact in (place, eta) if fact]
    return [f"{event.percent} %", f"attempt {event.attempt}"]


def _completion_facts(event: JobCompleted) -> list[str]:
    facts = ["final" if event.final else "not final"]
    if event.attempt:
        facts.append(f"attempt {event.attempt}" + (f" on {event.worker_id}" if event.worker_id else ""))
    if event.images:
        facts.append(_count(len(event.images), "image"))
    if event.gpu_seconds:
        facts.append(f"{show_seconds(event.gpu_seconds)} of GPU")
    if event.reused:
        facts.append("images were stored already")
    if event.error is not None:
        facts.append(_error(event.error))
    return facts


def _delivery_facts(event: RequestDelivered) -> list[str]:
    facts = [f"{event.outcome.value.lower()} by {event.method.value.lower().replace('_', ' ')}"]
    if event.images:
        facts.append(_count(event.images, "image"))
    if event.error_code:
        facts.append(event.error_code)
    if event.message_id:
        facts.append(f"message {event.message_id}")
    return facts


def _report_facts(event: WorkerReported | BacklogReported) -> list[str]:
    if isinstance(event, WorkerReported):
        return _worker_facts(event)
    return [f"{event.queued} waiting", f"{_count(event.workers, 'worker')} attached, {event.idle} idle"]


def _worker_facts(event: WorkerReported) -> list[str]:
    jobs = [f"{job.state.value.lower()} {job.request_id}" for job in event.jobs]
    facts = [
        f"report {event.sequence} of {event.incarnation}",
        f"lanes {', '.join(map(str, event.lanes)) or 'none'}",
        *(jobs or ["idle"]),
    ]
    return facts + (["draining"] if event.draining else [])


def _error(error: ErrorInfo) -> str:
    return f"{error.code}: {error.message}"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_TEXT else flat[: _LONGEST_TEXT - 1] + "…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
