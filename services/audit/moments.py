"""Instants as operators write them, and those inside Discord's ids.  Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DISCORD_EPOCH_MS = 1_420_070_400_000  #: 2015-01-01, from which snowflakes count (Discord API reference)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_LONGEST = timedelta(days=36_500)


def snowflake_instant(snowflake: str) -> datetime | None:
    """When Discord made the id, in milliseconds; none where it is no snowflake (17 to 20 digits).

    The upper 42 of 64 bits are milliseconds since Discord's epoch.
    """
    if not re.fullmatch(r"[0-9]{17,20}", snowflake) or int(snowflake) >= 1 << 64:
        return None
    millis = (int(snowflake) >> 22) + DISCORD_EPOCH_MS
    return datetime.fromtimestamp(millis // 1000, UTC) + timedelta(milliseconds=millis % 1000)


def parse_duration(text: str) -> timedelta:
    """``90s``, ``10m``, ``1h30m``, ``2.5h`` or ``7d``.

    Raises:
        ValueError: it is none of these, or longer than a century.
    """
    if not _DURATION.fullmatch(text.strip().lower()):
        raise ValueError(f"{text!r} is not a duration; write it as 90s, 10m, 1h30m or 7d.")
    parts = _PART.findall(text.strip().lower())
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise ValueError(
            f"{text!r} is longer than a century; write a duration such as 90s, 10m, 1h30m or 7d."
        )
    return timedelta(seconds=seconds)


def parse_since(text: str, now: datetime) -> datetime:
    """An age before ``now`` (``10m``) or an instant in ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is neither, or lies in the future.
    """
    if _DURATION.fullmatch(text.strip().lower()):
        return now - parse_duration(text)
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time; write an age such as 90s, 10m or 2h, or an instant such as "
            "2026-03-01T12:00:00Z."
        ) from None
    instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    if instant > now:
        raise ValueError(f"{text!r} lies in the future; without a zone a time is UTC.")
    return instant


def show_instant(instant: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_seconds(seconds: float) -> str:
    """``12 ms``, ``3.45 s``, ``5 min 12 s`` or ``2 h 05 min``."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < 60:
        return f"{seconds:.2f} s" if abs(seconds) < 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    if abs(whole) < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
