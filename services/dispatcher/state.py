"""What the dispatcher believes: jobs by request, who waits, workers by id.  Pure, in memory, no clock.

It changes only by methods that are told what has been written or reported, so that folding the ``jobs`` topic
gives the same state as having lived through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.contracts.events import JobCompleted, JobRecorded, JobState, Outcome, WorkerReported
from services.contracts.keys import job_key
from services.dispatcher.backlog import Backlog, Waiting
from services.dispatcher.estimates import RunTimes
from services.dispatcher.fleet import Catalogue, Fleet, Room, Standing
from services.dispatcher.job import Job, Kind, part_record
from services.dispatcher.policy import Policy

#: Ended dispatch ids kept, to know what a report that is older still names; far more than workers hold.
REMEMBERED = 20_000


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker as it last reported itself; it is attached to the dispatcher that owns ``partition``."""

    report: WorkerReported
    partition: int
    seen_at: datetime
    catalogue: Catalogue

    def can_run(self, job: Job) -> bool:
        """Whether it has the files that the job needs."""
        return self.catalogue.can_run(job.spec)


@dataclass(slots=True)
class State:
    """Jobs and backlog of the owned partitions, and every worker, whoever it is attached to."""

    policy: Policy = Policy()
    owned: set[int] = field(default_factory=set)
    jobs: dict[str, Job] = field(default_factory=dict)  #: unfinished, by the ledger's key
    finished: dict[str, Job] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)
    fleet: Fleet = field(default_factory=Fleet)
    run_times: RunTimes = field(default_factory=RunTimes)
    held: dict[str, dict[str, None]] = field(default_factory=dict)  #: worker id -> keys of its jobs, in order
    passed: dict[str, datetime] = field(default_factory=dict)  #: when a job was first passed over, by key
    quiet: set[str] = field(default_factory=set)  #: workers that have not been heard for too long
    over: dict[str, None] = field(default_factory=dict)  #: the last dispatch ids that ended, oldest first
    #: Keys of jobs whose worker had other checkpoints in memory.
    loading: set[str] = field(default_factory=set)
    at_work: dict[str, int] = field(default_factory=dict)  #: user id -> how many of their jobs workers have
    #: Since when nobody could draw what waits.
    impossible: dict[Kind, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backlog.ageing = timedelta(seconds=self.policy.ageing)

    def knows(self, request_id: str) -> bool:
        """Whether the request is in work or lately finished."""
        return request_id in self.jobs or request_id in self.finished

    def record(self, record: JobRecorded, partition: int) -> None:
        """A ledger record was written (or read back)."""
        job = Job(record=record, partition=partition)
        old = self.jobs.get(job.key)
        is_new = old is None or old.record.dispatch_id != record.dispatch_id
        freed = self._take_out(job.key)
        if record.state is JobState.FINISHED:
            self.finished[job.key] = job
            self._drop_parts(job)
        else:
            self.finished.pop(job.key, None)
            self.jobs[job.key] = job
            self._put_in(job, is_new=is_new)
        self._refresh(freed)

    def _put_in(self, job: Job, *, is_new: bool) -> None:
        record = job.record
        if job.is_split:
            for part in range(1, record.parts + 1):
                if not self.knows(job_key(job.request_id, part)):
                    self.record(part_record(record, part), job.partition)
        elif record.state is JobState.DISPATCHED:
            worker_id = record.worker_id or ""
            if self.fleet.must_load(worker_id, job.need):
                self.loading.add(job.key)
            self.at_work[job.user_id] = self.at_work.get(job.user_id, 0) + 1
            self.held.setdefault(worker_id, {})[job.key] = None
            if is_new:  # a record that is written again, of a moved lane for instance, takes no other turn
                self.backlog.serve(job.user_id)
            self._refresh(worker_id)
        else:
            tier = self.policy.tier_of(record.request.plan)
            waiting = Waiting(job.key, job.user_id, tier, record.queued_at, job.need)
            self.backlog.add(waiting, first=record.attempt > 0)  # that one has waited once already

    def forget(self, key: str) -> None:
        """A tombstone was written (or read back)."""
        self.finished.pop(key, None)
        self._refresh(self._take_out(key))

    def forget_partition(self, partition: int) -> None:
        """The partition went to another dispatcher, with its jobs."""
        for job in [*self.jobs.values(), *self.finished.values()]:
            if job.partition == partition:
                self.forget(job.key)

    def own(self, partitions: set[int]) -> None:
        """These partitions' users and workers are this dispatcher's now."""
        self.owned = partitions
        for worker_id in self.workers:
            self._refresh(worker_id)

    def reported(self, report: WorkerReported, partition: int, seen_at: datetime) -> bool:
        """A worker's report arrived; false where it says nothing new.

        Reports of one worker come over several partitions when it attaches itself anew, so in any order, and
        one may be read twice.
        """
        known = self.workers.get(report.worker_id)
        if known is not None and _is_older(report, seen_at, known):
            return False
        catalogue = self.fleet.catalogue(report.checkpoints, report.loras)
        self.quiet.discard(report.worker_id)
        self.workers[report.worker_id] = Worker(
            report=report, partition=partition, seen_at=seen_at, catalogue=catalogue
        )
        named = {held.dispatch_id for held in report.jobs}
        for job in self.given_to(report.worker_id):
            at = job.record.dispatched_at
            if at is not None and at < seen_at:  # an earlier report knows nothing of it
                _compare(job, report, named=job.record.dispatch_id in named)
        self._refresh(report.worker_id)
        return True

    def left(self, worker_id: str, partition: int, seen_at: datetime) -> None:
        """A worker's tombstone arrived: it is gone, unless it lately reported itself in another partition."""
        known = self.workers.get(worker_id)
        if known is None or known.partition != partition or known.seen_at > seen_at:
            return
        del self.workers[worker_id]
        for job in self.given_to(worker_id):
            job.abandoned = True
        self._refresh(worker_id)

    def learn(self, event: JobCompleted) -> None:
        """An attempt ended: its worker has room, and how long it took tells how long the next will."""
        if event.dispatch_id is not None:
            self.over[event.dispatch_id] = None
            if len(self.over) > REMEMBERED:
                del self.over[next(iter(self.over))]
            self._refresh(event.worker_id or "")
        job = self.jobs.get(job_key(event.request_id, event.part))
        if job is None or event.outcome is not Outcome.SUCCEEDED or event.reused or event.gpu_seconds <= 0:
            return
        worker = self.workers.get(event.worker_id or "")
        self.run_times.learn(job.spec, worker.report.gpu if worker else "", event.gpu_seconds)

    def silence(self, now: datetime) -> None:
        """Take those who have not been heard for too long out of the fleet, until they report again."""
        for worker_id, worker in list(self.workers.items()):
            if not self.is_silent(worker, now):
                continue
            self.quiet.add(worker_id)
            self.fleet.drop(worker_id)
            seconds = (now - worker.seen_at).total_seconds()
            if seconds > self.policy.forgotten and worker_id not in self.held:
                self.quiet.discard(worker_id)
                del self.workers[worker_id]

    def is_live(self, worker: Worker, now: datetime) -> bool:
        """Whether the worker reported lately and takes jobs."""
        return not self.is_silent(worker, now) and _takes_jobs(worker.report)

    def is_silent(self, worker: Worker, now: datetime) -> bool:
        """Whether the worker has not been heard for too long."""
        return (now - worker.seen_at).total_seconds() > self.policy.silence

    def given_to(self, worker_id: str) -> list[Job]:
        """The jobs that were dispatched to the worker, to whichever incarnation, and are not over."""
        return [self.jobs[key] for key in self.held.get(worker_id, ())]

    def load(self, worker: Worker) -> int:
        """How many jobs the worker has: those given to it, and others that it says it has.

        These are of other dispatchers, or were taken from it while it still draws them.
        """
        report = worker.report
        given = self.given_to(report.worker_id)
        ours = {j.record.dispatch_id for j in given if j.record.incarnation == report.incarnation}
        said = {held.dispatch_id for held in report.jobs}
        return len(ours) + len(said - ours - self.over.keys())

    def parts_of(self, job: Job) -> list[Job]:
        """The parts of a split request, finished or not, in their order."""
        keys = [job_key(job.request_id, part) for part in range(1, job.record.parts + 1)]
        return [
            self.jobs.get(key) or self.finished[key]
            for key in keys
            if key in self.jobs or key in self.finished
        ]

    def _take_out(self, key: str) -> str:
        """Returns the worker that has one job less, if there is one; it is to be refreshed."""
        job = self.jobs.pop(key, None)
        self.backlog.remove(key)
        self.passed.pop(key, None)
        self.loading.discard(key)
        if job is None or job.record.state is not JobState.DISPATCHED:
            return ""
        self.at_work[job.user_id] -= 1
        if not self.at_work[job.user_id]:
            del self.at_work[job.user_id]
        worker_id = job.record.worker_id or ""
        del self.held[worker_id][key]
        if not self.held[worker_id]:
            del self.held[worker_id]
        return worker_id

    def _drop_parts(self, job: Job) -> None:
        """The request is over: what its parts still do is nobody's business."""
        for part in self.parts_of(job) if job.record.part == 0 else ():
            if part.key in self.jobs:
                freed = self._take_out(part.key)
                self.finished[part.key] = part
                self._refresh(freed)

    def _refresh(self, worker_id: str) -> None:
        """Let the fleet know how much room the worker has, and what will be warm on it."""
        worker = self.workers.get(worker_id)
        if worker is None or worker_id in self.quiet or not self._is_ours(worker):
            self.fleet.drop(worker_id)
            return
        load, slots = self.load(worker), worker.report.slots
        room = Room.NONE
        if load < slots + worker.report.held_limit:
            room = Room.IDLE if load < slots else Room.BUSY
        warm = frozenset(worker.report.loaded)
        for key in self.held.get(worker_id, ()):
            warm = self.jobs[key].need or warm  # the last given job decides
        self.fleet.put(
            Standing(
                worker_id=worker_id,
                room=room,
                catalogue=worker.catalogue,
                warm=warm,
                ends_at=self._ends_at(worker),
            )
        )

    def _is_ours(self, worker: Worker) -> bool:
        return worker.partition in self.owned and _takes_jobs(worker.report)

    def _ends_at(self, worker: Worker) -> datetime:
        """When the worker should have run all that it was given; its last report's time where that is nothing."""
        given = self.given_to(worker.report.worker_id)
        begun = min((job.record.dispatched_at or worker.seen_at for job in given), default=worker.seen_at)
        seconds = sum(self.run_times.expect(job.spec, worker.report.gpu) for job in given)
        return begun + timedelta(seconds=seconds / max(1, worker.report.slots))


def _takes_jobs(report: WorkerReported) -> bool:
    return not report.draining and bool(report.lanes) and report.slots > 0


def _is_older(report: WorkerReported, seen_at: datetime, known: Worker) -> bool:
    if report.incarnation == known.report.incarnation:
        return report.sequence <= known.report.sequence
    return seen_at < known.seen_at


def _compare(job: Job, report: WorkerReported, *, named: bool) -> None:
    if job.record.incarnation != report.incarnation:
        job.abandoned = True
    elif named:
        job.absences, job.abandoned = 0, False
    else:
        job.absences += 1
        job.abandoned = report.draining
