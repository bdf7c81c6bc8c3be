"""Handing a job to a worker: the ledger's record, the event on the lane, and the time that it has.  Pure."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timedelta

from services.contracts.errors import ErrorCode
from services.contracts.events import ErrorInfo, JobDispatched, JobRecorded, JobState
from services.dispatcher.actions import Action, Dispatch, Record
from services.dispatcher.job import Job, part_of
from services.dispatcher.state import State, Worker

_DISPATCH_IDS = uuid.UUID("6f9a1b0e-6d0c-5c0e-9d0e-2f6b0c1d7a55")


def dispatch_id_of(request_id: str, part: int, attempt: int) -> str:
    """The id of one attempt: the same whenever it is decided, so that a repeated dispatch is recognised."""
    name = f"{request_id}/{attempt}" if part == 0 else f"{request_id}/{part}/{attempt}"
    return str(uuid.uuid5(_DISPATCH_IDS, name))


def assign(state: State, job: Job, worker: Worker, now: datetime) -> list[Action]:
    """Ledger first, then the lane: a crash between the two leaves a job that no worker reports, which is lost.

    A job that is held behind others has their time as well.
    """
    old, report, request = job.record, worker.report, job.record.request
    ahead = state.load(worker) // report.slots
    seconds = deadline_seconds(state, job, report.gpu) * (1 + ahead)
    record = replace(
        old,
        state=JobState.DISPATCHED,
        recorded_at=now,
        attempt=old.attempt + 1,
        dispatch_id=dispatch_id_of(request.request_id, old.part, old.attempt + 1),
        worker_id=report.worker_id,
        incarnation=report.incarnation,
        lane=report.lanes[0],
        dispatched_at=now,
        deadline_at=min(now + timedelta(seconds=seconds), request.expires_at),
    )
    reason = "first" if old.attempt == 0 else _why_again(old.last_error)
    event = dispatched_event(record)
    return [
        Record(record=record, partition=job.partition),
        Dispatch(event=event, lane=report.lanes[0], reason=reason),
    ]


def deadline_seconds(state: State, job: Job, gpu: str) -> float:
    """How long an attempt may take: by what its kind of run took until now, within bounds."""
    policy = state.policy
    if not state.run_times.knows(job.spec):
        return policy.job_deadline
    # A slow disk takes several times as long to load a checkpoint as is usual.
    learned = 3 * policy.load_seconds + policy.deadline_factor * state.run_times.expect(job.spec, gpu)
    return min(max(learned, policy.least_deadline), policy.job_deadline)


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
        job=part_of(request.job, record.part, record.parts),
        part=record.part,
        parts=record.parts,
    )


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


def _why_again(error: ErrorInfo | None) -> str:
    return "lost" if error is not None and error.code == ErrorCode.WORKER_LOST else "failed"
