"""A notifier's world in values: events of one user's requests, manual time, and a shell whose outside is fake."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from PIL import Image

from services.chassis.edge import Edge
from services.chassis.metrics import Metrics
from services.chassis.records import Received, Record
from services.chassis.retry import SendFailed
from services.contracts.codec import Codec, encode
from services.contracts.envelope import Envelope
from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import (
    DeliveryMethod,
    Event,
    GenerationRequested,
    ImageRef,
    JobCompleted,
    JobProgressed,
    JobSpec,
    Outcome,
    Phase,
    Reason,
    ReplyTo,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.contracts.topics import topic_carrying
from services.notifier.agents import Notifier
from services.notifier.delivery import Delivery
from services.notifier.policy import Policy
from services.notifier.ports import Messenger
from tests.fakes.discord import FakeMessenger
from tests.fakes.object_store import FakeObjectStore

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
USER = "42"
REQUEST = "1300000000000000001"


def a_png(size: int = 8, color: str = "teal") -> bytes:
    """A real picture of one colour, ``size`` pixels square."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), color).save(buffer, "PNG")
    return buffer.getvalue()


def noise(size: int) -> bytes:
    """A picture that PNG cannot compress: some three bytes a pixel."""
    buffer = io.BytesIO()
    noisy = Image.effect_noise((size, size), 100)
    Image.merge("RGB", (noisy, noisy.rotate(90), noisy.rotate(180))).save(buffer, "PNG")
    return buffer.getvalue()


def a_reply(request_id: str = REQUEST, *, at: datetime = NOON, **other: Any) -> ReplyTo:
    """Where one request is answered; its token is named after it."""
    fields: dict[str, Any] = {
        "user_id": USER,
        "channel_id": "9",
        "application_id": "8",
        "interaction_token": f"token-{request_id}",
        "token_expires_at": at + timedelta(minutes=15),
    }
    return ReplyTo(**{**fields, **other})


def an_image(number: int = 0, **other: Any) -> ImageRef:
    """The ``number``-th image of a request."""
    fields: dict[str, Any] = {
        "object_key": f"images/{REQUEST}/{number}.png",
        "content_type": "image/png",
        "bytes": 100,
        "width": 8,
        "height": 8,
        "seed": 100 + number,
        "sha256": "",
    }
    return ImageRef(**{**fields, **other})


def completed(request_id: str = REQUEST, *, at: datetime = NOON, **other: Any) -> JobCompleted:
    """A request that ended well, 12.3 seconds after it was made, with four images."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "dispatch_id": "d",
        "attempt": 1,
        "outcome": Outcome.SUCCEEDED,
        "final": True,
        "completed_at": at + timedelta(seconds=12.3),
        "requested_at": at,
        "reply_to": a_reply(request_id, at=at),
        "command_string": "a lighthouse --ar 16:9",
        "images": [an_image(number) for number in range(4)],
    }
    return JobCompleted(**{**fields, **other})


def failed(code: str = ErrorCode.NODE_ERROR.value, **other: Any) -> JobCompleted:
    """A request that ended badly."""
    error = error_info(ErrorCode.NODE_ERROR, "Traceback (most recent call last): File /srv/x.py")
    return completed(outcome=Outcome.FAILED, images=[], error=_with_code(error, code), **other)


def cancelled(**other: Any) -> JobCompleted:
    """A request that its user took back."""
    error = error_info(ErrorCode.CANCELLED)
    return completed(outcome=Outcome.CANCELLED, images=[], error=error, **other)


def progressed(
    phase: Phase = Phase.RUNNING, percent: int = 0, *, request_id: str = REQUEST, **other: Any
) -> JobProgressed:
    """News of an unfinished request."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "phase": phase,
        "progressed_at": NOON,
        "reply_to": a_reply(request_id),
        "command_string": "a lighthouse --ar 16:9",
        "attempt": 0 if phase is Phase.QUEUED else 1,
        "percent": percent,
    }
    return JobProgressed(**{**fields, **other})


def a_request(request_id: str = REQUEST, notes: tuple[str, ...] = ()) -> GenerationRequested:
    """What the moderator saw."""
    job = JobSpec(
        workflow="sd15",
        workflow_version="1",
        graph="{}",
        bindings={},
        seed=100,
        images=4,
        parameters={},
    )
    return GenerationRequested(
        request_id=request_id,
        requested_at=NOON,
        expires_at=NOON + timedelta(minutes=14),
        reply_to=a_reply(request_id),
        command="serve",
        raw_input="a lighthouse",
        command_string="a lighthouse --ar 16:9",
        prompt="a lighthouse",
        negative_prompt="",
        job=job,
        notes=list(notes),
    )


