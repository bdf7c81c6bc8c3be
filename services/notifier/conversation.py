"""One open request's message: its progress edits, and the end of them.

A timer per message that is due, so that nothing polls and nothing waits while there is no news.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from services.contracts.events import JobProgressed
from services.notifier import decide
from services.notifier.decide import Receipt
from services.notifier.doubt import Doubt
from services.notifier.policy import Policy


class Shown(NamedTuple):
    """What came of a progress edit."""

    answered: bool | None = None  #: False = it may still land; none = nothing was sent
    pause: float = 0.0  #: seconds to leave the message alone, if for more than the usual spacing


#: Shows progress.
Show = Callable[[JobProgressed], Awaitable[Shown]]


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
        "_timers", "doubt", "receipt", "repeats", "turn",
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
        #: About this message's progress edits.
        self.doubt = Doubt(timers.time, policy.settling)
        #: Whether the final edit was begun in doubt, so that it has to be repeated after it.
        self.repeats = False

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

    def renewed(self) -> Conversation:
        """The same message's conversation from the start, with what is still in doubt."""
        new = Conversation(self._show, self._timers, self._policy, self._expires_at)
        new.doubt = self.doubt
        return new

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
        result = Shown(answered=False)
        try:
            result = await self._show(shown)
        finally:
            self._editing = None
            self._note(result)
            self._next_edit = self._timers.time() + max(result.pause, self._policy.edit_spacing)
            if not self._closed and self._latest is not shown:
                self._set_timer(0.0)

    def _note(self, result: Shown) -> None:
        if result.answered is not None:
            self.doubt.answered() if result.answered else self.doubt.unanswered()
