"""Waiting on a condition, never on a duration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_SECONDS = 0.02


def eventually(
    condition: Callable[[], T | None],
    deadline_seconds: float = 10.0,
    *,
    failing: Callable[[], str] = lambda: "",
) -> T:
    """Call ``condition`` until it returns something true, and return that.

    ``failing`` gives a hint for the failure's message, such as the tail of a log.

    Raises:
        AssertionError: the deadline passed first; it names the condition and its last result.
    """
    end = time.monotonic() + deadline_seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(_complaint(condition, deadline_seconds, result, failing()))
        time.sleep(_PAUSE_SECONDS)  # noqa: TID251 - the one place where tests pause between two looks
    return result


async def eventually_async(condition: Callable[[], T | None], deadline_seconds: float = 10.0) -> T:
    """`eventually` for a test that shares its event loop with what it waits for."""
    end = time.monotonic() + deadline_seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(_complaint(condition, deadline_seconds, result, ""))
        await asyncio.sleep(_PAUSE_SECONDS)
    return result


def _complaint(condition: Callable[[], object], seconds: float, result: object, hint: str) -> str:
    name = getattr(condition, "__name__", repr(condition))
    return f"{name} was still {result!r} after {seconds:g} s. {hint}".rstrip()
