"""The dispatcher's decisions: what to write, given what it believes and what just happened.  Pure.

Every function returns actions in the order in which they must become durable; the shell performs them one by
one and tells `State` after each, so that a broken-off list is decided anew without harm.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import (
    ErrorInfo,
    GenerationRequested,
    JobCompleted,
    JobDispatched,
    JobProgressed,
    JobRecorded,
    JobState,
    Outcome,
    Phase,
)
from services.dispatcher.policy import Policy
from services.dispatcher.state import Job, State, Worker

_DISPATCH_IDS = uuid.UUID("6f9a1b0e-6d0c-5c0e-9d0e-2f6b0c1d7a55")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write this to the ledger, in the user's partition."""

    record: JobRecorded
    partition: int

    @property
    def request_id(self) -> str:
        """Whose state it is."""
        return self.record.request.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Send this to the lane; ``reason`` is why there is another attempt, ``first``, or ``moved`` lane."""

    event: JobDispatched
    lane: int
    reason: str

    @property
    def request_id(self) -> str:
        """Whose attempt it is."""
        return self.event.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """Tell everyone that the request is over."""

    event: JobCompleted

    @property
    def request_id(self) -> str:
        """Which one is over."""
        return self.event.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Delete the request from the ledger."""

    request_id: str
    partition: int


Action = Record | Dispatch | Complete | Forget


def dispatch_id_of(request_id: str, attempt: int) -> str:
    """The id of one attempt: the same whenever it is decided, so that a repeated dispatch is recognised."""
    return str(uuid.uuid5(_DISPATCH_IDS, f"{request_id}/{attempt}"))


def admit(
    state: State, request: GenerationRequested, partition: int, now: datetime, policy: Policy
) -> list[Action]:
    """Take an approved request in: dispatched at once where a worker is free and nobody waits, else queued."""
    if state.knows(request.request_id):
        return []
    record = new_record(request, now)
    job = Job(record=record, partition=partition)
    if request.expires_at <= now:
        return end(job, Outcome.EXPIRED, error_info(ErrorCode.EXPIRED), now)
    if not state.backlog and (worker := choose_worker(state, job, now, policy)) is not None:
        return assign(state, job, worker, now, policy)
    return [Record(record=record, partition=partition)]


def new_record(request: GenerationRequested, now: datetime) -> JobRecorded:
    """The first ledger record of a request."""
    return JobRecorded(request=request, state=JobState.QUEUED, recorded_at=now, queued_at=now)


def schedule(state: State, now: datetime, policy: Policy) -> list[Action]:
    """The next dispatch, or nothing when no waiting job fits a worker with room.

    The least-recently-served user's oldest request comes first; one that no present worker can run lets others pass.
    """
    if not any(has_room(state, worker, now, policy) for worker in state.workers.values()):
        return []
    for user_id in sorted(state.backlog, key=lambda user: (state.served.get(user, 0), _first(state, user))):
        job = state.jobs[state.backlog[user_id][0]]
        worker = choose_worker(state, job, now, policy)
        if worker is not None:
            return assign(state, job, worker, now, policy)
    return []


def choose_worker(state: State, job: Job, now: datetime, policy: Policy) -> Worker | None:
    """The emptiest live worker with room that can run the job; one that failed it only if no other can."""
    able = [w for w in state.workers.values() if is_live(w, now, policy) and w.can_run(job)]
    fresh = [w for w in able if w.report.worker_id not in job.record.failed_workers]
    roomy = [w for w in fresh or able if has_room(state, w, now, policy)]
    return min(roomy, key=lambda w: state.load(w) / w.report.slots, default=None)


def is_live(worker: Worker, now: datetime, policy: Policy) -> bool:
    """Whether the worker reported lately and takes jobs."""
    report = worker.report
    silent = (now - worker.seen_at).total_seconds() > policy.silence
    return not silent and not report.draining and bool(report.lanes) and report.slots > 0


