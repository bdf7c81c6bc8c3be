"""Which waiting job goes to which worker next.  Pure.

Jobs are looked at in the order of the backlog, but only the first few of each set of checkpoints.  A worker that has
the checkpoint in memory is preferred; a job is passed over for that at most `Policy.patience`, and no GPU that is
idle is kept waiting when loading the checkpoint there is thought to be sooner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from services.dispatcher.fleet import Room, Standing
from services.dispatcher.job import Job
from services.dispatcher.state import State, Worker

#: Heads of one set of checkpoints that are looked at: those behind differ only in LoRAs and past failures.
DEPTH = 4
#: Idle workers among which the one whose memory is least wanted is looked for.
CHOICE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """``job`` goes to ``workers``: one, or several where its images are drawn in parts."""

    job: Job
    workers: list[Worker]


def place(state: State, now: datetime) -> Placement | None:
    """The next placement, or none while no waiting job fits a worker with room."""
    if not len(state.backlog) or not state.fleet.has_room():
        return None
    state.backlog.age(now)
    for _, heads in state.backlog.groups():
        for entry in islice(heads, DEPTH):
            job = state.jobs[entry.key]
            placement = _place(state, job, now, alone=len(state.backlog) == 1)
            if placement is not None:
                return placement
            if not job.spec.loras and not job.record.failed_workers:
                break  # those behind it would be told the same
    return None


def place_at_once(state: State, job: Job, now: datetime) -> Placement | None:
    """Where a job goes that has just come, when nobody waits before it."""
    if len(state.backlog) or not state.fleet.has_room():
        return None
    return _place(state, job, now, alone=True)


def capable(state: State, job: Job, now: datetime) -> list[Worker]:
    """Live workers, whoever they are attached to, that have the files of the job."""
    return [w for w in state.workers.values() if w.can_run(job) and state.is_live(w, now)]


def _place(state: State, job: Job, now: datetime, *, alone: bool) -> Placement | None:
    standing = _choose(state, job, now)
    if standing is None:
        state.passed.setdefault(job.key, now)
        return None
    workers = [state.workers[standing.worker_id]]
    if standing.room is Room.IDLE and alone:
        workers += _helpers(state, job, standing, now)
    return Placement(job=job, workers=workers)


def _choose(state: State, job: Job, now: datetime) -> Standing | None:
    """The worker that should have the job now; none where waiting for another is better, or nobody can have it."""
    shunned = _shunned(state, job, now)

    def first(found: Iterator[Standing]) -> Standing | None:
        return next((s for s in found if s.worker_id not in shunned), None)

    fleet = state.fleet
    if (warm_idle := first(fleet.warm(Room.IDLE, job.need, job.spec))) is not None:
        return warm_idle
    warm_held = first(fleet.warm(Room.HELD, job.need, job.spec))
    impatient = _is_impatient(state, job, now)
    cold_idle = _coldest(state, job, shunned, impatient=impatient)
    waits = warm_held is not None and _is_sooner(state, warm_held, now)
    if cold_idle is not None and not waits and (impatient or not _soon_warm(state, job, now)):
        return cold_idle
    if warm_held is not None:
        return warm_held
    return first(fleet.able(Room.HELD, job.spec)) if impatient else None


def _shunned(state: State, job: Job, now: datetime) -> set[str]:
    """Workers that failed the job, as long as another can run it."""
    failed = set(job.record.failed_workers)
    if not failed:
        return failed
    others = any(w.report.worker_id not in failed for w in capable(state, job, now))
    return failed if others else set()


def _coldest(state: State, job: Job, shunned: set[str], *, impatient: bool) -> Standing | None:
    """An idle worker, preferably one whose memory nobody waits for; one that is waited for only to the impatient."""
    able = (s for s in state.fleet.able(Room.IDLE, job.spec) if s.worker_id not in shunned)
    choice = list(islice(able, CHOICE))
    if not choice:
        return None
    wanted = {file for need in state.backlog.needs() for file in need}
    free = next((s for s in choice if not s.warm & wanted), None)
    return free or (choice[0] if impatient else None)


def _is_impatient(state: State, job: Job, now: datetime) -> bool:
    """Whether the job has been passed over for long enough."""
    since = state.passed.get(job.key)
    return since is not None and (now - since).total_seconds() >= state.policy.patience


def _is_sooner(state: State, standing: Standing, now: datetime) -> bool:
    """Whether what the worker runs should end before a checkpoint could be loaded elsewhere."""
    return remaining(state, standing.worker_id, now) <= state.policy.load_seconds


def _soon_warm(state: State, job: Job, now: datetime) -> bool:
    """Whether a worker with the checkpoint should have room before that could be loaded elsewhere."""
    full = islice(state.fleet.warm(Room.NONE, job.need, job.spec), CHOICE)
    limit = min(state.policy.load_seconds, state.policy.patience)
    ahead = max(1, state.backlog.waiting_for(job.need))
    soon = sum(remaining(state, s.worker_id, now) <= limit for s in full)
    return soon >= ahead


def remaining(state: State, worker_id: str, now: datetime) -> float:
    """Seconds until the worker should have run all that it was given."""
    worker = state.workers[worker_id]
    total, begun = 0.0, now
    for job in state.given_to(worker_id):
        total += state.run_times.expect(job.spec, worker.report.gpu)
        begun = min(begun, job.record.dispatched_at or now)
    return max(0.0, total / max(1, worker.report.slots) - (now - begun).total_seconds())


def _helpers(state: State, job: Job, chosen: Standing, now: datetime) -> list[Worker]:
    """Further idle workers for the images of a job that nobody waits behind, where that ends it sooner."""
    if not _may_split(state, job):
        return []
    warm = bool(job.need <= chosen.warm)
    idle = (s for s in state.fleet.able(Room.IDLE, job.spec) if s.worker_id != chosen.worker_id)
    equal = (s for s in idle if bool(job.need <= s.warm) == warm)
    return [state.workers[s.worker_id] for s in islice(equal, job.spec.images - 1)]


def _may_split(state: State, job: Job) -> bool:
    spec = job.spec
    fresh = job.record.part == 0 and job.record.attempt == 0
    divisible = spec.images > 1 and "batch_size" in spec.bindings
    return fresh and divisible and state.run_times.expect(spec) >= state.policy.split_seconds
