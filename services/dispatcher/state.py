"""What the dispatcher believes: jobs by request, backlog by user, workers by id.  Pure, in memory, no clock.

`State` changes only by `evolve`-like methods that are told what has been written or reported, so that folding
the ``jobs`` topic gives the same state as having lived through it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from services.contracts.events import JobRecorded, JobState, WorkerReported


@dataclass(slots=True, kw_only=True)
class Job:
    """One unfinished request: its last ledger record, and the partition that it and its user belong to."""

    record: JobRecorded
    partition: int
    absences: int = 0  #: reports of its worker in a row that did not name it
    abandoned: bool = False  #: its worker left, started anew, or drains without it

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.record.request.request_id

    @property
    def user_id(self) -> str:
        """Whose turn it takes."""
        return self.record.request.reply_to.user_id


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker as it last reported itself; it is attached to the dispatcher that owns ``partition``."""

    report: WorkerReported
    partition: int
    seen_at: datetime

    def can_run(self, job: Job) -> bool:
        """Whether it has the files that the job needs; a worker that lists none is taken at its word."""
        spec, report = job.record.request.job, self.report
        has_checkpoints = not report.checkpoints or set(spec.checkpoints) <= set(report.checkpoints)
        return has_checkpoints and (not report.loras or set(spec.loras) <= set(report.loras))


@dataclass(slots=True)
class State:
    """Jobs and backlog of the owned partitions, and every worker, whoever it is attached to."""

    owned: set[int] = field(default_factory=set)
    jobs: dict[str, Job] = field(default_factory=dict)
    finished: dict[str, Job] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    backlog: dict[str, deque[str]] = field(default_factory=dict)  #: user id -> request ids, oldest first
    held: dict[str, set[str]] = field(default_factory=dict)  #: worker id -> request ids given to it
    served: dict[str, int] = field(default_factory=dict)  #: user id -> turn number of the last dispatch
    turn: int = 0

    def knows(self, request_id: str) -> bool:
        """Whether the request is in work or lately finished."""
        return request_id in self.jobs or request_id in self.finished

    def record(self, record: JobRecorded, partition: int) -> None:
        """A ledger record was written (or read back)."""
        request_id = record.request.request_id
        old = self.jobs.pop(request_id, None)
        if old is not None:
            self._unlink(old)
        job = Job(record=record, partition=partition)
        if record.state is JobState.FINISHED:
            self.finished[request_id] = job
            return
        self.finished.pop(request_id, None)
        self.jobs[request_id] = job
        self._link(job)

    def forget(self, request_id: str) -> None:
        """A tombstone was written (or read back)."""
        self.finished.pop(request_id, None)
        job = self.jobs.pop(request_id, None)
        if job is not None:
            self._unlink(job)

    def forget_partition(self, partition: int) -> None:
        """The partition went to another dispatcher, with its jobs."""
        for job in [*self.jobs.values(), *self.finished.values()]:
            if job.partition == partition:
                self.forget(job.request_id)

    def reported(self, report: WorkerReported, partition: int, seen_at: datetime) -> bool:
        """A worker's report arrived; false where it says nothing new.

        Reports of one worker come over several partitions when it attaches itself anew, so in any order, and
        one may be read twice.
        """
        known = self.workers.get(report.worker_id)
        if known is not None and _is_older(report, seen_at, known):
            return False
        self.workers[report.worker_id] = Worker(report=report, partition=partition, seen_at=seen_at)
        named = {held.dispatch_id for held in report.jobs}
        for job in self.given_to(report.worker_id):
            at = job.record.dispatched_at
            if at is not None and at < seen_at:  # an earlier report knows nothing of it
                _compare(job, report, named=job.record.dispatch_id in named)
        return True

    def left(self, worker_id: str, partition: int, seen_at: datetime) -> None:
        """A worker's tombstone arrived: it is gone, unless it lately reported itself in another partition."""
        known = self.workers.get(worker_id)
        if known is None or known.partition != partition or known.seen_at > seen_at:
            return
        del self.workers[worker_id]
        for job in self.given_to(worker_id):
            job.abandoned = True

    def given_to(self, worker_id: str) -> list[Job]:
        """The jobs that were dispatched to the worker, to whichever incarnation, and are not over."""
        return [self.jobs[request_id] for request_id in self.held.get(worker_id, ())]

    def load(self, worker: Worker) -> int:
        """How many jobs the worker has: those given to it, and those of other dispatchers that it reports."""
        report = worker.report
        ours = [j for j in self.given_to(report.worker_id) if j.record.incarnation == report.incarnation]
        return len(ours) + sum(not self.knows(held.request_id) for held in report.jobs)

    def queued(self) -> int:
        """How many requests wait."""
        return sum(len(ids) for ids in self.backlog.values())

    def _link(self, job: Job) -> None:
        record = job.record
        if record.state is JobState.DISPATCHED:
            self.held.setdefault(record.worker_id or "", set()).add(job.request_id)
            self.turn += 1
            self.served[job.user_id] = self.turn
            return
        line = self.backlog.setdefault(job.user_id, deque())
        if record.attempt > 0:
            line.appendleft(job.request_id)  # it has waited once already
        else:
            line.append(job.request_id)

    def _unlink(self, job: Job) -> None:
        record = job.record
        if record.state is JobState.DISPATCHED:
            given = self.held[record.worker_id or ""]
            given.discard(job.request_id)
            if not given:
                del self.held[record.worker_id or ""]
            return
        line = self.backlog.get(job.user_id)
        if line is not None and job.request_id in line:
            line.remove(job.request_id)
            if not line:
                del self.backlog[job.user_id]


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