def has_room(state: State, worker: Worker, now: datetime, policy: Policy) -> bool:
    """Whether we may give the worker one more: late binding allows what runs and what it holds beside.

    One that is attached to another dispatcher is that one's to fill.
    """
    if worker.partition not in state.owned or not is_live(worker, now, policy):
        return False
    return state.load(worker) < worker.report.slots + worker.report.held_limit


def assign(state: State, job: Job, worker: Worker, now: datetime, policy: Policy) -> list[Action]:
    """Ledger first, then the lane: a crash between the two leaves a job that no worker reports, which is lost.

    A job that is held behind others has their time as well.
    """
    old, report, request = job.record, worker.report, job.record.request
    ahead = state.load(worker) // report.slots
    deadline = min(now + timedelta(seconds=policy.job_deadline * (1 + ahead)), request.expires_at)
    record = replace(
        old,
        state=JobState.DISPATCHED,
        recorded_at=now,
        attempt=old.attempt + 1,
        dispatch_id=dispatch_id_of(request.request_id, old.attempt + 1),
        worker_id=report.worker_id,
        incarnation=report.incarnation,
        lane=report.lanes[0],
        dispatched_at=now,
        deadline_at=deadline,
    )
    reason = "first" if old.attempt == 0 else _why_again(old.last_error)
    event = dispatched_event(record)
    return [
        Record(record=record, partition=job.partition),
        Dispatch(event=event, lane=report.lanes[0], reason=reason),
    ]


def dispatched_event(record: JobRecorded) -> JobDispatched:
    """The event that a DISPATCHED ledger record announces."""
    request = record.request
    assert record.dispatch_id is not None
    assert record.worker_id is not None
    assert record.incarnation is not None
    assert record.dispatched_at is not None
    assert record.deadline_at is not None
    return JobDispatched(
        request_id=request.request_id,
        dispatch_id=record.dispatch_id,
        attempt=record.attempt,
        worker_id=record.worker_id,
        incarnation=record.incarnation,
        dispatched_at=record.dispatched_at,
        deadline_at=record.deadline_at,
        requested_at=request.requested_at,
        reply_to=request.reply_to,
        command_string=request.command_string,
        job=request.job,
    )


def complete(state: State, event: JobCompleted, now: datetime, policy: Policy) -> list[Action]:
    """A worker, or an earlier self, says how an attempt ended."""
    job = state.jobs.get(event.request_id)
    if job is None:
        return []
    if event.final:
        return [finished(job, now)]
    if event.dispatch_id != job.record.dispatch_id:
        return []  # a zombie's failure: a later attempt is on its way
    error = event.error or error_info(ErrorCode.INTERNAL_ERROR)
    return _again_or_end(job, error, now, policy)


def resend(state: State, worker_id: str) -> list[Action]:
    """Send again what the worker cannot have read, its lane having moved to another before it came to it.

    Harmless where it has read it after all: a worker knows a dispatch id that it had before.
    """
    worker = state.workers.get(worker_id)
    if worker is None or not worker.report.lanes:
        return []
    actions: list[Action] = []
    for job in state.given_to(worker_id):
        unnamed = job.absences > 0 and not job.abandoned
        if unnamed and job.record.lane not in worker.report.lanes:
            lane = worker.report.lanes[0]
            record = replace(job.record, lane=lane)
            actions.append(Record(record=record, partition=job.partition))
            actions.append(Dispatch(event=dispatched_event(record), lane=lane, reason="moved"))
    return actions


def tick(state: State, now: datetime, policy: Policy, *, sure: bool) -> list[list[Action]]:
    """What the passing of time alone decides, job by job.

    Args:
        now: when the shell asked whether it has heard all.
        sure: whether it had, and has for long enough: only then does silence mean that somebody is lost.
    """
    steps: list[list[Action]] = []
    for job in state.jobs.values():
        if job.record.state is JobState.QUEUED and job.record.request.expires_at <= now:
            code = ErrorCode.EXPIRED if _runnable(state, job) else ErrorCode.NO_CAPABLE_WORKER
            steps.append(end(job, Outcome.EXPIRED, error_info(code), now))
        elif sure and is_lost(state, job, now, policy):
            steps.append(lost(job, now, policy))
    kept = timedelta(seconds=policy.finished_kept)
    for request_id, job in state.finished.items():
        if job.record.recorded_at + kept < now:
            steps.append([Forget(request_id=request_id, partition=job.partition)])
    return steps


