"""A `Record` of a confluent-kafka message."""

from __future__ import annotations

from confluent_kafka import Message

from services.chassis.clock import from_millis
from services.chassis.records import Record


def to_record(message: Message, prefix: str) -> Record:
    """What the codec and the dead letters need of ``message``."""
    headers = {
        name: value for name, value in dict(message.headers() or []).items() if isinstance(value, bytes)
    }
    return Record(
        topic=(message.topic() or "").removeprefix(prefix),
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key(),
        value=message.value(),
        headers=headers,
        appended_at=from_millis(max(0, message.timestamp()[1])),
    )
