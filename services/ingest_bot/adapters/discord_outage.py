"""Waits out an outage of Discord at the start: discord.py logs in once, and gives up."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp

from services.chassis.health import Health
from services.chassis.logs import get_logger
from services.chassis.retry import RetryLater, RetryPolicy, wait_before_retry

log = get_logger()
ANSWER_SECONDS = 10.0


async def discord_answers(api: str, health: Health, closing: asyncio.Event) -> bool:
    """Wait until Discord's API answers; false when told to close first."""
    attempt = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        while not closing.is_set():
            why = await _obstacle(session, api)
            if why is None:
                return True
            attempt += 1
            health.not_ready(f"Discord does not answer at {api} ({why}); trying again")
            log.warning("discord_awaited", at=api, why=why)
            with suppress(TimeoutError):
                wait = wait_before_retry(RetryLater(why, 0.2), attempt, RetryPolicy())
                await asyncio.wait_for(closing.wait(), wait)
    return False


async def _obstacle(session: aiohttp.ClientSession, api: str) -> str | None:
    try:
        async with session.get(f"{api}/gateway") as answer:
            return f"status {answer.status}" if answer.status >= 500 else None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return type(error).__name__
