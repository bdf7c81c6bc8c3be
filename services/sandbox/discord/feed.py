"""Who wants to hear of changes: the page over server-sent events, and whoever waits on a condition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

News = dict[str, Any]
#: A listener this far behind is let go: the page connects again and gets a fresh snapshot.
_MOST_WAITING = 20_000


class Feed:
    """Hands every change to every listener; used from one event loop."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[News | None]] = set()

    def tell(self, news: News) -> None:
        """Something changed."""
        for queue in tuple(self._listeners):
            if queue.qsize() >= _MOST_WAITING:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(news)

    def heard(self) -> bool:
        """Whether anybody listens, so that nobody describes changes to no one."""
        return bool(self._listeners)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[News | None]]:
        """A queue of everything that changes from now on; None ends it."""
        queue: asyncio.Queue[News | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """Let every listener go."""
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()
