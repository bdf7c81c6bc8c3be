"""What is being answered now, so that a stop can wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis.logs import get_logger

log = get_logger()


class InHand:
    """Counts interactions between their arrival and their answer; used from one event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.closing = False  #: nothing new is taken

    @contextmanager
    def one(self) -> Iterator[None]:
        """One interaction, until its end."""
        self.count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.count -= 1
            if self.count == 0:
                self._idle.set()

    async def close(self, deadline_seconds: float) -> None:
        """Take nothing new, and wait for what is in hand, up to the deadline."""
        self.closing = True
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.error("commands_abandoned", commands=self.count, after_seconds=deadline_seconds)
