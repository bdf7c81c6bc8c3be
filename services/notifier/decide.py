"""The notifier's decisions: what a message must say, when, and by which way.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.contracts.errors import ErrorCode
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
from services.notifier.policy import NONCE_LIMIT, Policy

#: Between two attempts the request is in the queue again, with the number of the attempt that failed.
_ORDER = {Phase.STARTING: 1, Phase.RUNNING: 2, Phase.SAVING: 3, Phase.QUEUED: 4}
_ENDS = {
    Outcome.EXPIRED: ErrorCode.EXPIRED,
    Outcome.REJECTED: ErrorCode.PROMPT_REJECTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The last state of one request's message: images with a text over them, or a text alone."""

    request_id: str
    reply_to: ReplyTo
    requested_at: datetime
    outcome: Outcome
    text: str
    command_string: str = ""
    seconds: float = 0.0  #: from the request to its end
    notes: tuple[str, ...] = ()
    images: tuple[ImageRef, ...] = ()  #: at least one where ``outcome`` is SUCCEEDED, else none
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the user was told at last, and how."""

    final: Final
    method: DeliveryMethod
    images: int = 0
    message_id: str | None = None


def final_of(event: Event | None, notes: Sequence[str] = ()) -> Final | None:
    """The final state that an event asks for; none where the request goes on or the event is no end."""
    match event:
        case JobCompleted(final=True):
            return _completed(event, tuple(notes))
        case RequestModerated(verdict=Verdict.REJECTED):
            return _rejected(event)
        case _:
            return None


def failure(final: Final, code: ErrorCode) -> Final:
    """The same request's message, saying that it failed."""
    return replace(
        final,
        outcome=Outcome.FAILED,
        text=wording.failed(final.reply_to.user_id, final.command_string, code.value),
        images=(),
        error_code=code.value,
    )


def with_found(final: Final, found: Sequence[ImageRef]) -> Final:
    """The message for the images that the object store really had; without any, a failure."""
    if len(found) == len(final.images):
        return final
    if not found:
        return failure(final, ErrorCode.STORAGE_UNAVAILABLE)
    gone = len(final.images) - len(found)
    further = wording.missing(gone, len(final.images))
    return replace(final, images=tuple(found), text=_drawn(final, further))


def with_links(final: Final, urls: Sequence[str | None]) -> Final:
    """The message for images that no attachment can hold."""
    further = wording.links(urls, [image.object_key for image in final.images])
    return replace(final, text=_drawn(final, further))


def is_stale(final: Final, now: datetime, policy: Policy) -> bool:
    """Whether the request is older than the deliveries that are known, so that it may have been delivered."""
    return now - final.requested_at > timedelta(seconds=policy.window)


def token_lives(reply_to: ReplyTo, now: datetime, policy: Policy) -> bool:
    """Whether the interaction's token can still edit the original response."""
    return now + timedelta(seconds=policy.token_margin) < reply_to.token_expires_at


def wait_for_answer(final: Final, now: datetime, tries: int, policy: Policy) -> float | None:
    """Seconds until an interaction that Discord does not know may be known; none = the message is gone.

    The notifier races the bot's first answer, without which Discord knows no original response.
    """
    age = (now - final.requested_at).total_seconds()
    if age > policy.unknown_until:
        return None
    return min(1.0, policy.unknown_wait * policy.unknown_growth ** min(tries - 1, 20))


def room(reply_to: ReplyTo, policy: Policy) -> int:
    """Bytes that the files of one request may have together, as far as is known before Discord refuses them."""
    return max(reply_to.filesize_limit, policy.request_limit) - policy.request_overhead


def bytes_held(final: Final) -> int:
    """Bytes of memory that sending the images takes: theirs, and as many in the copy that the HTTP client makes."""
    return 2 * sum(image.bytes for image in final.images)


def fits(sizes: Sequence[int], reply_to: ReplyTo, together: int) -> bool:
    """Whether files of these sizes may be sent: none over the place's limit, and all within ``together``."""
    return max(sizes) <= reply_to.filesize_limit and sum(sizes) <= together


def nonce(request_id: str) -> str:
    """The request's own nonce: the same at every try, so that Discord answers with the message that is there."""
    if len(request_id) <= NONCE_LIMIT:
        return request_id
    return hashlib.sha256(request_id.encode()).hexdigest()[:NONCE_LIMIT]


def delivered(receipt: Receipt, now: datetime) -> RequestDelivered:
    """The event that says so."""
    final = receipt.final
    return RequestDelivered(
        request_id=final.request_id,
        user_id=final.reply_to.user_id,
        outcome=final.outcome,
        method=receipt.method,
        delivered_at=now,
        requested_at=final.requested_at,
        images=receipt.images,
        message_id=receipt.message_id,
        error_code=final.error_code,
    )


