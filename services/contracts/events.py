"""The events of every topic, as frozen typed values: the Python side of ``schemas/events``.

Pure.  Field names and order are those of the Avro schemas; ``tests/contract`` holds the two together.
Instants are aware UTC datetimes with millisecond precision (Avro ``timestamp-millis``).
Identifiers are strings; Discord's are its decimal snowflakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime: a naive one would be read as this machine's local time, so the codec refuses it."""


class Verdict(StrEnum):
    """What the moderator decided of a request."""

    UNKNOWN = "UNKNOWN"  #: A symbol that this reader does not know yet.
    APPROVED = "APPROVED"  #: The request goes on to the dispatcher.
    REJECTED = "REJECTED"  #: The request ends here; the notifier tells its user why.


class Outcome(StrEnum):
    """How a request ended."""

    UNKNOWN = "UNKNOWN"  #: A symbol that this reader does not know yet.
    SUCCEEDED = "SUCCEEDED"  #: Every image asked for is in the object store.
    FAILED = "FAILED"  #: No attempt succeeded; ``error`` says why.
    CANCELLED = "CANCELLED"  #: Its user took it back.
    EXPIRED = "EXPIRED"  #: Its deadline passed first.
    REJECTED = "REJECTED"  #: The moderator refused it (only in ``delivered``).


class JobState(StrEnum):
    """Where the dispatcher's ledger has a request."""

    UNKNOWN = "UNKNOWN"  #: A symbol that this reader does not know yet.
    QUEUED = "QUEUED"  #: In the backlog, on no worker.
    DISPATCHED = "DISPATCHED"  #: Addressed to one worker.
    FINISHED = "FINISHED"  #: Over; kept for a while so that a redelivered request is not run again.


class HeldState(StrEnum):
    """What a worker does with a job that it holds."""

    UNKNOWN = "UNKNOWN"  #: A symbol that this reader does not know yet.
    RUNNING = "RUNNING"  #: On the GPU.
    HELD = "HELD"  #: Waiting behind the running one, so that no gap opens.


class Phase(StrEnum):
    """How far an unfinished request has come."""

    UNKNOWN = "UNKNOWN"  #: A symbol that this reader does not know yet.
    QUEUED = "QUEUED"  #: In the dispatcher's backlog.
    STARTING = "STARTING"  #: On a worker, which loads models or waits for ComfyUI.
    RUNNING = "RUNNING"  #: Sampling; ``percent`` counts.
    SAVING = "SAVING"  #: Images are being stored.


