"""Time as a port: cores take ``now`` as an argument, shells take a `Clock`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

#: Returns the present instant as an aware UTC datetime, cut to the milliseconds that Avro keeps.
Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The wall clock, in whole milliseconds, so that what is sent equals what is read back."""
    return from_millis(time.time_ns() // 1_000_000)


def from_millis(millis: int) -> datetime:
    """The instant ``millis`` milliseconds after 1970-01-01 UTC."""
    return datetime.fromtimestamp(millis // 1000, UTC).replace(microsecond=millis % 1000 * 1000)
