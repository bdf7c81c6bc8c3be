"""Time as Avro keeps it: aware, in UTC, in whole milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.clock import from_millis, system_clock


@pytest.mark.parametrize(
    ("millis", "instant"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1, datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)),
        (1_767_225_599_999, datetime(2025, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
    ],
)
def test_milliseconds_become_the_exact_instant(millis: int, instant: datetime) -> None:
    """No float rounds the last digit."""
    assert from_millis(millis) == instant


def test_the_system_clock_tells_this_moment_in_utc() -> None:
    """It is aware, so that it compares with what is read from Kafka."""
    before = datetime.fromtimestamp(system_clock().timestamp(), UTC)
    now = system_clock()
    assert now.tzinfo is UTC
    assert timedelta(0) <= now - before < timedelta(seconds=5)


def test_the_system_clock_has_whole_milliseconds() -> None:
    """What is sent equals what is read back, since Avro keeps no more."""
    assert {system_clock().microsecond % 1000 for _ in range(2000)} == {0}
