"""The moderator's settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.chassis.settings import StageSettings


class ModeratorSettings(StageSettings, frozen=True, kw_only=True):
    """Which policy applies."""

    policy_file: Annotated[
        str, Meta(description="YAML file with rules, bans and quotas; empty = the one that ships.")
    ] = ""
    daily_quota: Annotated[
        int,
        Meta(
            description="Requests per user and UTC day on every plan, in place of the policy's; "
            "0 = no limit, -1 = as the policy says.",
            ge=-1,
        ),
    ] = -1
