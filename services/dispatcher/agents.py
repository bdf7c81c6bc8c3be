"""The dispatcher's shell: events in, decisions performed one by one, ledger first."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime

from services.chassis import metrics as m
from services.chassis import records
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.outbox import Outbox
from services.chassis.records import Received
from services.chassis.retry import SendFailed
from services.contracts.envelope import Envelope
from services.contracts.errors import ErrorCode, PermanentError, UndecodableRecord, error_info
from services.contracts.events import (
    CancellationRequested,
    JobCompleted,
    JobRecorded,
    Outcome,
    RequestModerated,
    Verdict,
    WorkerReported,
)
from services.contracts.topics import JOBS
from services.dispatcher import decide
from services.dispatcher.actions import Action, Complete, Dispatch, Forget, Record
from services.dispatcher.attempts import resend
from services.dispatcher.job import Job
from services.dispatcher.outlook import Outlook, announcement, differs, oldest_wait, outlooks, progress
from services.dispatcher.policy import Policy
from services.dispatcher.state import State
from services.dispatcher.watch import tick

log = get_logger()

#: Users told in one second how they stand; the rest are told in the next ones.
NEWS_AT_ONCE = 100
TICK_SECONDS = 1.0
ANNOUNCE_SECONDS = 1.0
ANNOUNCE_SPACING_SECONDS = 0.1


class Dispatcher:
    """Serialises what arrives from its topics and the clock into one line of decisions.

    Args:
        is_owner: whether the ledger is read back, and the partitions can be nobody else's: one that is half read
            shows running jobs as queued, which would then run twice.
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
        is_owner: Callable[[], bool],
        heard_all: Callable[[set[int]], Awaitable[bool]],
    ) -> None:
        self._outbox = outbox
        self._is_owner = is_owner
        self._heard_all = heard_all
        self._metrics = metrics
        self._clock = clock
        self._state = State(policy=policy)
        self._causes: dict[str, Envelope] = {}  # request id -> the envelope whose trace its events continue
        self._id = str(uuid.uuid4())
        self._wanting = asyncio.Event()  # somebody began to wait
        self._abandoned = asyncio.Event()  # a worker gave jobs up
        self._told: dict[str, Outlook] = {}  # by the ledger's key
        self._deaf_at: datetime = clock()  # when it was last unsure of having heard everything
        self._sure = False
        # The ticker and the agent both decide; a decision and its writes are one step.
        self._turn = asyncio.Lock()

    async def handle(self, received: Received) -> None:
        """The agent's handler."""
        async with self._turn:
            now = self._clock()
            await self._perform(self._react(received, now))
            await self._fill(now)
            if len(self._state.backlog):
                self._wanting.set()

    async def heard(self, received: Received) -> None:
        """The handler of ``workers``, which every dispatcher follows whole."""
        async with self._turn:
            now = self._clock()
            news = self._listen(received, now)
            if any(job.abandoned for job in self._state.given_to(news)):
                self._abandoned.set()
            if not news or not self._is_owner():
                return
            try:
                await self._step(resend(self._state, news), now)
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
            await self._perform(decide.end(job, Outcome.FAILED, failure, now))

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
        self._state.own(owned)
        self._deaf_at = self._clock()
        log.info("dispatcher_assigned", partitions=len(owned), jobs=len(self._state.jobs))

    async def revoked(self) -> None:
        """Partitions are about to go: wait for the decision that is being written."""
        async with self._turn:
            self._state.own(set())

    async def poisoned(self, record: records.Record, error: UndecodableRecord) -> None:
        """A record of ``workers`` that is no report: its partition's owner keeps it for the operators."""
        if record.partition not in self._state.owned:
            return
        try:
            await self._outbox.dead_letter(record, error, attempts=1)
        except SendFailed as failure:
            log.warning("poison_unburied", why=str(failure))

    async def tick_forever(self) -> None:
        """Let time pass: once a second, silent workers, expired requests and places in the queue are looked at.

        At once when a worker left or started anew with jobs: somebody else is to have them.
        """
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._abandoned.wait(), TICK_SECONDS)
            self._abandoned.clear()
            await self.tick()

    async def announce_forever(self) -> None:
        """Say what waits: every second, and at once when a request begins to wait, but not for each of many."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanting.wait(), ANNOUNCE_SECONDS)
            self._wanting.clear()
            if self._is_owner():
                await self._announce()
            await asyncio.sleep(ANNOUNCE_SPACING_SECONDS)

    async def _announce(self) -> None:
        try:
            await self._outbox.send(announcement(self._state, self._id, self._clock()), None)
        except SendFailed as error:  # the next one says it as well
            log.warning("backlog_unannounced", why=str(error))

    async def tick(self) -> None:
        """One look; none while the ledger is being read back."""
        now, owned = self._clock(), self._state.owned
        self._sure = await self._is_sure(now, owned)
        async with self._turn:
            if not self._is_owner() or self._state.owned is not owned:
                return
            try:
                await self._look(now)
            except SendFailed as error:  # the next tick decides the same again
                log.warning("tick_postponed", why=str(error))
            news = self._news()
            self._measure(now)
        await self._tell(news)

    async def _is_sure(self, now: datetime, owned: set[int]) -> bool:
        """Whether all has been heard for as long as a worker may be silent: after an outage they too come back late."""
        if not await self._heard_all(owned):
            self._deaf_at = self._clock()
        return (now - self._deaf_at).total_seconds() > self._state.policy.silence

    async def _look(self, now: datetime) -> None:
        self._state.silence(now)
        for step in tick(self._state, now, sure=self._sure):
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

    def _react(self, received: Received, now: datetime) -> list[Action]:
        event, partition = received.event, received.record.partition
        if isinstance(event, RequestModerated) and event.verdict is Verdict.APPROVED:
            self._causes.setdefault(event.request.request_id, received.envelope)
            return decide.admit(self._state, event.request, partition, now, sure=self._sure)
        if isinstance(event, JobCompleted):
            self._state.learn(event)
            return decide.complete(self._state, event, now)
        if isinstance(event, CancellationRequested):
            return decide.cancel(self._state, event, now)
        return []

    async def _fill(self, now: datetime) -> None:
        while actions := decide.schedule(self._state, now):
            await self._step(actions, now)

    async def _step(self, actions: list[Action], now: datetime) -> None:
        """One decision; a job of which something can never be written ends, and the others go on."""
        done = 0
        try:
            for action in actions:
                await self._perform([action])
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
            await self._perform(decide.end(job, Outcome.FAILED, failure, now))
        except (PermanentError, ValueError):  # not even its end can be written: no event of it ever will
            self._forget(request_id)

    async def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if not self._is_owner():  # frozen in the middle of a turn, it would go on from where it was
                raise SendFailed("The partitions may be another dispatcher's, so nothing is written.")
            match action:
                case Record(record=record, partition=partition):
                    request_id = record.request.request_id
                    await self._outbox.send(record, self._causes.get(request_id), partition=partition)
                    self._state.record(record, partition)
                case Dispatch(event=dispatched, lane=lane, reason=reason):
                    await self._outbox.send(
                        dispatched, self._causes.get(dispatched.request_id), partition=lane
                    )
                    self._metrics.count(m.DISPATCHED, reason)
                case Complete(event=completed):
                    await self._outbox.send(completed, self._causes.get(completed.request_id))
                case Forget(key=key, partition=partition):
                    await self._outbox.tombstone(JOBS, key, partition)
                    self._forget(key)

    def _forget(self, key: str) -> None:
        self._state.forget(key)
        self._causes.pop(key, None)

    def _news(self) -> list[Outlook]:
        """What waiting users should hear: those who heard nothing yet first, then those who heard longest ago."""
        now = self._clock()
        waiting = {look.job.key: look for look in outlooks(self._state, now)}
        self._told = {key: told for key, told in self._told.items() if key in waiting}
        heard = {key: number for number, key in enumerate(self._told)}
        news = [look for key, look in waiting.items() if differs(look, self._told.get(key))]
        news.sort(key=lambda look: heard.get(look.job.key, -1))
        return news[:NEWS_AT_ONCE]

    async def _tell(self, news: list[Outlook]) -> None:
        """Send progress side by side; losing it is harmless, since the next look tells it again."""
        now = self._clock()
        sends = [
            self._outbox.send(progress(look, now), self._causes.get(look.job.request_id)) for look in news
        ]
        for look, outcome in zip(news, await asyncio.gather(*sends, return_exceptions=True), strict=True):
            if isinstance(outcome, BaseException):
                log.warning("place_untold", why=str(outcome))
            else:
                self._told.pop(look.job.key, None)
                self._told[look.job.key] = look  # the last in the order of who heard when

    def _measure(self, now: datetime) -> None:
        state = self._state
        self._metrics.set(m.BACKLOG, len(state.backlog))
        self._metrics.set(m.OLDEST_WAIT, oldest_wait(state, now))
        live = [w for w in state.workers.values() if state.is_live(w, now)]
        draining = [w for w in state.workers.values() if w.report.draining]
        self._metrics.set(m.WORKERS, len(live), "live")
        self._metrics.set(m.WORKERS, len(draining), "draining")
        self._metrics.set(m.WORKERS, len(state.workers) - len(live) - len(draining), "silent")
