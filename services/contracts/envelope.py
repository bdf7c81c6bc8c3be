"""What travels beside an event in Kafka's headers: which event it is, what caused it, which trace it belongs to.

Pure and deterministic: ids are derived from the cause and the event, never drawn.  So an event that is handled
twice causes events with the same ids, and whoever reads those can tell a repetition from news.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services import __version__
from services.contracts.events import (
    BacklogReported,
    CancellationRequested,
    Event,
    GenerationRequested,
    JobCompleted,
    JobDispatched,
    JobProgressed,
    JobRecorded,
    RequestDelivered,
    RequestModerated,
    WorkerReported,
)
from services.contracts.schema_files import event_name

EVENT_ID = "event-id"
CORRELATION_ID = "correlation-id"
CAUSATION_ID = "causation-id"
TRACEPARENT = "traceparent"
EVENT_TYPE = "event-type"
PRODUCER = "producer"
REPLAY_OF = "replay-of"

HeaderPairs: TypeAlias = list[tuple[str, bytes]]
IncomingHeaders: TypeAlias = Mapping[str, bytes] | Iterable[tuple[str, bytes | str | None]] | None

_NAMESPACE = uuid.UUID("6f0dd9c4-9b0e-5d53-8f3f-3c1f5a9f3d10")  #: ours alone; never change it
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The headers of one event."""

    event_id: str  #: a UUID; the same again when the same cause is handled again
    correlation_id: str  #: the request id, or the worker id where no request is meant
    event_type: str  #: in snake case, such as ``request_moderated``
    producer: str  #: stage and version, such as ``moderator/0.1.0``
    traceparent: str  #: W3C trace context, version 00
    causation_id: str | None = None  #: the event that this one answers; none for the first of a chain
    replay_of: str | None = None  #: ``topic/partition/offset`` of the record that this one repeats

    @classmethod
    def for_event(
        cls, event: Event, cause: Envelope | None, *, stage: str, discriminator: str | None = None
    ) -> Envelope:
        """The envelope of an event that ``stage`` writes because it read ``cause``, or of its own accord.

        The id follows from the cause's id, the event's type and ``discriminator``, which tells apart several events
        of one type that one cause has; where it is not given, that is ``occasion(event)``.
        """
        event_type = event_name(type(event))
        cause_id = cause.event_id if cause is not None else None
        event_id = _uuid(cause_id or "", event_type, discriminator or occasion(event))
        correlation_id = correlation_of(event)
        return cls(
            event_id=event_id,
            correlation_id=correlation_id,
            event_type=event_type,
            producer=f"{stage}/{__version__}",
            traceparent=next_traceparent(
                cause.traceparent if cause is not None else None,
                trace_seed=correlation_id,
                span_seed=event_id,
            ),
            causation_id=cause_id,
        )

    def to_headers(self) -> dict[str, bytes]:
        """As Faust and confluent-kafka take them; absent values have no header."""
        return dict(self.to_header_pairs())

    def to_header_pairs(self) -> HeaderPairs:
        """As aiokafka takes them."""
        pairs = (
            (EVENT_ID, self.event_id),
            (CORRELATION_ID, self.correlation_id),
            (CAUSATION_ID, self.causation_id),
            (TRACEPARENT, self.traceparent),
            (EVENT_TYPE, self.event_type),
            (PRODUCER, self.producer),
            (REPLAY_OF, self.replay_of),
        )
        return [(name, value.encode()) for name, value in pairs if value is not None]

    @classmethod
    def from_headers(cls, headers: IncomingHeaders, *, fallback_id: str) -> Envelope:
        """Read a record's headers, whoever wrote them.  Never raises.

        ``fallback_id`` names the record, such as ``topic/partition/offset``: where the producer gave no event id,
        one is derived from it, so that even a foreign record has the same id each time that it is read.
        """
        values = _as_text(headers)
        event_id = values.get(EVENT_ID) or _uuid("record", fallback_id)
        correlation_id = values.get(CORRELATION_ID) or event_id
        return cls(
            event_id=event_id,
            correlation_id=correlation_id,
            event_type=values.get(EVENT_TYPE, ""),
            producer=values.get(PRODUCER, ""),
            traceparent=_valid_or_new(values.get(TRACEPARENT), correlation_id, event_id),
            causation_id=values.get(CAUSATION_ID),
            replay_of=values.get(REPLAY_OF),
        )


def correlation_of(event: Event) -> str:
    """What the event is about: its request's id, or the worker's or dispatcher's id for a report."""
    match event:
        case WorkerReported():
            return event.worker_id
        case BacklogReported():
            return event.dispatcher_id
        case RequestModerated() | JobRecorded():
            return event.request.request_id
        case _:
            return event.request_id


def occasion(event: Event) -> str:
    """What tells this event apart from others of its type about the same thing.

    Made of what the event says, never of when it was said: a repetition says the same later.
    """
    parts: tuple[object, ...]
    match event:
        case GenerationRequested() | RequestModerated() | RequestDelivered() | CancellationRequested():
            parts = ()
        case JobDispatched():
            parts = (event.dispatch_id,)
        case JobCompleted():
            parts = (event.dispatch_id, event.attempt, event.outcome, event.final)
        case JobProgressed():
            parts = (event.attempt, event.phase, event.percent, event.queue_place, event.eta_seconds)
        case WorkerReported():
            parts = (event.incarnation, event.sequence)
        case JobRecorded():
            parts = (
                event.state,
                event.attempt,
                event.dispatch_id,
                len(event.failed_workers),
                event.cancelled,
            )
        case BacklogReported():
            parts = (event.queued, event.workers, event.idle, event.oldest_wait_seconds)
    if part := getattr(event, "part", 0):
        parts = (*parts, f"part {part}")
    return "/".join(str(part) for part in (correlation_of(event), *parts))


def next_traceparent(incoming: str | None, *, trace_seed: str, span_seed: str) -> str:
    """A span of the incoming trace, or of a new trace where that is absent or malformed.

    Same trace id and flags, new span id, version 00 (W3C Trace Context, 3.2).  The ids of new traces and spans follow
    from the seeds, so that handling an event again adds no second span to its trace.
    """
    span = uuid.uuid5(_NAMESPACE, f"span\n{span_seed}").hex[:16]
    match = _TRACEPARENT.fullmatch(incoming or "")
    if match is None or not _is_valid(*match.groups()):
        return f"00-{uuid.uuid5(_NAMESPACE, f'trace{chr(10)}{trace_seed}').hex}-{span}-01"
    return f"00-{match[2]}-{span}-{match[4]}"


def _uuid(*parts: str) -> str:
    """A UUID that follows from its parts."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(parts)))


def _is_valid(version: str, trace_id: str, span_id: str, flags: str, rest: str | None) -> bool:
    """Whether a traceparent of the right shape is also valid: version 00 has four fields, ids are not all zeros."""
    return (
        version != "ff"
        and not (version == "00" and rest)
        and int(trace_id, 16) != 0
        and int(span_id, 16) != 0
    )


def _valid_or_new(incoming: str | None, correlation_id: str, event_id: str) -> str:
    """The traceparent as it came, or that of a new trace."""
    match = _TRACEPARENT.fullmatch(incoming or "")
    if incoming is not None and match is not None and _is_valid(*match.groups()):
        return incoming
    return next_traceparent(None, trace_seed=correlation_id, span_seed=event_id)


def _as_text(headers: IncomingHeaders) -> dict[str, str]:
    """The headers that are text; the last of a repeated one counts, as Faust's dict has it."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    texts: dict[str, str] = {}
    for name, value in pairs:
        text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
        if text:
            texts[name] = text
    return texts
