"""The dispatcher's shell: events in, decisions performed one by one, ledger first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.outbox import Outbox
from services.chassis.records import Received, Record
from services.chassis.retry import SendFailed
from services.contracts.envelope import Envelope
from services.contracts.errors import ErrorCode, PermanentError, UndecodableRecord, error_info
from services.contracts.events import (
    JobCompleted,
    JobProgressed,
    JobRecorded,
    Outcome,
    RequestModerated,
    Verdict,
    WorkerReported,
)
from services.contracts.topics import JOBS
from services.dispatcher import decide
from services.dispatcher.policy import Policy
from services.dispatcher.state import Job, State

log = get_logger()

#: Places told in one second; the rest are told in the next ones, the first in the queue always first.
PLACES_AT_ONCE = 100


class Dispatcher:
    """Serialises what arrives from its topics and the clock into one line of decisions.

    Args:
        in_step: set while the ledger is read back: one that is half read shows running jobs as queued, which
            would then run twice.
        heard_all: whether everything that the brokers hold of the owned ``completed`` and of ``workers`` is
            handled.
    """

    def __init__(
        self,
        outbox: Outbox,
        metrics: m.Metrics,
        clock: Clock,
        policy: Policy,
        *,
        in_step: asyncio.Event,
        heard_all: Callable[[set[int]], Awaitable[bool]],
    ) -> None:
        self._outbox = outbox
        self._in_step = in_step
        self._heard_all = heard_all
        self._metrics = metrics
        self._clock = clock
        self._policy = policy
        self._state = State()
        self._causes: dict[str, Envelope] = {}  # request id -> the envelope whose trace its events continue
        self._places: dict[str, int] = {}
        self._deaf_at: datetime = clock()  # when it was last unsure of having heard everything
        # The ticker and the agent both decide; a decision and its writes are one step.
        self._turn = asyncio.Lock()

    async def handle(self, received: Received) -> None:
        """The agent's handler."""
        async with self._turn:
            now = self._clock()
            await self._perform(self._react(received, now), now)
            await self._fill(now)

    async def heard(self, received: Received) -> None:
        """The handler of ``workers``, which every dispatcher follows whole."""
        async with self._turn:
            now = self._clock()
            news = self._listen(received, now)
            if not news or not self._in_step.is_set():
                return
            try:
                await self._step(decide.resend(self._state, news), now)
                await self._fill(now)
            except SendFailed as error:  # the next report or tick decides the same again
                log.warning("report_postponed", why=str(error))

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
        self._causes = {i: cause for i, cause in self._causes.items() if self._state.knows(i)}

    def assigned(self, owned: set[int]) -> None:
        """Partitions were assigned: before a job is called lost, its worker gets the time to report it."""
        self._state.owned = owned
        self._deaf_at = self._clock()
        log.info("dispatcher_assigned", partitions=len(owned), jobs=len(self._state.jobs))

    async def revoked(self) -> None:
        """Partitions are about to go: wait for the decision that is being written."""
        async with self._turn:
            self._state.owned = set()

    async def poisoned(self, record: Record, error: UndecodableRecord) -> None:
        """A record of ``workers`` that is no report: its partition's owner keeps it for the operators."""
        if record.partition not in self._state.owned:
            return
        try:
            await self._outbox.dead_letter(record, error, attempts=1)
        except SendFailed as failure:
            log.warning("poison_unburied", why=str(failure))

    async def tick_forever(self) -> None:
        """Let time pass: once a second, silent workers, expired requests and places in the queue are looked at."""
        while True:
            await asyncio.sleep(1.0)
            await self.tick()

    async def tick(self) -> None:
        """One look; none while the ledger is being read back."""
        now, owned = self._clock(), self._state.owned
        sure = await self._is_sure(now, owned)
        async with self._turn:
            if not self._in_step.is_set() or self._state.owned is not owned:
                return
            try:
                await self._look(now, sure=sure)
            except SendFailed as error:  # the next tick decides the same again
                log.warning("tick_postponed", why=str(error))
            told = self._places_to_tell()
            self._measure(now)
        await self._tell(told)

    async def _is_sure(self, now: datetime, owned: set[int]) -> bool:
        """Whether all has been heard for as long as a worker may be silent: after an outage they too come back late."""
        if not await self._heard_all(owned):
            self._deaf_at = self._clock()
        return (now - self._deaf_at).total_seconds() > self._policy.silence

    async def _look(self, now: datetime, *, sure: bool) -> None:
        for step in decide.tick(self._state, now, self._policy, sure=sure):
            await self._step(step, now)
        await self._fill(now)

    def _listen(self, received: Received, now: datetime) -> str:
        """Believe a report or a tombstone; the worker's id, or nothing where it is no news."""
        record = received.record
        seen_at = min(now, record.appended_at)
        if isinstance(received.event, WorkerReported):
            news = self._state.reported(received.event, record.partition, seen_at)
            return received.event.worker_id if news else ""
        worker_id = (record.key or b"").decode(errors="replace")
        self._state.left(worker_id, record.partition, seen_at)
        return worker_id

    def _react(self, received: Received, now: datetime) -> list[decide.Action]:
        event, partition = received.event, received.record.partition
        if isinstance(event, RequestModerated) and event.verdict is Verdict.APPROVED:
            self._causes.setdefault(event.request.request_id, received.envelope)
            return decide.admit(self._state, event.request, partition, now, self._policy)
        if isinstance(event, JobCompleted):
            return decide.complete(self._state, event, now, self._policy)
        return []

    async def _fill(self, now: datetime) -> None:
        while actions := decide.schedule(self._state, now, self._policy):
            await self._step(actions, now)

    async def _step(self, actions: list[decide.Action], now: datetime) -> None:
        """One decision; a job of which something can never be written ends, and the others go on."""
        done = 0
        try:
            for action in actions:
                await self._perform([action], now)
                done += 1
        except (PermanentError, ValueError) as error:
            await self._abandon(actions[done].request_id, error, now)

    async def _abandon(self, request_id: str, error: Exception, now: datetime) -> None:
        log.error("job_abandoned", request_id=request_id, error=repr(error), exc_info=error)
        job = self._state.jobs.get(request_id)
        if job is None:
            return
        try:
            failure = error_info(ErrorCode.INTERNAL_ERROR)
            await self._perform(decide.end(job, Outcome.FAILED, failure, now), now)
        except (PermanentError, ValueError):  # not even its end can be written: no event of it ever will
            self._forget(request_id)

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

    def _forget(self, request_id: str) -> None:
        self._state.forget(request_id)
        self._causes.pop(request_id, None)

    def _places_to_tell(self) -> list[JobProgressed]:
        now = self._clock()
        places = {job.request_id: (job, place) for job, place in decide.places(self._state)}
        self._places = {i: place for i, place in self._places.items() if i in places}
        changed = [(job, place) for i, (job, place) in places.items() if self._places.get(i) != place]
        return [decide.progress(job, place, now) for job, place in changed[:PLACES_AT_ONCE]]

    async def _tell(self, told: list[JobProgressed]) -> None:
        """Send progress side by side; losing it is harmless, since the next look tells it again."""
        sends = [self._outbox.send(event, self._causes.get(event.request_id)) for event in told]
        for event, outcome in zip(told, await asyncio.gather(*sends, return_exceptions=True), strict=True):
            if isinstance(outcome, BaseException):
                log.warning("place_untold", why=str(outcome))
            else:
                self._places[event.request_id] = event.queue_place or 0

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
