"""Requests as the stages write them: events, envelopes and records, with a token that must never be shown."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from services.audit.moments import DISCORD_EPOCH_MS
from services.audit.observation import Observation, Raw, observe
from services.contracts.codec import Codec, encode
from services.contracts.envelope import Envelope
from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import (
    CancellationRequested,
    DeliveryMethod,
    Event,
    GenerationRequested,
    HeldJob,
    HeldState,
    ImageRef,
    JobCompleted,
    JobDispatched,
    JobProgressed,
    JobRecorded,
    JobSpec,
    JobState,
    Outcome,
    Phase,
    Reason,
    ReplyTo,
    RequestDelivered,
    RequestModerated,
    Verdict,
    WorkerReported,
)
from services.contracts.keys import key_of
from services.contracts.partitioner import partition_for
from services.contracts.topics import topic_carrying

PARTITIONS = 12
LANE = 7
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "s3cr3t-of-one-interaction"
TOKEN = base64.b64encode(f"interaction:1313:{SECRET}".encode()).decode()
USER = "424242424242424242"


def snowflake(at: datetime, serial: int = 1) -> str:
    """The id that Discord makes at an instant."""
    millis = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return str((millis - DISCORD_EPOCH_MS << 22) | serial)


REQUEST = snowflake(START)


def request(request_id: str = REQUEST, user_id: str = USER, at: datetime = START) -> GenerationRequested:
    """What a user asked for."""
    return GenerationRequested(
        request_id=request_id,
        requested_at=at,
        expires_at=at + timedelta(minutes=30),
        reply_to=ReplyTo(
            user_id=user_id,
            channel_id="515151515151515151",
            application_id="616161616161616161",
            interaction_token=TOKEN,
            token_expires_at=at + timedelta(minutes=15),
        ),
        command="serve",
        raw_input="a lighthouse at dusk --ar 16:9",
        command_string="a lighthouse at dusk --ar 16:9",
        prompt="a lighthouse at dusk",
        negative_prompt="",
        job=JobSpec(
            workflow="sd15",
            workflow_version="1",
            graph='{"3": {"class_type": "KSampler"}}',
            bindings={"seed": ["3.seed"]},
            seed=7,
            images=4,
            parameters={"ar": "16:9"},
        ),
    )


@dataclass(slots=True, kw_only=True)
class Journey:
    """Collects the records of one request, each ``after`` so many seconds; a record's cause is the one before."""

    asked: GenerationRequested = field(default_factory=request)
    raws: list[Raw] = field(default_factory=list)
    _cause: Envelope | None = None
    _offsets: Counter[tuple[str, int]] = field(default_factory=Counter)

    def add(
        self, event: Event | None, after: float, *, stage: str, topic: str = "", partition: int | None = None
    ) -> Raw:
        """Append the record of an event (none: a tombstone on ``jobs``)."""
        key = self.asked.request_id if event is None else key_of(event)
        envelope = None if event is None else Envelope.for_event(event, self._cause, stage=stage)
        name = "jobs" if event is None else topic_carrying(type(event)).name
        place = self._partition(name, key) if partition is None else partition
        raw = Raw(
            topic=name,
            partition=place,
            offset=self._offsets[name, place],
            key=key.encode(),
            value=None if event is None else encode(event),
            headers=tuple(envelope.to_header_pairs()) if envelope is not None else (),
            appended_at=self.asked.requested_at + timedelta(seconds=after),
        )
        self._offsets[name, place] += 1
        if envelope is not None:
            self._cause = envelope
        self.raws.append(raw)
        return raw

    def put(self, raw: Raw, after: float) -> Raw:
        """Append a record as it is given, at the end of its partition."""
        place = raw.topic, raw.partition
        at = self.asked.requested_at + timedelta(seconds=after)
        placed = replace(raw, offset=self._offsets[place], appended_at=at)
        self._offsets[place] += 1
        self.raws.append(placed)
        return placed

    def seen(self) -> list[Observation]:
        """All records, looked at."""
        return [observe(raw, Codec()) for raw in self.raws]

    def requested(self, after: float = 0.02) -> Raw:
        """The bot writes the request."""
        return self.add(self.asked, after, stage="ingest_bot")

    def moderated(self, after: float = 0.03, *reasons: Reason) -> Raw:
        """The moderator approves, or rejects for reasons."""
        event = RequestModerated(
            request=self.asked,
            verdict=Verdict.REJECTED if reasons else Verdict.APPROVED,
            moderated_at=self._at(after),
            policy_version="2026-01",
            reasons=list(reasons),
            quota_left=9,
        )
        return self.add(event, after, stage="moderator")

    def recorded(self, state: JobState, after: float, attempt: int = 0, lane: int | None = None) -> Raw:
        """The dispatcher writes its ledger."""
        event = JobRecorded(
            request=self.asked,
            state=state,
            recorded_at=self._at(after),
            queued_at=self._at(after),
            attempt=attempt,
            lane=lane,
            worker_id=f"gpu-{attempt}" if attempt else None,
        )
        return self.add(event, after, stage="dispatcher")

    def dispatched(self, after: float = 0.05, attempt: int = 1, lane: int = LANE) -> Raw:
        """The dispatcher gives the job to a worker, writing its ledger first."""
        self.recorded(JobState.DISPATCHED, after - 0.005, attempt, lane)
        event = JobDispatched(
            request_id=self.asked.request_id,
            dispatch_id=f"dispatch-{attempt}",
            attempt=attempt,
            worker_id=f"gpu-{attempt}",
            incarnation="i1",
            dispatched_at=self._at(after),
            deadline_at=self._at(after + 300),
            requested_at=self.asked.requested_at,
            reply_to=self.asked.reply_to,
            command_string=self.asked.command_string,
            job=self.asked.job,
        )
        return self.add(event, after, stage="dispatcher", partition=lane)

    def progressed(self, after: float, percent: int, attempt: int = 1) -> Raw:
        """The worker says how far it is."""
        event = JobProgressed(
            request_id=self.asked.request_id,
            phase=Phase.RUNNING,
            progressed_at=self._at(after),
            reply_to=self.asked.reply_to,
            command_string=self.asked.command_string,
            attempt=attempt,
            percent=percent,
        )
        return self.add(event, after, stage="gpu_worker")

    def completed(
        self,
        after: float = 12.0,
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        attempt: int = 1,
        final: bool = True,
    ) -> Raw:
        """A worker, or the dispatcher, says how it ended."""
        succeeded = outcome is Outcome.SUCCEEDED
        image = ImageRef(
            object_key="k", content_type="image/png", bytes=9, width=64, height=64, seed=7, sha256="0" * 64
        )
        event = JobCompleted(
            request_id=self.asked.request_id,
            dispatch_id=f"dispatch-{attempt}" if attempt else None,
            attempt=attempt,
            outcome=outcome,
            final=final,
            completed_at=self._at(after),
            requested_at=self.asked.requested_at,
            reply_to=self.asked.reply_to,
            command_string=self.asked.command_string,
            error=None if succeeded else error_info(ErrorCode.NODE_ERROR),
            images=[image] * 4 if succeeded else [],
            worker_id=f"gpu-{attempt}" if attempt else None,
            gpu_seconds=9.5,
        )
        return self.add(event, after, stage="gpu_worker")

    def delivered(
        self,
        after: float = 12.3,
        outcome: Outcome = Outcome.SUCCEEDED,
        method: DeliveryMethod = DeliveryMethod.EDIT,
        error_code: str | None = None,
    ) -> Raw:
        """The notifier has told the user."""
        event = RequestDelivered(
            request_id=self.asked.request_id,
            user_id=self.asked.reply_to.user_id,
            outcome=outcome,
            method=method,
            delivered_at=self._at(after),
            requested_at=self.asked.requested_at,
            images=4 if outcome is Outcome.SUCCEEDED else 0,
            message_id="717171717171717171",
            error_code=error_code,
        )
        return self.add(event, after, stage="notifier")

    def cancelled(self, after: float) -> Raw:
        """Its user takes it back."""
        event = CancellationRequested(
            request_id=self.asked.request_id,
            user_id=self.asked.reply_to.user_id,
            requested_at=self._at(after),
        )
        return self.add(event, after, stage="ingest_bot")

    def buried(
        self, original: Raw, after: float, error: str = "ValueError", message: str = "It is odd."
    ) -> Raw:
        """A stage gives up on a record."""
        burial = {
            "dlq-stage": "moderator",
            "dlq-topic": original.topic,
            "dlq-partition": str(original.partition),
            "dlq-offset": str(original.offset),
            "dlq-error-class": error,
            "dlq-error-message": message,
            "dlq-attempts": "3",
            "dlq-failed-at": START.isoformat(),
        }
        headers = (*original.headers, *((name, text.encode()) for name, text in burial.items()))
        partition = partition_for(original.key or b"", PARTITIONS)
        return self.put(replace(original, topic="dead-letters", partition=partition, headers=headers), after)

    def _at(self, after: float) -> datetime:
        return self.asked.requested_at + timedelta(seconds=after)

    def _partition(self, topic: str, key: str) -> int:
        owner = self.asked.reply_to.user_id if topic == "jobs" else key
        return partition_for(owner.encode(), PARTITIONS)


def happy_journey(asked: GenerationRequested | None = None) -> Journey:
    """A request that goes well: 4 images after 12.3 s, at the first attempt."""
    journey = Journey(asked=asked or request())
    journey.requested(0.02)
    journey.moderated(0.03)
    journey.recorded(JobState.QUEUED, 0.04)
    journey.dispatched(0.05)
    for percent in (10, 50, 100):
        journey.progressed(1.0 + percent / 10, percent)
    journey.completed(12.0)
    journey.recorded(JobState.FINISHED, 12.01, attempt=1, lane=LANE)
    journey.delivered(12.3)
    return journey


def report(worker_id: str = "gpu-1") -> WorkerReported:
    """What a worker says of itself while it draws."""
    held = HeldJob(dispatch_id="dispatch-1", request_id=REQUEST, state=HeldState.RUNNING)
    return WorkerReported(
        worker_id=worker_id,
        incarnation="i1",
        sequence=3,
        reported_at=START,
        lanes=[LANE],
        slots=1,
        held_limit=1,
        jobs=[held],
    )
