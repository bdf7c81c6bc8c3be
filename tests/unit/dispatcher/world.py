"""A dispatcher's world in values: a manual clock, requests, workers, and a shell that performs in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.contracts.events import (
    CancellationRequested,
    ErrorInfo,
    GenerationRequested,
    HeldJob,
    HeldState,
    ImageRef,
    JobCompleted,
    JobDispatched,
    JobSpec,
    Outcome,
    ReplyTo,
    WorkerReported,
)
from services.dispatcher import decide
from services.dispatcher.actions import Action, Complete, Dispatch, Forget, Record
from services.dispatcher.attempts import resend
from services.dispatcher.policy import Policy
from services.dispatcher.state import State
from services.dispatcher.watch import tick

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_request(
    name: str,
    *,
    at: datetime = NOON,
    checkpoints: tuple[str, ...] = (),
    loras: tuple[str, ...] = (),
    plan: str = "free",
    images: int = 1,
    bindings: dict[str, list[str]] | None = None,
) -> GenerationRequested:
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
            bindings=bindings or {},
            seed=1,
            images=images,
            parameters={},
            checkpoints=list(checkpoints),
            loras=list(loras),
        ),
        plan=plan,
    )


def an_image(key: str) -> ImageRef:
    """A finished image."""
    return ImageRef(
        object_key=key, content_type="image/png", bytes=1, width=8, height=8, seed=1, sha256="0" * 64
    )


@dataclass
class World:
    """A state, a clock, and what was written, in order."""

    policy: Policy = Policy()
    run_seconds: float = 0.0  #: what runs are known to take; 0 = nothing is known of them
    state: State = field(init=False)
    now: datetime = NOON
    written: list[Action] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = State(policy=self.policy)
        self.state.own({0})
        if self.run_seconds:
            self.state.run_times.learn(a_request("X1").job, "", self.run_seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def perform(self, actions: list[Action]) -> list[Action]:
        """What the shell does, without a broker."""
        for action in actions:
            self.written.append(action)
            if isinstance(action, Record):
                self.state.record(action.record, action.partition)
            elif isinstance(action, Forget):
                self.state.forget(action.key)
        return actions

    def request(
        self,
        *names: str,
        checkpoints: tuple[str, ...] = (),
        loras: tuple[str, ...] = (),
        plan: str = "free",
        images: int = 1,
    ) -> None:
        """Approved requests arrive, in this order; their images may be drawn in parts."""
        bindings = {"batch_size": ["5.batch_size"]}
        for name in names:
            request = a_request(
                name,
                at=self.now,
                checkpoints=checkpoints,
                loras=loras,
                plan=plan,
                images=images,
                bindings=bindings,
            )
            self.perform(decide.admit(self.state, request, 0, self.now, sure=True))
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
        loaded: tuple[str, ...] = (),
        loras: tuple[str, ...] = (),
    ) -> None:
        """``worker`` reports; ``names`` are the requests it says it holds, by default what it was given.

        ``strangers`` are requests of other dispatchers.
        """
        self.sequences[worker] = self.sequences.get(worker, 0) + 1
        own = [j for j in self.state.given_to(worker) if j.record.incarnation == incarnation]
        given = [job.key for job in own] if names is None else names
        jobs = [self._held(name) for name in (*given, *strangers)]
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
            loaded=list(loaded),
            loras=list(loras),
        )
        self.wait(0.001)  # a report that is as old as a dispatch says nothing of it
        self.state.reported(event, partition, self.now)
        self.perform(resend(self.state, worker))
        self.fill()

    def _held(self, key: str) -> HeldJob:
        job = self.state.jobs.get(key)
        dispatch_id = (job.record.dispatch_id if job else None) or key
        return HeldJob(dispatch_id=dispatch_id, request_id=key.partition("/")[0], state=HeldState.RUNNING)

    def leave(self, worker: str, *, partition: int = 0) -> None:
        """``worker`` writes its tombstone."""
        self.state.left(worker, partition, self.now)
        self.fill()

    def ended(
        self,
        name: str,
        *,
        error: ErrorInfo | None = None,
        dispatch_id: str | None = None,
        final: bool | None = None,
        seconds: float = 0.0,
        images: tuple[str, ...] = (),
    ) -> JobCompleted:
        """What the worker that has ``name`` says; ``A1/2`` is the second part of a split request."""
        record = self.state.jobs[name].record if name in self.state.jobs else self.state.finished[name].record
        return JobCompleted(
            request_id=record.request.request_id,
            part=record.part,
            parts=record.parts,
            gpu_seconds=seconds,
            worker_id=record.worker_id,
            images=[an_image(key) for key in images],
            dispatch_id=dispatch_id or record.dispatch_id,
            attempt=record.attempt,
            outcome=Outcome.FAILED if error else Outcome.SUCCEEDED,
            final=final if final is not None else error is None and record.part == 0,
            completed_at=self.now,
            requested_at=record.request.requested_at,
            reply_to=record.request.reply_to,
            command_string=name,
            error=error,
        )

    def complete(self, name: str, **how: Any) -> None:
        """The worker that has ``name`` says how it went; as `ended`."""
        event = self.ended(name, **how)
        self.state.learn(event)
        self.perform(decide.complete(self.state, event, self.now))
        self.fill()

    def cancel(self, name: str, *, by: str = "") -> None:
        """Its user takes ``name`` back, or somebody else tries to."""
        event = CancellationRequested(request_id=name, user_id=by or name[0], requested_at=self.now)
        self.perform(decide.cancel(self.state, event, self.now))
        self.fill()

    def tick(self, *, sure: bool = True) -> None:
        """A second's look around."""
        self.state.silence(self.now)
        for step in tick(self.state, self.now, sure=sure):
            self.perform(step)
        self.fill()

    def fill(self) -> None:
        """Dispatch while there is room."""
        while actions := decide.schedule(self.state, self.now):
            self.perform(actions)

    def dispatched(self) -> list[JobDispatched]:
        """Every job sent to a worker, in order."""
        return [action.event for action in self.written if isinstance(action, Dispatch)]

    def order(self) -> list[str]:
        """The requests that were dispatched, in order."""
        return [event.request_id for event in self.dispatched()]

    def ends(self) -> list[JobCompleted]:
        """Every end that the dispatcher itself announced."""
        return [action.event for action in self.written if isinstance(action, Complete)]
