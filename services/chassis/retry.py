"""Whether and when to try again: a pure decision of an error and the attempts made."""

from __future__ import annotations

from dataclasses import dataclass


class RetryLater(Exception):
    """A stage cannot handle a record now but expects to later; the offset stays until it can.

    ``after_seconds`` is the least wait; there is no limit of attempts, so raise it only for what heals or
    changes by itself (a broker, an object store, Discord's outage).
    """

    def __init__(self, why: str, after_seconds: float = 1.0) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class SendFailed(RetryLater):
    """The brokers did not acknowledge a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often an unclassified error is tried again, and how the wait grows."""

    attempts: int = 3  #: then the record becomes a dead letter
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 10.0


def wait_before_retry(error: Exception, attempt: int, policy: RetryPolicy) -> float | None:
    """Seconds to wait before the next try after the ``attempt``-th failed; none = give up.  Pure."""
    backoff = min(policy.first_wait_seconds * 2.0 ** min(attempt - 1, 30), policy.longest_wait_seconds)
    if isinstance(error, RetryLater):
        return max(error.after_seconds, backoff) if attempt > 1 else error.after_seconds
    return backoff if attempt < policy.attempts else None