def is_lost(state: State, job: Job, now: datetime, policy: Policy) -> bool:
    """Whether no worker has the dispatched job any more, or one holds it far past its deadline.

    Judge it only when everything written so far has been heard: a worker's ``completed`` is written before the
    job leaves its reports, but may be read after, and one's own deafness looks like a worker's silence.
    """
    record = job.record
    if record.state is not JobState.DISPATCHED or record.deadline_at is None:
        return False
    if job.abandoned or (now - record.deadline_at).total_seconds() > policy.deadline_grace:
        return True
    if _age(job, now) <= policy.silence:
        return False
    worker = state.workers.get(record.worker_id or "")
    if worker is None or worker.report.incarnation != record.incarnation:
        return True
    return job.absences >= 2 or (now - worker.seen_at).total_seconds() > policy.silence


def lost(job: Job, now: datetime, policy: Policy) -> list[Action]:
    """The attempt's worker is gone: another attempt, or the end."""
    return _again_or_end(job, error_info(ErrorCode.WORKER_LOST), now, policy)


def end(job: Job, outcome: Outcome, error: ErrorInfo | None, now: datetime) -> list[Action]:
    """The request is over: the notifier is told first, then the ledger."""
    request, record = job.record.request, job.record
    event = JobCompleted(
        request_id=request.request_id,
        dispatch_id=record.dispatch_id,
        attempt=record.attempt,
        outcome=outcome,
        final=True,
        completed_at=now,
        requested_at=request.requested_at,
        reply_to=request.reply_to,
        command_string=request.command_string,
        error=error,
        worker_id=record.worker_id,
    )
    return [Complete(event=event), finished(job, now)]


def finished(job: Job, now: datetime) -> Record:
    """The ledger's last record of a request before its tombstone."""
    return Record(
        record=replace(job.record, state=JobState.FINISHED, recorded_at=now), partition=job.partition
    )


def progress(job: Job, place: int, now: datetime) -> JobProgressed:
    """Where the request stands in the queue."""
    request = job.record.request
    return JobProgressed(
        request_id=request.request_id,
        phase=Phase.QUEUED,
        progressed_at=now,
        reply_to=request.reply_to,
        command_string=request.command_string,
        attempt=job.record.attempt,
        queue_place=place,
    )


def places(state: State) -> Iterable[tuple[Job, int]]:
    """Every waiting job with its place: rounds over the users, the least-recently-served first."""
    users = sorted(state.backlog, key=lambda user: (state.served.get(user, 0), _first(state, user)))
    lines = [list(state.backlog[user]) for user in users]
    place = 0
    for turn in range(max(map(len, lines), default=0)):
        for line in lines:
            if turn < len(line):
                place += 1
                yield state.jobs[line[turn]], place


def _again_or_end(job: Job, error: ErrorInfo, now: datetime, policy: Policy) -> list[Action]:
    record = job.record
    if not error.retryable or record.attempt >= policy.attempts or record.request.expires_at <= now:
        return end(job, Outcome.FAILED, error, now)
    failed = [*record.failed_workers, record.worker_id] if record.worker_id else list(record.failed_workers)
    again = replace(
        record,
        state=JobState.QUEUED,
        recorded_at=now,
        failed_workers=failed,
        last_error=error,
        dispatch_id=None,
    )
    return [Record(record=again, partition=job.partition)]


def _runnable(state: State, job: Job) -> bool:
    return any(worker.can_run(job) for worker in state.workers.values())


def _age(job: Job, now: datetime) -> float:
    at = job.record.dispatched_at or job.record.recorded_at
    return (now - at).total_seconds()


def _first(state: State, user: str) -> datetime:
    return state.jobs[state.backlog[user][0]].record.queued_at


def _why_again(error: ErrorInfo | None) -> str:
    return "lost" if error is not None and error.code == ErrorCode.WORKER_LOST else "failed"