def moderated(*reasons: Reason, notes: tuple[str, ...] = ()) -> RequestModerated:
    """A rejection for these reasons; an approval without any."""
    return RequestModerated(
        request=a_request(notes=notes),
        verdict=Verdict.REJECTED if reasons else Verdict.APPROVED,
        moderated_at=NOON,
        policy_version="1",
        reasons=list(reasons),
    )


def received(event: Event, *, partition: int = 3, appended_at: datetime = NOON) -> Received:
    """An event as the edge hands it on."""
    envelope = Envelope.for_event(event, None, stage="test")
    record = Record(
        topic=topic_carrying(type(event)).name,
        partition=partition,
        offset=0,
        key=USER.encode(),
        value=encode(event),
        headers=envelope.to_headers(),
        appended_at=appended_at,
    )
    return Received(event=event, envelope=envelope, record=record)


def delivered(request_id: str = "7") -> RequestDelivered:
    """Another request, which was told of its end at noon."""
    return RequestDelivered(
        request_id=request_id,
        user_id=USER,
        outcome=Outcome.SUCCEEDED,
        method=DeliveryMethod.EDIT,
        delivered_at=NOON,
        requested_at=NOON,
    )


@dataclass(slots=True)
class ManualTimers:
    """An event loop's clock that moves only when told."""

    now: float = 0.0
    pending: list[_Timer] = field(default_factory=list)

    def time(self) -> float:
        """Monotonic seconds."""
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> _Timer:
        """Remember the call."""
        timer = _Timer(when, callback)
        self.pending.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass and fire what is due."""
        self.now += seconds
        due = [timer for timer in self.pending if timer.when <= self.now]
        self.pending = [timer for timer in self.pending if timer.when > self.now]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


@dataclass(slots=True)
class _Timer:
    when: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        """Never fire."""
        self.cancelled = True


@dataclass(slots=True)
class FakeOutbox:
    """Keeps what is sent; ``fail_next`` counts sends that the brokers do not acknowledge, ``lose_next`` such that
    they keep all the same."""

    sent: list[RequestDelivered] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)  #: of the events, in order
    fail_next: int = 0
    lose_next: int = 0

    async def send(self, event: Event, cause: Envelope | None, *, partition: int | None = None) -> Envelope:
        """As `Outbox.send`."""
        if self.fail_next:
            self.fail_next -= 1
            raise SendFailed("The fake broker is away.")
        assert isinstance(event, RequestDelivered)
        self.sent.append(event)
        envelope = Envelope.for_event(event, cause, stage="notifier")
        self.ids.append(envelope.event_id)
        if self.lose_next:
            self.lose_next -= 1
            raise SendFailed("The fake broker's answer was lost.")
        return envelope


class World:
    """A notifier with a fake Discord, a fake store and manual time."""

    def __init__(self, messenger: Messenger | None = None) -> None:
        self.now = NOON + timedelta(seconds=13)
        self.timers = ManualTimers()
        self.discord = FakeMessenger()
        self.messenger = messenger or self.discord
        self.store = FakeObjectStore()
        self.outbox = FakeOutbox()
        self.metrics = Metrics("notifier")
        self.policy = Policy()
        self.is_owner = True
        self.notifier = self.start()

    def start(self) -> Notifier:
        """A notifier that has just got its partitions, with nothing to read back."""
        delivery = Delivery(self.messenger, self.store, lambda: self.now, self.policy, 32 * 1024 * 1024)
        return Notifier(
            self.outbox,  # type: ignore[arg-type]  # a fake of the one method that is used
            self.metrics,
            lambda: self.now,
            self.timers,
            self.messenger,
            delivery,
            self.policy,
            lambda: self.is_owner,
        )

    def restart(self) -> None:
        """End the process and start another, which has read back what was delivered."""
        self.timers.pending.clear()
        self.notifier = self.start()
        for event in self.outbox.sent:
            self.notifier.apply(received(event))

    def store_images(self, count: int = 4, data: bytes | None = None) -> None:
        """Put the request's images into the store."""
        for number in range(count):
            self.store.put(an_image(number).object_key, a_png() if data is None else data, "image/png")

    def edge(self, gate: asyncio.Event) -> Edge:
        """The notifier behind its guarded edge, as the stage has it."""
        return Edge(
            handler=self.notifier.handle,
            outbox=self.outbox,  # type: ignore[arg-type]  # nothing is buried here
            codec=Codec(),
            metrics=self.metrics,
            clock=lambda: self.now,
            gate=gate,
        )

    async def handle(self, event: Event, *, appended_at: datetime | None = None) -> None:
        """An event arrives."""
        await self.notifier.handle(received(event, appended_at=appended_at or self.now))


def _with_code(error: Any, code: str) -> Any:
    return type(error)(code=code, message=error.message, retryable=error.retryable)
