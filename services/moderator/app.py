"""The moderator's composition root."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.chassis.stage import Stage, run_stage, settings_or_exit
from services.contracts.topics import DELIVERED, MODERATED, REQUESTS
from services.moderator.agents import Moderator
from services.moderator.policy import Policy, PolicyError, parse_policy
from services.moderator.settings import ModeratorSettings

DEFAULT_POLICY = Path(__file__).with_name("policies") / "default.yaml"


def load_policy(settings: ModeratorSettings) -> Policy:
    """Read the configured policy file, or the one that ships.

    Raises:
        PolicyError: it cannot be read or used.
    """
    path = Path(settings.policy_file).expanduser() if settings.policy_file else DEFAULT_POLICY
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"POLICY_FILE: {path} cannot be read ({error}).") from error
    policy = parse_policy(text, path.name)
    return policy if settings.daily_quota < 0 else _with_quota(policy, settings.daily_quota or None)


def compose(stage: Stage, settings: ModeratorSettings, *, policy: Policy) -> None:
    """Wire the moderator into its Faust app."""
    moderator = Moderator(stage.outbox, stage.metrics, stage.clock, policy)
    stage.consume((REQUESTS, DELIVERED), moderator.handle, give_up=moderator.give_up)
    for topic in (MODERATED, DELIVERED):
        stage.read_back(
            topic, apply=moderator.apply, forget=moderator.forget_partition, since=moderator.since
        )


def main() -> None:
    """Run the stage until it is told to stop."""
    settings = settings_or_exit("moderator", ModeratorSettings)
    try:
        policy = load_policy(settings)
    except PolicyError as error:
        sys.exit(f"moderator: {error}")
    run_stage("moderator", ModeratorSettings, partial(compose, policy=policy))


def _with_quota(policy: Policy, quota: int | None) -> Policy:
    # The version says it, so that whoever decides again by the events knows why they differ from the file.
    return replace(
        policy, default_quota=quota, quotas={}, version=f"{policy.version}+quota-{quota or 'none'}"
    )
