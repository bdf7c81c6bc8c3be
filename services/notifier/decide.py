"""What an event means for its user: nothing, a progress edit, or the final message.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import (
    DeliveryMethod,
    Event,
    ImageRef,
    JobCompleted,
    JobProgressed,
    Outcome,
    Phase,
    ReplyTo,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.notifier import wording
from services.notifier.policy import Policy

_ORDER = {Phase.UNKNOWN: 0, Phase.QUEUED: 1, Phase.STARTING: 2, Phase.RUNNING: 3, Phase.SAVING: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The end of a request, as its user gets it."""

    request_id: str
    reply_to: ReplyTo
    requested_at: datetime
    outcome: Outcome
    text: str
    images: tuple[ImageRef, ...] = ()
    error_code: str | None = None


def final_of(event: Event | None) -> Final | None:
    """The end that an event brings, if it brings one."""
    match event:
        case RequestModerated(verdict=Verdict.REJECTED, request=request):
            return Final(
                request_id=request.request_id,
                reply_to=request.reply_to,
                requested_at=request.requested_at,
                outcome=Outcome.REJECTED,
                text=wording.rejected(event),
                error_code=event.reasons[0].code if event.reasons else None,
            )
        case JobCompleted(final=True):
            return _completed(event)
        case _:
            return None


def _completed(event: JobCompleted) -> Final:
    outcome, error = event.outcome, event.error
    if outcome is Outcome.SUCCEEDED and not event.images:
        # The original delivered ``null`` as if it were images (F3): success without any is a failure.
        outcome, error = Outcome.FAILED, error_info(ErrorCode.NO_IMAGES)
    text = wording.finished(event) if outcome is event.outcome else _failed_text(event, outcome)
    return Final(
        request_id=event.request_id,
        reply_to=event.reply_to,
        requested_at=event.requested_at,
        outcome=outcome,
        text=text,
        images=tuple(event.images) if outcome is Outcome.SUCCEEDED else (),
        error_code=error.code if error else None,
    )


def without_images(final: Final) -> Final:
    """The end of a request whose images have vanished from the object store."""
    error = error_info(ErrorCode.STORAGE_UNAVAILABLE)
    text = f"{final.text}\n{wording.failure(error, Outcome.FAILED)}"
    return Final(
        request_id=final.request_id,
        reply_to=final.reply_to,
        requested_at=final.requested_at,
        outcome=Outcome.FAILED,
        text=text,
        error_code=error.code,
    )


def _failed_text(event: JobCompleted, outcome: Outcome) -> str:
    command = wording.bold(event.command_string, wording.LIMIT - 400)
    sentence = wording.failure(error_info(ErrorCode.NO_IMAGES), outcome)
    return f"<@{event.reply_to.user_id}> {command}\n{sentence}"


def is_stale(requested_at: datetime, now: datetime, policy: Policy) -> bool:
    """Whether the request is so old that it is not known any more whether it was answered."""
    return now - requested_at >= policy.remembered


def token_is_gone(final: Final, now: datetime, policy: Policy) -> bool:
    """Whether the interaction's token has expired, or is about to."""
    return now >= final.reply_to.token_expires_at - policy.token_margin


def supersedes(new: JobProgressed, old: JobProgressed | None) -> bool:
    """Whether ``new`` is as far as what was shown, or further: progress never falls within an attempt."""
    return old is None or _rank(new) >= _rank(old)


def _rank(event: JobProgressed) -> tuple[int, int, int]:
    return event.attempt, _ORDER[event.phase], event.percent


def delivered(
    final: Final, method: DeliveryMethod, message_id: str | None, now: datetime
) -> RequestDelivered:
    """The event that says so."""
    return RequestDelivered(
        request_id=final.request_id,
        user_id=final.reply_to.user_id,
        outcome=final.outcome,
        method=method,
        delivered_at=now,
        requested_at=final.requested_at,
        images=len(final.images) if method is not DeliveryMethod.UNDELIVERABLE else 0,
        message_id=message_id,
        error_code=final.error_code,
    )
