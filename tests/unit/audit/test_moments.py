"""Instants as operators write them, and those inside Discord's ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.audit.moments import parse_duration, parse_since, show_instant, show_seconds, snowflake_instant

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_snowflake_tells_when_it_was_made() -> None:
    """The example of Discord's API reference, "Snowflakes"."""
    assert snowflake_instant("175928847299117063") == datetime(2016, 4, 30, 11, 18, 25, 796000, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "abc", "12345", "1.5", "-175928847299117063", "9" * 20, "٣" * 18])
def test_another_id_tells_no_time(text: str) -> None:
    """Too short, too long for 64 bits, or no digits: not a guess but none."""
    assert snowflake_instant(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2.5h", 9000), ("7d", 604_800), (" 10M ", 600)],
)
def test_durations_are_written_as_people_do(text: str, seconds: float) -> None:
    """Numbers with units, also several."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["10", "10 parsecs", "m", "", "-5m", "1e9d", "99999999d"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    """The message quotes it and shows how to write one."""
    with pytest.raises(ValueError, match=r"10m, 1h30m or 7d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("2026-03-01T11:00:00Z", NOW - timedelta(hours=1)),
        ("2026-03-01T11:00", NOW - timedelta(hours=1)),
        ("2026-03-01T13:00+02:00", NOW - timedelta(hours=1)),
        ("2026-03-01", NOW - timedelta(hours=12)),
    ],
)
def test_since_takes_an_age_or_an_instant(text: str, expected: datetime) -> None:
    """Without a zone an instant is UTC."""
    assert parse_since(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "says"), [("yesterday", "is not a time"), ("2026-03-02", "lies in the future")]
)
def test_what_is_no_time_before_now_is_refused(text: str, says: str) -> None:
    """One sentence says which of the two it is."""
    with pytest.raises(ValueError, match=says):
        parse_since(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0124, "12 ms"),
        (3.456, "3.46 s"),
        (12.3, "12.3 s"),
        (312, "5 min 12 s"),
        (7500, "2 h 05 min"),
        (-0.1, "-100 ms"),
    ],
)
def test_seconds_are_shown_in_the_unit_that_reads_best(seconds: float, shown: str) -> None:
    """From milliseconds to hours."""
    assert show_seconds(seconds) == shown


def test_instants_are_shown_in_utc_to_the_millisecond() -> None:
    """One form everywhere, that sorts and that JSON readers know."""
    assert show_instant(NOW + timedelta(milliseconds=7)) == "2026-03-01T12:00:00.007Z"
