"""A record as a stage sees it: what Kafka delivered, and what was read out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from services.contracts.envelope import Envelope
from services.contracts.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One Kafka record, undecoded; ``topic`` is without the installation's prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]
    appended_at: datetime  #: by the broker's clock where the topic says LogAppendTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A decoded record; ``event`` is none for a tombstone."""

    event: Event | None
    envelope: Envelope
    record: Record
