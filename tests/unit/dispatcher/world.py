"""A dispatcher's world in values: a manual clock, requests, workers, and a shell that performs in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.contracts.events import (
    ErrorInfo,
    GenerationRequested,
    HeldJob,
    HeldState,
    JobCompleted,
    JobDispatched,
    JobSpec,
    Outcome,
    ReplyTo,
    WorkerReported,
)
from services.dispatcher import decide
from services.dispatcher.policy import Policy
from services.dispatcher.state import State

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_request(name: str, *, at: datetime = NOON, checkpoints: tuple[str, ...] = ()) -> GenerationRequested:
    """Request ``A1`` is the first of user ``A``."""
    return GenerationRequested(
        request_id=name,
        requested_at=at,
        expires_at=at + timedelta(minutes=14),
        reply_to=ReplyTo(
            user_id=name[0],
            channel_id="1",
            application_id="2",
            interaction_token="",
            token_expires_at=at + timedelta(minutes=15),
        ),
        command="serve",
        raw_input=name,
        command_string=name,
        prompt=name,
        negative_prompt="",
        job=JobSpec(
            workflow="sd15",
            workflow_version="1",
            graph="{}",
            bindings={},
            seed=1,
            images=4,
            parameters={},
            checkpoints=list(checkpoints),
        ),
    )


@dataclass
class World:
    """A state, a clock, and what was written, in order."""

    policy: Policy = Policy()
    state: State = field(default_factory=lambda: State(owned={0}))
    now: datetime = NOON
    written: list[decide.Action] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def perform(self, actions: list[decide.Action]) -> list[decide.Action]:
        """What the shell does, without a broker."""
        for action in actions:
            self.written.append(action)
            if isinstance(action, decide.Record):
                self.state.record(action.record, action.partition)
            elif isinstance(action, decide.Forget):
                self.state.forget(action.request_id)
        return actions

    def request(self, *names: str, checkpoints: tuple[str, ...] = ()) -> None:
        """Approved requests arrive, in this order."""
        for name in names:
            request = a_request(name, at=self.now, checkpoints=checkpoints)
            self.perform(decide.admit(self.state, request, 0, self.now, self.policy))
            self.fill()

    def report(
        self,
        worker: str,
        *,
        incarnation: str = "i1",
        slots: int = 1,
        held_limit: int = 0,
        names: tuple[str, ...] | None = None,
        draining: bool = False,
        checkpoints: tuple[str, ...] = (),
        partition: int = 0,
        lanes: tuple[int, ...] = (7,),
        strangers: tuple[str, ...] = (),
    ) -> None:
        """``worker`` reports; ``names`` are the requests it says it holds, by default what it was given.

        ``strangers`` are requests of other dispatchers.
        """
        self.sequences[worker] = self.sequences.get(worker, 0) + 1
        own = [j for j in self.state.given_to(worker) if j.record.incarnation == incarnation]
        given = [job.request_id for job in own] if names is None else names
        jobs = [
            HeldJob(
                dispatch_id=self.state.jobs[n].record.dispatch_id or "", request_id=n, state=HeldState.RUNNING
            )
            for n in given
        ]
        jobs += [HeldJob(dispatch_id=n, request_id=n, state=HeldState.RUNNING) for n in strangers]
        event = WorkerReported(
            worker_id=worker,
            incarnation=incarnation,
            sequence=self.sequences[worker],
            reported_at=self.now,
            lanes=list(lanes),
            slots=slots,
            held_limit=held_limit,
            jobs=jobs,
            draining=draining,
            checkpoints=list(checkpoints),
        )
        self.wait(0.001)  # a report that is as old as a dispatch says nothing of it
        self.state.reported(event, partition, self.now)
        self.perform(decide.resend(self.state, worker))
        self.fill()

    def leave(self, worker: str, *, partition: int = 0) -> None:
        """``worker`` writes its tombstone."""
        self.state.left(worker, partition, self.now)
        self.fill()

    def complete(
        self,
        name: str,
        *,
        error: ErrorInfo | None = None,
        dispatch_id: str | None = None,
        final: bool | None = None,
    ) -> None:
        """The worker that has ``name`` says how it went."""
        record = self.state.jobs[name].record if name in self.state.jobs else self.state.finished[name].record
        event = JobCompleted(
            request_id=name,
            dispatch_id=dispatch_id or record.dispatch_id,
            attempt=record.attempt,
            outcome=Outcome.FAILED if error else Outcome.SUCCEEDED,
            final=final if final is not None else error is None,
            completed_at=self.now,
            requested_at=record.request.requested_at,
            reply_to=record.request.reply_to,
            command_string=name,
            error=error,
        )
        self.perform(decide.complete(self.state, event, self.now, self.policy))
        self.fill()

    def tick(self, *, sure: bool = True) -> None:
        """A second's look around."""
        for step in decide.tick(self.state, self.now, self.policy, sure=sure):
            self.perform(step)
        self.fill()

    def fill(self) -> None:
        """Dispatch while there is room."""
        while actions := decide.schedule(self.state, self.now, self.policy):
            self.perform(actions)

    def dispatched(self) -> list[JobDispatched]:
        """Every job sent to a worker, in order."""
        return [action.event for action in self.written if isinstance(action, decide.Dispatch)]

    def order(self) -> list[str]:
        """The requests that were dispatched, in order."""
        return [event.request_id for event in self.dispatched()]

    def ends(self) -> list[JobCompleted]:
        """Every end that the dispatcher itself announced."""
        return [action.event for action in self.written if isinstance(action, decide.Complete)]
