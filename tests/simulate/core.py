"""The dispatcher's own decisions as a scheduler: the functions that run in production, on events as they come there.

It does what the dispatcher's shell does without a broker: a ``completed`` and then the worker's report at the end of
a run, a tick each second, and after each of them dispatches until there is no more to give.  Workers report at every
change and nothing else, which stands for the report every 2 s; so the policy takes no silence for a loss.
Requests neither expire nor exceed a user's cap, since every policy is to serve the same requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from services.contracts.events import (
    GenerationRequested,
    HeldJob,
    HeldState,
    JobCompleted,
    JobSpec,
    Outcome,
    ReplyTo,
    WorkerReported,
)
from services.dispatcher import decide, watch
from services.dispatcher.actions import Action, Dispatch, Forget, Record
from services.dispatcher.policy import Policy
from services.dispatcher.state import State
from tests.simulate.clock import Give, Order, Worker
from tests.simulate.trace import Request

_START = datetime(2026, 1, 1, tzinfo=UTC)
_NEVER = timedelta(days=365)
_PARTITION = 0
#: Production's rules, but for what a simulation has none of: silent workers, requests refused, late or redelivered.
POLICY = Policy(
    report_period=1e6, least_deadline=1e6, job_deadline=1e6, queued_per_user=10**9, finished_kept=60.0
)


class Core:
    """`services.dispatcher.decide`, driven by the simulation's clock."""

    held_limit = 1
    tick_seconds = 1.0

    def __init__(self, fleet: Sequence[Worker]) -> None:
        self._state = State(policy=POLICY)
        self._state.own({_PARTITION})
        self._fleet = {str(worker.number): worker for worker in fleet}
        self._requests: dict[str, Request] = {}  # waiting or on a worker
        self._events: dict[str, GenerationRequested] = {}
        self._began: dict[str, float] = {}  # worker -> when what it does began
        self._sequence = 0
        for worker in fleet:
            self._report(worker, None, 0.0)

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """An approved request is read from ``moderated``."""
        event = requested(request)
        self._requests[request.id], self._events[request.id] = request, event
        at = _instant(now)
        yield from self._perform(decide.admit(self._state, event, _PARTITION, at, sure=True), now)
        yield from self._fill(now)

    def freed(self, worker: Worker, ended: Request | None, now: float) -> Iterator[Order]:
        """The worker's ``completed`` is read, then its report."""
        assert ended is not None, "the core orders no loads"
        at = _instant(now)
        gpu_seconds = now - self._began.pop(str(worker.number))
        if worker.busy:
            self._began[str(worker.number)] = now
        event = completed(self._events.pop(ended.id), worker, self._dispatch_id(ended), gpu_seconds, at)
        self._state.learn(event)
        yield from self._perform(decide.complete(self._state, event, at), now)
        del self._requests[ended.id]
        yield from self._fill(now)
        self._report(worker, ended.checkpoint, now)
        yield from self._fill(now)

    def ticked(self, now: float) -> Iterator[Order]:
        """A second's look around."""
        for step in watch.tick(self._state, _instant(now), sure=True):
            yield from self._perform(step, now)
        yield from self._fill(now)

    def _fill(self, now: float) -> Iterator[Order]:
        while actions := decide.schedule(self._state, _instant(now)):
            yield from self._perform(actions, now)

    def _perform(self, actions: Iterable[Action], now: float) -> Iterator[Order]:
        for action in actions:
            if isinstance(action, Record):
                self._state.record(action.record, action.partition)
            elif isinstance(action, Forget):
                self._state.forget(action.key)
            elif isinstance(action, Dispatch):
                self._began.setdefault(action.event.worker_id, now)
                yield Give(self._fleet[action.event.worker_id], self._requests[action.event.request_id])

    def _report(self, worker: Worker, left: str | None, now: float) -> None:
        """The worker reports; ``left`` is what the last run left in memory, as production workers know it."""
        self._sequence += 1
        given = self._state.given_to(str(worker.number))
        held = {request.id for request in worker.held}
        jobs = [
            HeldJob(
                dispatch_id=job.record.dispatch_id or "",
                request_id=job.request_id,
                state=HeldState.HELD if job.request_id in held else HeldState.RUNNING,
            )
            for job in given
        ]
        report = reported(worker, jobs, self.held_limit, self._sequence, left, _instant(now))
        self._state.reported(report, _PARTITION, _instant(now))

    def _dispatch_id(self, request: Request) -> str:
        return self._state.jobs[request.id].record.dispatch_id or ""


def requested(request: Request) -> GenerationRequested:
    """The event of a simulated request."""
    at = _instant(request.at)
    reply_to = ReplyTo(
        user_id=request.user,
        channel_id="1",
        application_id="2",
        interaction_token="",
        token_expires_at=at + _NEVER,
    )
    job = JobSpec(
        workflow="simulated",
        workflow_version="1",
        graph="{}",
        bindings={},
        seed=1,
        images=1,  # a run hardly depends on the number of images, so there is nothing to split
        parameters={},
        checkpoints=[request.checkpoint],
    )
    return GenerationRequested(
        request_id=request.id,
        requested_at=at,
        expires_at=at + _NEVER,
        reply_to=reply_to,
        command="serve",
        raw_input="",
        command_string="",
        prompt="",
        negative_prompt="",
        job=job,
    )


def completed(
    event: GenerationRequested, worker: Worker, dispatch_id: str, gpu_seconds: float, at: datetime
) -> JobCompleted:
    """A worker's success; what it loaded is part of its GPU seconds, as ComfyUI loads while it runs."""
    return JobCompleted(
        request_id=event.request_id,
        dispatch_id=dispatch_id,
        attempt=1,
        outcome=Outcome.SUCCEEDED,
        final=True,
        completed_at=at,
        requested_at=event.requested_at,
        reply_to=event.reply_to,
        command_string="",
        worker_id=str(worker.number),
        gpu_seconds=gpu_seconds,
    )


def reported(
    worker: Worker, jobs: list[HeldJob], held_limit: int, sequence: int, loaded: str | None, at: datetime
) -> WorkerReported:
    """What a worker says of itself; it can load every checkpoint."""
    return WorkerReported(
        worker_id=str(worker.number),
        incarnation="1",
        sequence=sequence,
        reported_at=at,
        lanes=[worker.number],
        slots=1,
        held_limit=held_limit,
        jobs=jobs,
        loaded=[loaded] if loaded else [],
    )


def _instant(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)
