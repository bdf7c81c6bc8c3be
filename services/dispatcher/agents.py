"""The dispatcher's shell: events in, decisions performed one by one, ledger first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.outbox import Outbox
from services.chassis.records import Received
from services.chassis.retry import SendFailed
from services.contracts.envelope import Envelope
from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import (
    JobCompleted,
    JobRecorded,
    Outcome,
    RequestModerated,
    Verdict,
    WorkerReported,
)
from services.contracts.topics import JOBS, WORKERS
from services.dispatcher import decide
from services.dispatcher.policy import Policy
from services.dispatcher.state import Job, State

log = get_logger()


class Dispatcher:
    """Serialises what arrives from three topics and the clock into one line of decisions."""

    def __init__(self, outbox: Outbox, metrics: m.Metrics, clock: Clock, policy: Policy) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._policy = policy
        self._state = State()
        self._causes: dict[str, Envelope] = {}  # request id -> the envelope whose trace its events continue
        self._places: dict[str, int] = {}
        self._recovered_at: datetime = clock()
        # The ticker and the agent both decide; a decision and its writes are one step.
        self._turn = asyncio.Lock()

    async def handle(self, received: Received) -> None:
        """The agent's handler."""
        async with self._turn:
            now = self._clock()
            await self._perform(self._react(received, now), now)
            await self._fill(now)

    async def give_up(self, received: Received, error: Exception) -> None:
        """An approved request that cannot be taken in ends with a sentence."""
        event = received.event
        if not isinstance(event, RequestModerated) or event.verdict is not Verdict.APPROVED:
            return
        async with self._turn:
            if self._state.knows(event.request.request_id):
                return  # it was taken in, and what failed came after: it goes its way
            now = self._clock()
            record = decide.new_record(event.request, now)
            job = Job(record=record, partition=received.record.partition)
            failure = error_info(ErrorCode.INTERNAL_ERROR)
            await self._perform(decide.end(job, Outcome.FAILED, failure, now), now)

    def apply(self, received: Received) -> None:
        """Fold one record of the ledger (see `ReadBack`)."""
        event = received.event
        if isinstance(event, JobRecorded):
            self._state.record(event, received.record.partition)
            self._causes[event.request.request_id] = received.envelope
        elif received.record.key is not None:
            self._forget(received.record.key.decode())

    def forget_partition(self, partition: int) -> None:
        """The partition went to another dispatcher."""
        self._state.forget_partition(partition)

    def assigned(self, owned: set[int]) -> None:
        """Partitions were assigned: before a job is called lost, its worker gets two rounds to report it."""
        for partition in {w.partition for w in self._state.workers.values()} - owned:
            self._state.forget_partition(partition)
        self._recovered_at = self._clock()
        log.info("dispatcher_assigned", partitions=len(owned), jobs=len(self._state.jobs))

    async def tick_forever(self, in_step: asyncio.Event) -> None:
        """Let time pass: once a second, silent workers, expired requests and places in the queue are looked at."""
        while True:
            await asyncio.sleep(1.0)
            await self.tick(in_step)

    async def tick(self, in_step: asyncio.Event) -> None:
        """One look; none while ``in_step`` is not set.

        A ledger that is half read back shows running jobs as queued, which would then run twice.
        """
        async with self._turn:
            if not in_step.is_set():
                return
            try:
                await self._tick()
            except SendFailed as error:  # the next tick decides the same again
                log.warning("tick_postponed", why=str(error))

    async def _tick(self) -> None:
        now = self._clock()
        recovered = (now - self._recovered_at).total_seconds() > self._policy.recovery
        await self._perform(decide.tick(self._state, now, self._policy, recovered=recovered), now)
        await self._fill(now)
        await self._tell_places(now)
        self._measure(now)

    def _react(self, received: Received, now: datetime) -> list[decide.Action]:
        event, partition = received.event, received.record.partition
        if isinstance(event, RequestModerated) and event.verdict is Verdict.APPROVED:
            self._causes.setdefault(event.request.request_id, received.envelope)
            return decide.admit(self._state, event.request, partition, now, self._policy)
        if isinstance(event, JobCompleted):
            return decide.complete(self._state, event, now, self._policy)
        if isinstance(event, WorkerReported):
            self._state.reported(event, partition, min(now, received.record.appended_at))
            return decide.reconcile(self._state, event.worker_id, now, self._policy)
        if event is None and received.record.topic == WORKERS and received.record.key:
            worker_id = received.record.key.decode(errors="replace")
            self._state.left(worker_id)
            return decide.reconcile(self._state, worker_id, now, self._policy)
        return []

    async def _fill(self, now: datetime) -> None:
        while actions := decide.schedule(self._state, now, self._policy):
            await self._perform(actions, now)

    async def _perform(self, actions: Iterable[decide.Action], now: datetime) -> None:
        for action in actions:
            match action:
                case decide.Record(record=record, partition=partition):
                    request_id = record.request.request_id
                    await self._outbox.send(record, self._causes.get(request_id), partition=partition)
                    self._state.record(record, partition)
                case decide.Dispatch(event=dispatched, lane=lane, reason=reason):
                    await self._outbox.send(
                        dispatched, self._causes.get(dispatched.request_id), partition=lane
                    )
                    self._metrics.count(m.DISPATCHED, reason)
                case decide.Complete(event=completed):
                    await self._outbox.send(completed, self._causes.get(completed.request_id))
                case decide.Forget(request_id=request_id, partition=partition):
                    await self._outbox.tombstone(JOBS, request_id, partition)
                    self._forget(request_id)
                case decide.Tell(event=progressed):
                    self._places[progressed.request_id] = progressed.queue_place or 0
                    await self._outbox.send(progressed, self._causes.get(progressed.request_id))

    def _forget(self, request_id: str) -> None:
        self._state.forget(request_id)
        self._causes.pop(request_id, None)

    async def _tell_places(self, now: datetime) -> None:
        places = {job.request_id: (job, place) for job, place in decide.places(self._state)}
        changed = [
            decide.Tell(event=decide.progress(job, place, now))
            for request_id, (job, place) in places.items()
            if self._places.get(request_id) != place
        ]
        self._places = {request_id: place for request_id, (_, place) in places.items()}
        await self._perform(changed, now)

    def _measure(self, now: datetime) -> None:
        state = self._state
        waiting = [state.jobs[ids[0]].record.queued_at for ids in state.backlog.values()]
        oldest = min(waiting, default=now)
        self._metrics.set(m.BACKLOG, state.queued())
        self._metrics.set(m.OLDEST_WAIT, max(0.0, (now - oldest).total_seconds()))
        live = [w for w in state.workers.values() if decide.is_live(w, now, self._policy)]
        draining = [w for w in state.workers.values() if w.report.draining]
        self._metrics.set(m.WORKERS, len(live), "live")
        self._metrics.set(m.WORKERS, len(draining), "draining")
        self._metrics.set(m.WORKERS, len(state.workers) - len(live) - len(draining), "silent")
