"""The headers of a dead letter: where the record came from, why, and after how many attempts."""

from __future__ import annotations

from datetime import datetime

from services.chassis.records import Record


def dead_letter_headers(
    record: Record, error: Exception, attempts: int, *, stage: str, now: datetime
) -> dict[str, bytes]:
    """The original headers and, under ``dlq-…``, what an operator needs to judge and replay it.  Pure."""
    ours = {
        "dlq-stage": stage,
        "dlq-topic": record.topic,
        "dlq-partition": str(record.partition),
        "dlq-offset": str(record.offset),
        "dlq-error-class": type(error).__name__,
        "dlq-error-message": str(error)[:500],
        "dlq-attempts": str(attempts),
        "dlq-failed-at": now.isoformat(),
    }
    return {**record.headers, **{name: text.encode() for name, text in ours.items()}}
