"""One record as the audit tools see it: what lies on the topic, and what could be read out of it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.contracts.codec import Codec
from services.contracts.envelope import CORRELATION_ID, EVENT_ID, Envelope, correlation_of
from services.contracts.errors import UndecodableRecord
from services.contracts.events import BacklogReported, Event, WorkerReported
from services.contracts.keys import key_of
from services.contracts.topics import BACKLOGS, DEAD_LETTERS, TOPIC_NAMES, WORKERS, topic

#: Topics about no request, and what they hold.
REPORTS = {WORKERS: "reports of workers", BACKLOGS: "reports of dispatchers"}
BURIAL_PREFIX = "dlq-"  #: of the headers that a dead letter has beside those of the original

HeaderPairs = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A record, undecoded; ``topic`` is without the installation's prefix, headers are in their order."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: HeaderPairs
    appended_at: datetime

    @property
    def place(self) -> str:
        """``topic/partition/offset``, as the header ``replay-of`` has it."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def header(self, name: str) -> str | None:
        """The last header of that name as text, or none."""
        values = [value for header, value in self.headers if header == name and value is not None]
        return values[-1].decode("utf-8", errors="replace") if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Burial:
    """What the headers of a dead letter say of its original; an absent or odd one is none."""

    stage: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    error_class: str | None
    error_message: str | None
    attempts: int | None

    @property
    def place(self) -> str:
        """Where the original lay, as far as it is known."""
        parts = (self.topic, self.partition, self.offset)
        return "/".join("?" if part is None else str(part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A record that has been looked at: its event, or why it has none."""

    raw: Raw
    event: Event | None  #: none for a tombstone and for what cannot be decoded
    envelope: Envelope
    problem: UndecodableRecord | None = None
    burial: Burial | None = None  #: only of a dead letter

    @property
    def is_tombstone(self) -> bool:
        """Whether the record deletes its key."""
        return self.raw.value is None

    @property
    def request_id(self) -> str | None:
        """The request that the record is about; none for a report and for what does not say."""
        if self.event is not None:
            return None if self.raw.topic in REPORTS else correlation_of(self.event)
        if self.is_tombstone and self.raw.topic not in REPORTS and self.raw.key is not None:
            return self.raw.key.decode("utf-8", errors="replace").partition("/")[0]  # a part's key names it
        return self.raw.header(CORRELATION_ID)

    @property
    def user_id(self) -> str | None:
        """The user whom the record is about, or none where it does not say."""
        return None if self.event is None else user_of(self.event)

    @property
    def copy_of(self) -> str | None:
        """What is equal for the copies of one event; none where the producer gave no id."""
        return self.raw.header(EVENT_ID)


def observe(raw: Raw, codec: Codec) -> Observation:
    """Decode a record as far as it can be; bytes that are no event become a ``problem``, never an error.

    Raises:
        SchemaRegistryError: a registry is configured and away.
    """
    burial = burial_of(raw) if raw.topic == DEAD_LETTERS else None
    envelope = Envelope.from_headers(raw.headers, fallback_id=raw.place)
    event: Event | None = None
    problem: UndecodableRecord | None = None
    if raw.value is not None:
        try:
            event = codec.decode(raw.value, _expected(raw.topic if burial is None else burial.topic))
        except UndecodableRecord as error:
            problem = error
    return Observation(raw=raw, event=event, envelope=envelope, problem=problem, burial=burial)


def burial_of(raw: Raw) -> Burial:
    """What a dead letter's headers say."""
    return Burial(
        stage=raw.header("dlq-stage"),
        topic=raw.header("dlq-topic"),
        partition=_number(raw.header("dlq-partition")),
        offset=_number(raw.header("dlq-offset")),
        error_class=raw.header("dlq-error-class"),
        error_message=raw.header("dlq-error-message"),
        attempts=_number(raw.header("dlq-attempts")),
    )


def about_request(raw: Raw, request_id: str, codec: Codec) -> Observation | None:
    """The record looked at, if it is about this request.

    Decodes only what says so by header or key, or says nothing: a scan passes millions of others.
    """
    correlation = raw.header(CORRELATION_ID)
    is_keyed = raw.key is not None and raw.key.partition(b"/")[0] == request_id.encode()
    if correlation == request_id or is_keyed:
        return observe(raw, codec)
    if correlation is not None or raw.value is None:
        return None
    seen = observe(raw, codec)
    return seen if seen.request_id == request_id else None


def user_of(event: Event) -> str | None:
    """The user of an event; none for a report."""
    if isinstance(event, WorkerReported | BacklogReported):
        return None
    reply_to = getattr(getattr(event, "request", event), "reply_to", None)
    return reply_to.user_id if reply_to is not None else key_of(event)


def _expected(name: str | None) -> type[Event] | None:
    """The event that a topic carries; none for ``dead-letters`` and topics that are not ours."""
    return topic(name).event if name in TOPIC_NAMES else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
