"""One open request's message: its progress edits, and the end of them.

A timer per message that is due, so that nothing polls and nothing waits while there is no news.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from services.contracts.events import JobProgressed
from services.notifier import decide
from services.notifier.decide import Receipt
from services.notifier.policy import Policy

#: Shows progress; returns for how many seconds to leave the message alone, if for more than the usual spacing.
Show = Callable[[JobProgressed], Awaitable[float]]


class Handle(Protocol):
    """A timer that was set."""

    def cancel(self) -> None:
        """Let it never fire; idempotent."""


class Timers(Protocol):
    """What of an event loop the conversations use; ``asyncio``'s is one."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Handle:
        """Call back once ``time()`` is ``when``."""


class Conversation:
    """Progress edits of one message: ``edit_spacing`` apart, the latest news only, none after `close`."""

    __slots__ = (
        "_closed", "_editing", "_expires_at", "_latest", "_next_edit", "_parts", "_policy", "_show", "_timer",
        "_timers", "receipt", "turn",
    )  # fmt: skip

    def __init__(self, show: Show, timers: Timers, policy: Policy, expires_at: datetime) -> None:
        self._show = show
        self._timers = timers
        self._policy = policy
        self._expires_at = expires_at
        self._latest: JobProgressed | None = None
        self._parts: dict[int, JobProgressed] = {}
        self._next_edit: float | None = None
        self._timer: Handle | None = None
        self._editing: asyncio.Task[None] | None = None
        self._closed = False
        #: One final event of the request at a time.
        self.turn = asyncio.Lock()
        #: What the user was told at last, while ``delivered`` is not written yet.
        self.receipt: Receipt | None = None

    def take(self, progress: JobProgressed, age: float) -> None:
        """Let news be shown when the message is due; ``age`` is the news's, in seconds.  Returns at once."""
        if self._closed or not decide.is_news(progress, self._parts.get(progress.part)):
            return
        self._parts[progress.part] = progress
        self._latest = decide.whole(self._parts, self._latest)
        self._set_timer(age)

    async def close(self) -> None:
        """No progress edit starts any more, and one that is under way is over when this returns."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._editing is not None:
            await asyncio.wait({self._editing})

    def is_over(self, now: datetime) -> bool:
        """Whether its token has expired and no end is being told: there is nothing left to keep."""
        return now > self._expires_at and not self.turn.locked() and self.receipt is None

    def _set_timer(self, age: float) -> None:
        if self._timer is not None or self._editing is not None or self._next_edit == math.inf:
            return
        now = self._timers.time()
        due = self._next_edit
        if due is None:
            due = now + decide.wait_before_first_edit(age, self._policy)
        self._timer = self._timers.call_at(max(now, due), self._start_edit)

    def _start_edit(self) -> None:
        self._timer = None
        self._editing = asyncio.create_task(self._edit())

    async def _edit(self) -> None:
        shown = self._latest
        assert shown is not None
        pause = 0.0
        try:
            pause = await self._show(shown)
        finally:
            self._editing = None
            self._next_edit = self._timers.time() + max(pause, self._policy.edit_spacing)
            if not self._closed and self._latest is not shown:
                self._set_timer(0.0)
