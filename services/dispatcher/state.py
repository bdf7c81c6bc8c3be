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
    """One worker as it last reported itself."""

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
    """Jobs, backlog and workers of the owned partitions."""

    jobs: dict[str, Job] = field(default_factory=dict)
    finished: dict[str, Job] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    backlog: dict[str, deque[str]] = field(default_factory=dict)  #: user id -> request ids, oldest first
    held: dict[tuple[str, str], set[str]] = field(
        default_factory=dict
    )  #: (worker, incarnation) -> request ids
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
        """The partition went to another dispatcher, with its jobs and workers."""
        for job in [*self.jobs.values(), *self.finished.values()]:
            if job.partition == partition:
                self.forget(job.request_id)
        for worker_id in [w for w, worker in self.workers.items() if worker.partition == partition]:
            del self.workers[worker_id]

    def reported(self, report: WorkerReported, partition: int, seen_at: datetime) -> None:
        """A worker's report arrived; a job of its that it does not name is absent once more."""
        self.workers[report.worker_id] = Worker(report=report, partition=partition, seen_at=seen_at)
        named = {held.dispatch_id for held in report.jobs}
        for request_id in self.held.get((report.worker_id, report.incarnation), ()):
            job = self.jobs[request_id]
            job.absences = 0 if job.record.dispatch_id in named else job.absences + 1

    def left(self, worker_id: str) -> None:
        """A worker's tombstone arrived."""
        self.workers.pop(worker_id, None)

    def held_by(self, worker: Worker) -> set[str]:
        """Requests dispatched to this incarnation and not over."""
        return self.held.get((worker.report.worker_id, worker.report.incarnation), set())

    def queued(self) -> int:
        """How many requests wait."""
        return sum(len(ids) for ids in self.backlog.values())

    def _link(self, job: Job) -> None:
        record = job.record
        if record.state is JobState.DISPATCHED:
            self.held.setdefault((record.worker_id or "", record.incarnation or ""), set()).add(
                job.request_id
            )
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
            key = (record.worker_id or "", record.incarnation or "")
            holders = self.held.get(key, set())
            holders.discard(job.request_id)
            if not holders:
                self.held.pop(key, None)
            return
        line = self.backlog.get(job.user_id)
        if line is not None and job.request_id in line:
            line.remove(job.request_id)
            if not line:
                del self.backlog[job.user_id]
