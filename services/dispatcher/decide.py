"""The dispatcher's decisions: what to write, given what it believes and what just happened.  Pure.

Every function returns actions in the order in which they must become durable; the shell performs them one by
one and tells `State` after each, so that a broken-off list is decided anew without harm.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import (
    CancellationRequested,
    ErrorInfo,
    GenerationRequested,
    JobCompleted,
    JobRecorded,
    JobState,
    Outcome,
)
from services.contracts.keys import job_key
from services.dispatcher import placement
from services.dispatcher.actions import Action, Complete, Record
from services.dispatcher.attempts import assign
from services.dispatcher.job import Job, part_record
from services.dispatcher.state import State, Worker


def admit(
    state: State, request: GenerationRequested, partition: int, now: datetime, *, sure: bool
) -> list[Action]:
    """Take an approved request in, or end it at once where it can never be drawn or its user has too many.

    Args:
        sure: whether every worker has been heard, so that an absent one is absent.
    """
    if state.knows(request.request_id):
        return []
    record = new_record(request, now)
    job = Job(record=record, partition=partition)
    if request.expires_at <= now:
        return end(job, Outcome.EXPIRED, error_info(ErrorCode.EXPIRED), now)
    limit = state.policy.queued_per_user
    if state.backlog.count_of_user(job.user_id) >= limit:
        told = f"You have {limit} requests waiting already, which is the most that one may have."
        return end(job, Outcome.FAILED, error_info(ErrorCode.QUEUE_FULL, told), now)
    if sure and is_impossible(state, job, now):
        return end(job, Outcome.FAILED, no_worker_has(job), now)
    placed = placement.place_at_once(state, job, now)
    return hand_out(state, placed, now) if placed else [Record(record=record, partition=partition)]


def new_record(request: GenerationRequested, now: datetime) -> JobRecorded:
    """The first ledger record of a request."""
    return JobRecorded(request=request, state=JobState.QUEUED, recorded_at=now, queued_at=now)


def is_impossible(state: State, job: Job, now: datetime) -> bool:
    """Whether workers are there, and none of them, nor one that is starting, has what the job needs.

    With no worker at all it waits: they may all be on their way.
    """
    is_anybody_there = False
    for worker in state.workers.values():
        if state.is_live(worker, now) or is_starting(state, worker, now):
            if worker.can_run(job):
                return False
            is_anybody_there = True
    return is_anybody_there


def is_starting(state: State, worker: Worker, now: datetime) -> bool:
    """Whether the worker reports itself, but its ComfyUI does not answer yet."""
    report = worker.report
    return not state.is_silent(worker, now) and not report.draining and report.slots == 0


def no_worker_has(job: Job) -> ErrorInfo:
    """Why nobody can draw it, with the files that are wanted."""
    files = ", ".join(sorted([*job.spec.checkpoints, *job.spec.loras]))
    return error_info(ErrorCode.NO_CAPABLE_WORKER, f"No GPU that is online has the model for this ({files}).")


def schedule(state: State, now: datetime) -> list[Action]:
    """The next dispatch, or nothing while no waiting job fits a worker with room."""
    placed = placement.place(state, now)
    return hand_out(state, placed, now) if placed else []


def hand_out(state: State, placed: placement.Placement, now: datetime) -> list[Action]:
    """Give the job to its worker, or a share of its images to each; one record makes all the parts."""
    if len(placed.workers) == 1:
        return assign(state, placed.job, placed.workers[0], now)
    whole = replace(placed.job.record, parts=len(placed.workers), recorded_at=now)
    actions: list[Action] = [Record(record=whole, partition=placed.job.partition)]
    for part, worker in enumerate(placed.workers, start=1):
        job = Job(record=part_record(whole, part), partition=placed.job.partition)
        actions += assign(state, job, worker, now)
    return actions


def complete(state: State, event: JobCompleted, now: datetime) -> list[Action]:
    """A worker, or an earlier self, says how an attempt ended."""
    whole = state.jobs.get(event.request_id)
    if whole is None:
        return []
    if event.final:
        return [finished(whole, now)]
    job = state.jobs.get(job_key(event.request_id, event.part))
    if job is None:
        return []
    if event.outcome is Outcome.SUCCEEDED:
        return _part_done(state, whole, job, event, now)
    if event.dispatch_id != job.record.dispatch_id:
        return []  # a zombie's failure: a later attempt is on its way
    error = event.error or error_info(ErrorCode.INTERNAL_ERROR)
    return again_or_end(state, job, error, now)


def _part_done(state: State, whole: Job, job: Job, event: JobCompleted, now: datetime) -> list[Action]:
    """Keep what the part drew, whichever attempt drew it; the last part ends the request.

    Of the last part nothing is kept before the end is told: a crash between would leave nobody to tell it.
    """
    record = replace(
        job.record,
        state=JobState.FINISHED,
        recorded_at=now,
        images=event.images,
        gpu_seconds=event.gpu_seconds,
    )
    others = [part for part in state.parts_of(whole) if part.key != job.key]
    if any(part.key in state.jobs for part in others):
        return [Record(record=record, partition=job.partition)]
    parts = sorted([*(part.record for part in others), record], key=lambda part: part.part)
    success = replace(
        ending(whole, Outcome.SUCCEEDED, None, now),
        images=[image for part in parts for image in part.images],
        gpu_seconds=sum(part.gpu_seconds for part in parts),
        parts=whole.record.parts,
    )
    return [Complete(event=success), finished(whole, now)]


def cancel(state: State, event: CancellationRequested, now: datetime) -> list[Action]:
    """Its user takes a request back: one that waits ends here, one that a worker has is ended by that worker.

    That worker reads the cancellation as well; should it be lost, no other attempt is made.
    """
    job = state.jobs.get(event.request_id)
    if job is None or job.user_id != event.user_id:
        return []
    if job.record.state is JobState.DISPATCHED:
        return [Record(record=replace(job.record, cancelled=True), partition=job.partition)]
    return end(job, Outcome.CANCELLED, error_info(ErrorCode.CANCELLED), now)


def lost(state: State, job: Job, now: datetime) -> list[Action]:
    """The attempt's worker is gone: another attempt, or the end."""
    return again_or_end(state, job, error_info(ErrorCode.WORKER_LOST), now)


def again_or_end(state: State, job: Job, error: ErrorInfo, now: datetime) -> list[Action]:
    """An attempt failed: the next one waits, or the whole request ends."""
    record = job.record
    whole = state.jobs[job.request_id]
    if record.cancelled:
        return end(whole, Outcome.CANCELLED, error_info(ErrorCode.CANCELLED), now)
    if not error.retryable or record.attempt >= state.policy.attempts or record.request.expires_at <= now:
        return end(whole, Outcome.FAILED, error, now)
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


def end(whole: Job, outcome: Outcome, error: ErrorInfo | None, now: datetime) -> list[Action]:
    """The request is over: the notifier is told first, then the ledger."""
    return [Complete(event=ending(whole, outcome, error, now)), finished(whole, now)]


def ending(whole: Job, outcome: Outcome, error: ErrorInfo | None, now: datetime) -> JobCompleted:
    """What the notifier is told of a request that the dispatcher ends."""
    request, record = whole.record.request, whole.record
    return JobCompleted(
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


def finished(whole: Job, now: datetime) -> Record:
    """The ledger's last record of a request before its tombstone."""
    record = replace(whole.record, state=JobState.FINISHED, recorded_at=now)
    return Record(record=record, partition=whole.partition)