class DeliveryMethod(StrEnum):
    """How the user was told."""

    UNKNOWN = "UNKNOWN"  #: A symbol that this reader does not know yet.
    EDIT = "EDIT"  #: The original response was edited.
    CHANNEL_MESSAGE = "CHANNEL_MESSAGE"  #: A channel message, the token being expired or unknown.
    UNDELIVERABLE = "UNDELIVERABLE"  #: Discord refuses for good (channel gone, no permission).


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo:
    """Where and as whom to answer a user.

    ``interaction_token`` answers this one interaction for 15 minutes.  It is the only credential that an event
    holds; every printer and log masks it.
    """

    user_id: str
    channel_id: str
    application_id: str
    interaction_token: str = field(repr=False)  #: never in a repr, so never in a log or traceback by accident
    token_expires_at: Instant
    guild_id: str | None = None
    locale: str = "en-US"
    filesize_limit: int = 10 * 1024 * 1024  #: bytes an attachment may have here


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """An attachment, copied to the object store at intake since Discord's links expire."""

    parameter: str  #: the workflow parameter that it is bound to, such as ``image``
    object_key: str
    content_type: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """All that a worker needs to draw: no personal data but the prompt itself.

    ``graph`` is a ComfyUI API-format graph as JSON text, complete but for what is bound at run time:
    ``bindings`` maps ``seed``, ``filename_prefix``, ``batch_size`` and each input image's parameter to the
    ``"<node id>.<input name>"`` places that the worker fills.
    """

    workflow: str
    workflow_version: str
    graph: str
    bindings: dict[str, list[str]]
    seed: int  #: 0 .. 2**63-1; image ``i`` of a request has seed ``seed + i`` where the workflow allows it
    images: int  #: how many images to draw, 1..16
    parameters: dict[str, str]  #: canonical parameters as text, for provenance and display
    checkpoints: list[str] = field(default_factory=list)
    loras: list[str] = field(default_factory=list)
    inputs: list[InputImage] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequested:
    """A user asked for images.  ``requests``, keyed by user id."""

    request_id: str  #: the interaction's snowflake
    requested_at: Instant
    expires_at: Instant  #: past this the request is not worth GPU time any more
    reply_to: ReplyTo
    command: str  #: the slash command's name
    raw_input: str  #: what the user typed, untouched
    command_string: str  #: the canonical form: prompt, then flags in a fixed order
    prompt: str
    negative_prompt: str
    job: JobSpec
    plan: str = "free"  #: priority tier
    notes: list[str] = field(default_factory=list)  #: sentences to show, such as "ratio 27:18 became 3:2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why the moderator rejected: a stable code, a category, one plain sentence."""

    code: str
    category: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestModerated:
    """The moderator approved or rejected a request.  ``moderated``, keyed by user id."""

    request: GenerationRequested
    verdict: Verdict
    moderated_at: Instant
    policy_version: str
    reasons: list[Reason] = field(default_factory=list)
    quota_left: int | None = None  #: requests left today, where a quota applies


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDispatched:
    """One attempt of a request, addressed to one incarnation of one worker.  ``dispatched``, partition = lane."""

    request_id: str
    dispatch_id: str  #: new for every attempt; also ComfyUI's prompt id
    attempt: int  #: 1 for the first
    worker_id: str
    incarnation: str
    dispatched_at: Instant
    deadline_at: Instant  #: the worker gives up then
    requested_at: Instant
    reply_to: ReplyTo
    command_string: str
    job: JobSpec  #: of a part, that part's images and seed
    part: int = 0  #: which part of a split request, from 1; 0 is the whole request
    parts: int = 1  #: how many parts it was split into


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """A failure as a value: a stable code, one plain sentence for the user, and whether another try can help."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """One finished image in the object store."""

    object_key: str
    content_type: str
    bytes: int
    width: int
    height: int
    seed: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCompleted:
    """An attempt or a whole request ended.  ``completed``, keyed by user id.

    ``final`` is false where the dispatcher may try again: only it decides that, and then writes the final event.
    """

    request_id: str
    attempt: int
    outcome: Outcome
    final: bool
    completed_at: Instant
    requested_at: Instant
    reply_to: ReplyTo
    command_string: str
    dispatch_id: str | None = None  #: none where no worker was involved
    error: ErrorInfo | None = None
    images: list[ImageRef] = field(default_factory=list)
    worker_id: str | None = None
    gpu_seconds: float = 0.0
    reused: bool = False  #: the images were in the object store already
    part: int = 0  #: which part of a split request, from 1; 0 is the whole request
    parts: int = 1  #: how many parts it was split into


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDelivered:
    """The user has been told how a request ended.  ``delivered``, keyed by user id."""

    request_id: str
    user_id: str
    outcome: Outcome
    method: DeliveryMethod
    delivered_at: Instant
    requested_at: Instant
    images: int = 0
    message_id: str | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgressed:
    """An unfinished request moved on.  ``progress``, keyed by user id; losing one is harmless."""

    request_id: str
    phase: Phase
    progressed_at: Instant
    reply_to: ReplyTo
    command_string: str
    attempt: int = 0
    percent: int = 0  #: 0..100 of the running attempt
    queue_place: int | None = None  #: 1 = next
    eta_seconds: float | None = None
    part: int = 0  #: which part of a split request, from 1; 0 is the whole request
    parts: int = 1  #: how many parts it was split into
    note: str | None = None  #: one sentence about why it waits, where there is more to say than its place


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldJob:
    """A job that a worker holds."""

    dispatch_id: str
    request_id: str
    state: HeldState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReported:
    """A worker says what it is and holds, every 2 s and at every change.  ``workers``, keyed by worker id.

    A tombstone says that the worker has left for good.
    """

    worker_id: str
    incarnation: str  #: new at every start: what was sent to an earlier one is void
    sequence: int  #: counts this incarnation's reports from 1
    reported_at: Instant
    lanes: list[int]  #: the partitions of ``dispatched`` that it reads
    slots: int  #: jobs it runs at once
    held_limit: int  #: jobs it holds beside the running ones
    jobs: list[HeldJob] = field(default_factory=list)
    draining: bool = False
    gpu: str = ""
    vram_bytes: int = 0
    checkpoints: list[str] = field(default_factory=list)  #: files it can load; empty = not known
    loras: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)  #: files in memory now
    price_per_hour: float | None = None  #: US dollars


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecorded:
    """The dispatcher's state of one request.  ``jobs``, keyed by request id, partition = the user's; compacted.

    A part of a split request has a record of its own, keyed ``<request id>/<part>``; the request's own record
    then says only into how many ``parts`` it was split.
    """

    request: GenerationRequested
    state: JobState
    recorded_at: Instant
    queued_at: Instant
    attempt: int = 0  #: attempts dispatched so far
    dispatch_id: str | None = None
    worker_id: str | None = None
    incarnation: str | None = None
    lane: int | None = None
    dispatched_at: Instant | None = None
    deadline_at: Instant | None = None
    failed_workers: list[str] = field(default_factory=list)
    last_error: ErrorInfo | None = None
    part: int = 0  #: which part of a split request, from 1; 0 is the whole request
    parts: int = 1  #: how many parts it was split into
    images: list[ImageRef] = field(default_factory=list)  #: what a finished part drew, until every part has
    gpu_seconds: float = 0.0  #: of a finished part
    cancelled: bool = False  #: taken back while a worker had it: no other attempt is made


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationRequested:
    """A user takes a request back.  ``cancellations``, keyed by user id."""

    request_id: str
    user_id: str
    requested_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogReported:
    """A dispatcher says what waits at it.  ``backlogs``, keyed by dispatcher id; losing one is harmless.

    Workers attach themselves where they are needed, by reporting in one of its ``partitions``.
    """

    dispatcher_id: str  #: new at every start
    reported_at: Instant
    partitions: list[int]  #: of ``workers``, that it owns
    queued: int
    oldest_wait_seconds: float = 0.0
    workers: int  #: live ones attached here
    idle: int = 0  #: workers attached here with nothing to do
    checkpoints: dict[str, int] = field(
        default_factory=dict
    )  #: waiting requests by checkpoint; "" needs none


Event = (
    GenerationRequested
    | RequestModerated
    | JobDispatched
    | JobCompleted
    | RequestDelivered
    | JobProgressed
    | WorkerReported
    | JobRecorded
    | CancellationRequested
    | BacklogReported
)
