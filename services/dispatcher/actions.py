"""What the dispatcher can decide to do: the shell performs these, in the order in which they must become durable."""

from __future__ import annotations

from dataclasses import dataclass

from services.contracts.events import JobCompleted, JobDispatched, JobRecorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write this to the ledger, in the user's partition."""

    record: JobRecorded
    partition: int

    @property
    def request_id(self) -> str:
        """Whose state it is."""
        return self.record.request.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Send this to the lane; ``reason`` is why there is another attempt, ``first``, or ``moved`` lane."""

    event: JobDispatched
    lane: int
    reason: str

    @property
    def request_id(self) -> str:
        """Whose attempt it is."""
        return self.event.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """Tell everyone that the request is over."""

    event: JobCompleted

    @property
    def request_id(self) -> str:
        """Which one is over."""
        return self.event.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Delete the request, or a part of it, from the ledger."""

    key: str
    partition: int

    @property
    def request_id(self) -> str:
        """Whose record it is."""
        return self.key.partition("/")[0]


Action = Record | Dispatch | Complete | Forget
