"""Until when a process may believe that its partitions are its own.

A member whose heartbeats are not answered loses its session without hearing of it: it was frozen, or its
connection's far end is gone.  What it holds in its buffers then belongs to another process, and to handle it with
the state of a minute ago would decide it a second time, and otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Lease:
    """Renewed by every acknowledged heartbeat, from any thread; waited for in the event loop that it is made in.

    Args:
        seconds: the session timeout; counted from before the heartbeat was sent, so that it ends here first.
        monotonic: a clock that goes on while the process is frozen.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._until: float | None = None
        self._renewed = asyncio.Event()

    def renew(self, asked_at: float) -> None:
        """The group's coordinator acknowledged what was asked at ``asked_at`` by the monotonic clock."""
        self._until = max(self._until or asked_at, asked_at + self._seconds)
        self._loop.call_soon_threadsafe(self._renewed.set)

    def is_held(self) -> bool:
        """Whether no other process can have the partitions."""
        return self._until is not None and self._monotonic() < self._until

    def has_ended(self) -> bool:
        """Whether it was held once and is no more."""
        return self._until is not None and not self.is_held()

    async def held(self) -> None:
        """Return once it is held."""
        while not self.is_held():
            self._renewed.clear()
            await self._renewed.wait()
