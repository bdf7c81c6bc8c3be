"""The requests that this process has sent lately: what ``/cancel`` can mean without naming one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.contracts.events import GenerationRequested, ReplyTo


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that was sent, as far as it takes to find its message."""

    request_id: str
    command_string: str
    reply_to: ReplyTo
    expires_at: datetime


class RecentRequests:
    """At most ``limit`` requests; the oldest are forgotten first, and each with its expiry."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._asked: dict[str, Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, request: GenerationRequested) -> None:
        """A request is on its topic."""
        self._asked[request.request_id] = Asked(
            request_id=request.request_id,
            command_string=request.command_string,
            reply_to=request.reply_to,
            expires_at=request.expires_at,
        )
        while len(self._asked) > self._limit:
            del self._asked[next(iter(self._asked))]

    def newest_first(self, user_id: str, now: datetime) -> list[Asked]:
        """A user's requests that have not expired."""
        self._forget_expired(now)
        return [asked for asked in reversed(self._asked.values()) if asked.reply_to.user_id == user_id]

    def forget(self, request_id: str) -> None:
        """It has ended, or is being taken back; idempotent."""
        self._asked.pop(request_id, None)

    def _forget_expired(self, now: datetime) -> None:
        # All live equally long, so the expired ones are the oldest.
        while self._asked and (oldest := next(iter(self._asked.values()))).expires_at <= now:
            del self._asked[oldest.request_id]