def is_news(new: JobProgressed, old: JobProgressed | None) -> bool:
    """Whether ``new`` tells more than ``old``, in whatever order they arrive: attempts and percent only grow."""
    if new.phase is Phase.UNKNOWN:
        return False
    if old is None or _rank(new) != _rank(old):
        return old is None or _rank(new) > _rank(old)
    if new.phase is Phase.QUEUED:
        return new.progressed_at > old.progressed_at
    return new.percent > old.percent


def part_drawn(event: Event | None) -> JobProgressed | None:
    """The progress that is in a part's success: no end, and of a short part the only news."""
    if not isinstance(event, JobCompleted) or event.final or not event.part:
        return None
    if event.outcome is not Outcome.SUCCEEDED:
        return None
    return JobProgressed(
        request_id=event.request_id,
        phase=Phase.SAVING,
        progressed_at=event.completed_at,
        reply_to=event.reply_to,
        command_string=event.command_string,
        attempt=event.attempt,
        percent=100,
        part=event.part,
        parts=event.parts,
    )


def whole(parts: Mapping[int, JobProgressed], before: JobProgressed | None = None) -> JobProgressed:
    """How a request stands, from the latest news of each part by its number; 0 is a request that is not split.

    The part that has come farthest says the phase, but it is saved only once all are; the percent is of all together,
    and does not fall below what was said ``before`` when one part is tried again.
    """
    split = [news for part, news in parts.items() if part > 0]
    if not split:
        return parts[0]
    total = max(len(split), *(news.parts for news in split))
    least = before.percent if before is not None and before.parts > 1 else 0
    phases = {news.phase for news in split}
    if len(split) == total and phases == {Phase.SAVING}:
        phase = Phase.SAVING
    elif phases & {Phase.RUNNING, Phase.SAVING}:
        phase = Phase.RUNNING
    else:
        phase = min(phases, key=lambda each: _ORDER.get(each, 0))
    places = [news.queue_place for news in split if news.queue_place is not None]
    etas = [news.eta_seconds for news in split if news.eta_seconds is not None]
    return replace(
        max(split, key=lambda news: news.progressed_at),
        part=0,
        phase=phase,
        percent=max(least, sum(_percent(news) for news in split) // total),
        attempt=min(news.attempt for news in split),
        queue_place=min(places, default=None),
        eta_seconds=max(etas, default=None),
    )


def wait_before_first_edit(age: float, policy: Policy) -> float:
    """Seconds until news of ``age`` seconds may be a message's first progress edit by this process.

    After a restart old news comes again: it waits one spacing for newer, so that a message that showed 80 % does not
    fall back to what was before.
    """
    return policy.first_edit_wait if age < policy.edit_spacing else policy.edit_spacing


def _percent(event: JobProgressed) -> int:
    if event.phase is Phase.SAVING:
        return 100
    return event.percent if event.phase is Phase.RUNNING else 0


def _rank(event: JobProgressed) -> tuple[int, int]:
    first = event.phase is Phase.QUEUED and event.attempt == 0
    return event.attempt, 0 if first else _ORDER.get(event.phase, 0)


def _completed(event: JobCompleted, notes: tuple[str, ...]) -> Final:
    final = Final(
        request_id=event.request_id,
        reply_to=event.reply_to,
        requested_at=event.requested_at,
        outcome=event.outcome,
        text="",
        command_string=event.command_string,
        seconds=(event.completed_at - event.requested_at).total_seconds(),
        notes=notes,
    )
    if event.outcome is Outcome.SUCCEEDED:
        if not event.images:
            return failure(final, ErrorCode.NO_IMAGES)
        return replace(final, images=tuple(event.images), text=_drawn(final))
    if event.outcome is Outcome.CANCELLED:
        text = wording.cancelled(event.reply_to.user_id, event.command_string)
        return replace(final, text=text, error_code=ErrorCode.CANCELLED.value)
    code = event.error.code if event.error else _ENDS.get(event.outcome, ErrorCode.INTERNAL_ERROR).value
    outcome = Outcome.FAILED if event.outcome is Outcome.UNKNOWN else event.outcome
    text = wording.failed(event.reply_to.user_id, event.command_string, code)
    return replace(final, outcome=outcome, text=text, error_code=wording.public_code(code))


def _rejected(event: RequestModerated) -> Final:
    request = event.request
    code = event.reasons[0].code if event.reasons else ErrorCode.PROMPT_REJECTED.value
    return Final(
        request_id=request.request_id,
        reply_to=request.reply_to,
        requested_at=request.requested_at,
        outcome=Outcome.REJECTED,
        text=wording.rejected(request.reply_to.user_id, event.reasons),
        error_code=wording.public_code(code),
    )


def _drawn(final: Final, further: str = "") -> str:
    user_id = final.reply_to.user_id
    return wording.drawn(user_id, final.command_string, final.seconds, final.notes, further)
