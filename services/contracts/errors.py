"""The error tree of every stage, and the stable codes that a user, an event and a metric may carry.

Pure.  A code is never renamed or reused: events hold it for as long as they are kept, and people search for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from services.contracts.events import ErrorInfo


class DistilleryError(Exception):
    """Every error that this project raises on purpose."""


class RetryableError(DistilleryError):
    """Something outside is away or busy: the same call can succeed later."""


class PermanentError(DistilleryError):
    """The input itself is at fault: the same call fails for ever, so retrying wastes time."""


class UndecodableReason(StrEnum):
    """Why a record is not an event; a closed set, fit for a metric label."""

    TOO_SHORT = "too_short"  #: Not even a whole header.
    UNKNOWN_FRAMING = "unknown_framing"  #: Neither Avro's single-object marker nor Confluent's.
    UNKNOWN_FINGERPRINT = "unknown_fingerprint"  #: No version in ``schemas/events`` has it.
    UNKNOWN_SCHEMA_ID = "unknown_schema_id"  #: The registry does not know it, or none is configured.
    TRUNCATED_BODY = "truncated_body"  #: The bytes end inside a field.
    TRAILING_BYTES = "trailing_bytes"  #: Bytes are left after the last field.
    INVALID_UTF8 = "invalid_utf8"  #: A string is not UTF-8.
    INVALID_VALUE = "invalid_value"  #: A branch, symbol or instant that cannot be.
    INCOMPATIBLE_SCHEMA = "incompatible_schema"  #: The writer's schema does not resolve to the reader's.
    WRONG_EVENT_TYPE = "wrong_event_type"  #: A whole event, but not the one that this topic carries.


class UndecodableRecord(PermanentError, ValueError):
    """A poison record: its bytes are not an event, and never will be."""

    def __init__(self, reason: UndecodableReason, detail: str) -> None:
        super().__init__(f"{detail} ({reason.value})")
        self.reason = reason  #: for metrics and dead letter headers
        self.detail = detail  #: one sentence, without any byte of the record


class UnencodableEvent(PermanentError, ValueError):
    """An event holds a value that its schema has no place for: a fault of the code that built it."""


class EventTooLarge(PermanentError, ValueError):
    """An event is larger than the bus carries: big things go to the object store, events carry keys."""

    def __init__(self, event_type: str, size: int, limit: int) -> None:
        super().__init__(
            f"{event_type} takes {size} bytes and at most {limit} are allowed, so it was not sent; "
            "store the large part and send its key."
        )
        self.size = size  #: bytes
        self.limit = limit  #: bytes


class SchemaRegistryError(RetryableError):
    """The schema registry is away, refuses or answers nonsense; the record itself may be fine."""


class _Meaning(NamedTuple):
    """What a code says and does."""

    sentence: str
    retryable: bool


class ErrorCode(StrEnum):
    """The stable public error codes.  ``sentence`` is what a user reads, ``retryable`` whether a new attempt can help.

    The shape is that of AI Horde's ``rc`` list: one code, one plain sentence, documented in one place.
    """

    # Refused before any work.
    INVALID_COMMAND = "invalid_command"  #: A flag, a value or their combination is not accepted.
    UNKNOWN_WORKFLOW = "unknown_workflow"  #: No workflow has that name.
    BAD_INPUT_IMAGE = "bad_input_image"  #: An attachment is no image that ComfyUI reads.
    INPUT_IMAGE_TOO_LARGE = "input_image_too_large"  #: An attachment has too many bytes or pixels.
    QUEUE_FULL = "queue_full"  #: This user's share of the backlog is at its limit.
    QUOTA_EXCEEDED = "quota_exceeded"  #: The user's daily quota is used up.
    PROMPT_REJECTED = "prompt_rejected"  #: The moderation policy refuses the prompt.
    USER_BANNED = "user_banned"  #: The user may not use the bot.
    GUILD_BANNED = "guild_banned"  #: The server may not use the bot.
    # No worker could take it.
    NO_CAPABLE_WORKER = "no_capable_worker"  #: No worker has the checkpoint or the memory that it needs.
    MISSING_CHECKPOINT = "missing_checkpoint"  #: The worker lacks a model file that the graph names.
    # A worker tried.
    NODE_ERROR = "node_error"  #: A ComfyUI node raised.
    INVALID_WORKFLOW = "invalid_workflow"  #: ComfyUI refused the graph when it was posted.
    OUT_OF_MEMORY = "out_of_memory"  #: The GPU has too little memory for this request.
    MODEL_UNREADABLE = "model_unreadable"  #: A model file is there but does not load.
    DISK_FULL = "disk_full"  #: ComfyUI could not write its images.
    INTERRUPTED = "interrupted"  #: Somebody stopped it at ComfyUI, and it was not its user.
    COMFYUI_UNREACHABLE = "comfyui_unreachable"  #: The worker's ComfyUI does not answer.
    COMFYUI_DIED = "comfyui_died"  #: The worker's ComfyUI went away with the job in hand.
    NO_IMAGES = "no_images"  #: ComfyUI ended well, without an image.
    WORKER_LOST = "worker_lost"  #: The worker stopped reporting while it held the job.
    STORAGE_UNAVAILABLE = "storage_unavailable"  #: The object store refuses or is away.
    DEADLINE_EXCEEDED = "deadline_exceeded"  #: One attempt took longer than its deadline.
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"  #: Every allowed attempt failed.
    # Ends that are nobody's fault.
    CANCELLED = "cancelled"  #: Its user took it back.
    EXPIRED = "expired"  #: It waited until nobody wants it any more.
    # Everything else.
    INTERNAL_ERROR = "internal_error"  #: A fault of ours; the logs say more.

    @property
    def sentence(self) -> str:
        """What the user reads: one plain sentence, with no detail of the failure in it."""
        return _MEANINGS[self].sentence

    @property
    def retryable(self) -> bool:
        """Whether another attempt, perhaps on another worker, can succeed."""
        return _MEANINGS[self].retryable


_MEANINGS: dict[ErrorCode, _Meaning] = {
    ErrorCode.INVALID_COMMAND: _Meaning("I could not understand that command.", False),
    ErrorCode.UNKNOWN_WORKFLOW: _Meaning("There is no workflow of that name.", False),
    ErrorCode.BAD_INPUT_IMAGE: _Meaning("The attached file is not an image that I can read.", False),
    ErrorCode.INPUT_IMAGE_TOO_LARGE: _Meaning("The attached image is too large.", False),
    ErrorCode.QUEUE_FULL: _Meaning(
        "You have too many requests waiting; please try again when some are done.", False
    ),
    ErrorCode.QUOTA_EXCEEDED: _Meaning("You have used up today's requests.", False),
    ErrorCode.PROMPT_REJECTED: _Meaning("This prompt is against the rules here.", False),
    ErrorCode.USER_BANNED: _Meaning("You may not use this bot.", False),
    ErrorCode.GUILD_BANNED: _Meaning("This bot may not be used in this server.", False),
    ErrorCode.NO_CAPABLE_WORKER: _Meaning("No GPU that can draw this is online at the moment.", True),
    ErrorCode.MISSING_CHECKPOINT: _Meaning("The model that this request needs is not installed.", True),
    ErrorCode.NODE_ERROR: _Meaning("The workflow failed while it was drawing.", True),
    ErrorCode.INVALID_WORKFLOW: _Meaning("The workflow could not be started with these values.", False),
    ErrorCode.OUT_OF_MEMORY: _Meaning("The GPU ran out of memory; try a smaller size or fewer images.", True),
    ErrorCode.MODEL_UNREADABLE: _Meaning("The model that this request needs could not be loaded.", True),
    ErrorCode.DISK_FULL: _Meaning("The image generator had no room to save the images.", True),
    ErrorCode.INTERRUPTED: _Meaning("Drawing this was stopped before it was done.", False),
    ErrorCode.COMFYUI_UNREACHABLE: _Meaning("The image generator did not answer.", True),
    ErrorCode.COMFYUI_DIED: _Meaning("The image generator stopped while it was drawing this.", True),
    ErrorCode.NO_IMAGES: _Meaning("The workflow ended without an image.", True),
    ErrorCode.WORKER_LOST: _Meaning("The GPU that was drawing this went away.", True),
    ErrorCode.STORAGE_UNAVAILABLE: _Meaning("The finished images could not be stored.", True),
    ErrorCode.DEADLINE_EXCEEDED: _Meaning("Drawing this took too long and was stopped.", True),
    ErrorCode.ATTEMPTS_EXHAUSTED: _Meaning("This could not be drawn after several attempts.", False),
    ErrorCode.CANCELLED: _Meaning("This request was cancelled.", False),
    ErrorCode.EXPIRED: _Meaning("This request waited too long and was dropped.", False),
    ErrorCode.INTERNAL_ERROR: _Meaning("Something went wrong on our side.", True),
}


def error_info(code: ErrorCode, message: str | None = None, *, retryable: bool | None = None) -> ErrorInfo:
    """Make the failure value of an event; what is not given is the code's own sentence and retryability."""
    return ErrorInfo(
        code=code.value,
        message=code.sentence if message is None else message,
        retryable=code.retryable if retryable is None else retryable,
    )
