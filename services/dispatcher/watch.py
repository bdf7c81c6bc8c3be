"""What the passing of time alone decides: who is lost, what has expired, what nobody can draw.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import JobState, Outcome
from services.dispatcher.actions import Action, Forget
from services.dispatcher.decide import end, is_impossible, lost, no_worker_has
from services.dispatcher.job import Job, Kind
from services.dispatcher.state import State


def tick(state: State, now: datetime, *, sure: bool) -> Iterator[list[Action]]:
    """Job by job; each step is to be performed before the next is asked for, since it may make that void.

    Args:
        now: when the shell asked whether it has heard all.
        sure: whether it had, and has for long enough: only then does silence mean that somebody is lost.
    """
    impossible = _impossible_for_long(state, now) if sure else set()
    for job in list(state.jobs.values()):
        if state.jobs.get(job.key) is job:  # no earlier step has ended or changed it
            yield _step(state, job, now, sure=sure, is_impossible=job.kind in impossible)
    kept = timedelta(seconds=state.policy.finished_kept)
    for job in list(state.finished.values()):
        # The images of a finished part are needed as long as its request is open.
        if job.record.recorded_at + kept < now and job.request_id not in state.jobs:
            yield [Forget(key=job.key, partition=job.partition)]


def _step(state: State, job: Job, now: datetime, *, sure: bool, is_impossible: bool) -> list[Action]:
    whole = state.jobs.get(job.request_id)
    if whole is None:  # its request is over, and this part of it was left behind
        return [Forget(key=job.key, partition=job.partition)]
    if job.record.state is JobState.DISPATCHED:
        return lost(state, job, now) if sure and is_lost(state, job, now) else []
    if job.record.request.expires_at <= now:
        return end(whole, Outcome.EXPIRED, error_info(ErrorCode.EXPIRED), now)
    return end(whole, Outcome.FAILED, no_worker_has(job), now) if is_impossible else []


def is_lost(state: State, job: Job, now: datetime) -> bool:
    """Whether no worker has the dispatched job any more, or one holds it far past its deadline.

    Judge it only when everything written so far has been heard: a worker's ``completed`` is written before the
    job leaves its reports, but may be read after, and one's own deafness looks like a worker's silence.
    """
    record, policy = job.record, state.policy
    assert record.deadline_at is not None
    assert record.dispatched_at is not None
    if job.abandoned or (now - record.deadline_at).total_seconds() > policy.deadline_grace:
        return True
    if (now - record.dispatched_at).total_seconds() <= policy.silence:
        return False
    worker = state.workers.get(record.worker_id or "")
    if worker is None or worker.report.incarnation != record.incarnation:
        return True
    return job.absences >= 2 or state.is_silent(worker, now)


def _impossible_for_long(state: State, now: datetime) -> set[Kind]:
    """What waits for files that no worker has had for `Policy.incapable_grace`: it may only have started anew."""
    kinds = {job.kind: job for job in (state.jobs[waiting.key] for waiting in state.backlog)}
    found = {kind for kind, job in kinds.items() if is_impossible(state, job, now)}
    state.impossible = {kind: state.impossible.get(kind, now) for kind in found}
    grace = timedelta(seconds=state.policy.incapable_grace)
    return {kind for kind, since in state.impossible.items() if since + grace <= now}
