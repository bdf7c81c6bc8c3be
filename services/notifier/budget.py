"""A limit to the bytes that several tasks hold at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """At most ``limit`` bytes are held at once; who asks first is served first, so a large one is never starved."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def hold(self, wanted: int) -> AsyncIterator[None]:
        """Wait until ``wanted`` bytes are free and hold them; more than the limit means all of it."""
        wanted = min(wanted, self._limit)
        async with self._turn:
            while self._held + wanted > self._limit:
                self._freed.clear()
                await self._freed.wait()
            self._held += wanted
        try:
            yield
        finally:
            self._held -= wanted
            self._freed.set()
