"""When and whether to try again."""

from __future__ import annotations

import pytest

from services.chassis.retry import RetryLater, RetryPolicy, SendFailed, wait_before_retry

POLICY = RetryPolicy(attempts=3, first_wait_seconds=0.2, longest_wait_seconds=10.0)


@pytest.mark.parametrize(
    ("attempt", "wait"),
    [(1, 0.2), (2, 0.4), (3, None), (4, None)],
)
def test_an_unclassified_error_is_tried_three_times_with_growing_waits(
    attempt: int, wait: float | None
) -> None:
    """Then it is given up."""
    assert wait_before_retry(KeyError(), attempt, POLICY) == wait


@pytest.mark.parametrize(("attempt", "wait"), [(1, 1.0), (4, 1.6), (7, 10.0), (10_000, 10.0)])
def test_retry_later_is_never_given_up(attempt: int, wait: float) -> None:
    """The wait grows to its limit and stays there."""
    assert wait_before_retry(SendFailed("away"), attempt, POLICY) == pytest.approx(wait)


def test_the_wait_that_an_error_asks_for_is_kept() -> None:
    """Discord's Retry-After is not ours to shorten."""
    assert wait_before_retry(RetryLater("busy", after_seconds=30.0), 1, POLICY) == 30.0
    assert wait_before_retry(RetryLater("busy", after_seconds=30.0), 9, POLICY) == 30.0
