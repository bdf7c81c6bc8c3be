"""Which waiting job goes to which worker next.  Pure.

Jobs are looked at in the order of the backlog, but only the first few of each set of checkpoints.  A worker that has
the checkpoint in memory is preferred; a job is passed over for that at most `Policy.patience`, and no GPU that is
idle is kept waiting when loading the checkpoint there is thought to be sooner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from services.dispatcher.backlog import Need
from services.dispatcher.fleet import Room, Standing
from services.dispatcher.job import Job
from services.dispatcher.state import State, Worker

#: Heads of one set of checkpoints that are looked at: those behind differ only in LoRAs and past failures.
DEPTH = 64
#: Jobs that any user may have at work before what others may need is spared for it.
LEAST_SPREAD = 4
#: And however large the fleet is: a user with so many GPUs at once hardly waits.
MOST_SPREAD = 50
#: Idle workers among which the one whose memory is least wanted is looked for.
CHOICE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """``job`` goes to ``workers``: one, or several where its images are drawn in parts."""

    job: Job
    workers: list[Worker]


def place(state: State, now: datetime) -> Placement | None:
    """The next placement, or none while no waiting job fits a worker with room."""
    look = _look(state, now) if len(state.backlog) else None
    if look is None:
        return None
    state.backlog.age(now)
    for need, heads in state.backlog.groups():
        if look.is_hopeless(need, heads[0].key):
            continue
        for entry in islice(heads, DEPTH):
            job = state.jobs[entry.key]
            placement = look.place(job, alone=len(state.backlog) == 1)
            if placement is not None:
                look.pass_over()
                return placement
            if not look.is_special(job):
                break  # those behind it would be told the same
    if state.fleet.is_any(Room.IDLE):
        look.pass_over()
    return None


def place_at_once(state: State, job: Job, now: datetime) -> Placement | None:
    """Where a job goes that has just come, when nobody waits before it."""
    look = None if len(state.backlog) else _look(state, now)
    if look is None:
        return None
    placement = look.place(job, alone=True)
    look.pass_over()
    return placement


def capable(state: State, job: Job, now: datetime) -> list[Worker]:
    """Live workers, whoever they are attached to, that have the files of the job."""
    return [w for w in state.workers.values() if w.can_run(job) and state.is_live(w, now)]


def _look(state: State, now: datetime) -> _Look | None:
    """A look at those who have room by now; none where nobody has."""
    state.fleet.ripen(now, timedelta(seconds=state.policy.hold_seconds))
    return _Look(state, now) if state.fleet.has_room() else None


class _Look:
    """One look for a placement; what several jobs ask is found out once."""

    def __init__(self, state: State, now: datetime) -> None:
        self._state = state
        self._now = now
        self._may_displace = len(state.loading) < max(1.0, state.policy.loading_share * len(state.fleet))
        self._impatient_since = now - timedelta(seconds=state.policy.patience)
        self._is_anybody_idle = state.fleet.is_any(Room.IDLE)
        self._wanted: frozenset[str] | None = None
        self._held_back: list[str] = []

    def is_hopeless(self, need: Need, key: str) -> bool:
        """Whether only patience could place the job: nobody is idle, and nobody with room has its checkpoint."""
        if self._is_anybody_idle or self._displaces(key) or self._state.fleet.is_any_warm(Room.HELD, need):
            return False
        self._held_back.append(key)
        return True

    def place(self, job: Job, *, alone: bool) -> Placement | None:
        """Where the job goes now; ``alone`` = nobody else waits."""
        state = self._state
        standing = self._choose(job)
        if standing is None:
            self._held_back.append(job.key)
            return None
        workers = [state.workers[standing.worker_id]]
        if standing.room is Room.IDLE and alone:
            workers += _helpers(state, job, standing)
        return Placement(job=job, workers=workers)

    def is_special(self, job: Job) -> bool:
        """Whether the job was refused for what those behind it need not share."""
        return bool(job.spec.loras or job.record.failed_workers) or self._is_widespread(job)

    def pass_over(self) -> None:
        """Those looked at in vain were passed: by one behind them in the order, or by a GPU that stands idle."""
        for key in self._held_back:
            self._state.passed.setdefault(key, self._now)

    def _choose(self, job: Job) -> Standing | None:
        """The worker that should have it; none where waiting for another is better, or nobody can have it."""
        shunned, fleet = self._shunned(job), self._state.fleet

        def first(found: Iterator[Standing]) -> Standing | None:
            return next((s for s in found if s.worker_id not in shunned), None)

        warm_held = first(fleet.warm(Room.HELD, job.need, job.spec))
        if self._is_anybody_idle:
            if (warm_idle := first(fleet.warm(Room.IDLE, job.need, job.spec))) is not None:
                return warm_idle
            if (cold_idle := self._cold_idle(job, shunned)) is not None:
                return cold_idle
        if warm_held is None and self._displaces(job.key):
            return first(fleet.able(Room.HELD, job.spec))
        return warm_held

    def _cold_idle(self, job: Job, shunned: set[str]) -> Standing | None:
        """An idle worker to load the checkpoint on, unless one that has it should be free before that is done."""
        if not self._is_impatient(job.key) and (self._is_widespread(job) or self._is_soon_warm(job)):
            return None
        able = (s for s in self._state.fleet.able(Room.IDLE, job.spec) if s.worker_id not in shunned)
        choice = list(islice(able, CHOICE))
        # One whose memory another user's next job needs is left to that, but not by the impatient.
        free = next((s for s in choice if not s.warm & self._all_wanted()), None)
        return free or (choice[0] if choice and self._displaces(job.key) else None)

    def _is_widespread(self, job: Job) -> bool:
        """Whether its user has so many workers that what others may need is not unloaded for one more."""
        share = self._state.policy.spread_share * len(self._state.fleet)
        most = min(max(LEAST_SPREAD, share), MOST_SPREAD)
        return self._state.at_work.get(job.user_id, 0) >= most and self._state.fleet.has(job.need)

    def _is_soon_warm(self, job: Job) -> bool:
        """Whether enough workers with the checkpoint should have room before it could be loaded elsewhere."""
        policy, fleet = self._state.policy, self._state.fleet
        ahead = max(1, self._state.backlog.waiting_for(job.need))
        rooms = (Room.HELD, Room.BUSY, Room.NONE)
        if sum(fleet.count_warm(room, job.need) for room in rooms) < ahead:
            return False
        limit = self._now + timedelta(seconds=min(policy.load_seconds, policy.patience))
        warm = (standing for room in rooms for standing in fleet.warm(room, job.need, job.spec))
        return sum(standing.ends_at <= limit for standing in warm) >= ahead

    def _displaces(self, key: str) -> bool:
        """Whether the job may turn out what others wait for: it is impatient, and few workers load already."""
        return self._may_displace and self._is_impatient(key)

    def _is_impatient(self, key: str) -> bool:
        """Whether the job has been passed over for long enough, by the clock and by its wait before."""
        since = self._state.passed.get(key)
        if since is None or since > self._impatient_since:
            return False
        waited = (since - self._state.jobs[key].record.queued_at) * self._state.policy.patience_share
        return since + waited <= self._now

    def _all_wanted(self) -> frozenset[str]:
        if self._wanted is None:
            self._wanted = frozenset().union(*self._state.backlog.head_needs())
        return self._wanted

    def _shunned(self, job: Job) -> set[str]:
        """Workers that failed the job, as long as another can run it."""
        failed = set(job.record.failed_workers)
        if not failed:
            return failed
        able = capable(self._state, job, self._now)
        return failed if any(w.report.worker_id not in failed for w in able) else set()


def _helpers(state: State, job: Job, chosen: Standing) -> list[Worker]:
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
