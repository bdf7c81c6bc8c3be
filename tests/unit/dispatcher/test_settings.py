"""What an operator may set, and what a mistake is answered with."""

from __future__ import annotations

import pytest

from services.chassis.settings import SettingsError
from services.dispatcher.settings import DispatcherSettings, tiers_of


def test_plans_and_their_tiers_are_read_from_one_line() -> None:
    """Spaces are nobody's fault."""
    assert tiers_of("priority=0, free = 1") == {"priority": 0, "free": 1}
    assert tiers_of("") == {}


@pytest.mark.parametrize("text", ["priority", "priority=first", "=1", "priority=-1"])
def test_a_malformed_tier_is_named(text: str) -> None:
    """A tier that was silently dropped would be somebody's money."""
    with pytest.raises(SettingsError, match="PLAN_TIERS"):
        tiers_of(text)


def test_the_policy_holds_what_was_set() -> None:
    """Each threshold reaches the core."""
    settings = DispatcherSettings(
        queued_requests_per_user=5,
        plan_tiers="gold=0,free=1",
        tier_ageing_seconds=7,
        affinity_patience_seconds=3,
        checkpoint_load_seconds=9,
        split_seconds=2,
        job_deadline_seconds=50,
    )
    policy = settings.policy()
    assert (policy.queued_per_user, policy.tier_of("gold"), policy.ageing) == (5, 0, 7)
    assert (policy.patience, policy.load_seconds, policy.split_seconds, policy.job_deadline) == (3, 9, 2, 50)
