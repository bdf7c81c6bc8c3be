"""The dispatcher's settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.chassis.settings import SettingsError, StageSettings
from services.dispatcher.policy import Policy


class DispatcherSettings(StageSettings, frozen=True, kw_only=True):
    """Thresholds that an operator may move; what they mean stands in `Policy`."""

    worker_report_seconds: Annotated[
        float,
        Meta(description="How often workers report; three missed reports make a worker lost.", gt=0, le=60),
    ] = 2.0
    job_attempts: Annotated[int, Meta(description="Dispatches of one request at most.", ge=1, le=20)] = 3
    job_deadline_seconds: Annotated[
        float, Meta(description="A worker gives one attempt up after so long.", gt=0, le=3600)
    ] = 360.0
    finished_kept_seconds: Annotated[
        float, Meta(description="How long the ledger keeps a finished request.", ge=60, le=86400)
    ] = 900.0

    queued_requests_per_user: Annotated[
        int, Meta(description="Requests of one user that may wait; the next is refused.", ge=1)
    ] = 30
    plan_tiers: Annotated[
        str,
        Meta(
            description="Plans and their tiers, such as ``priority=0,free=1``: 0 is served first; a plan that is not "
            "named is in the last.  Empty = all are equal.",
        ),
    ] = ""
    tier_ageing_seconds: Annotated[
        float, Meta(description="A request rises by a tier after waiting so long.", gt=0)
    ] = 120.0
    affinity_patience_seconds: Annotated[
        float,
        Meta(
            description="So long others may pass a request that waits for its checkpoint to be in memory.",
            ge=0,
        ),
    ] = 10.0
    checkpoint_load_seconds: Annotated[
        float, Meta(description="What loading a checkpoint is thought to take.", ge=0)
    ] = 20.0
    split_seconds: Annotated[
        float,
        Meta(
            description="Images of a request are drawn by several idle workers if a run takes so long.", ge=0
        ),
    ] = 4.0

    def policy(self) -> Policy:
        """The thresholds as the core wants them.

        Raises:
            SettingsError: ``plan_tiers`` is not ``name=number`` with commas between.
        """
        return Policy(
            report_period=self.worker_report_seconds,
            attempts=self.job_attempts,
            job_deadline=self.job_deadline_seconds,
            finished_kept=self.finished_kept_seconds,
            queued_per_user=self.queued_requests_per_user,
            tiers=tiers_of(self.plan_tiers),
            ageing=self.tier_ageing_seconds,
            patience=self.affinity_patience_seconds,
            load_seconds=self.checkpoint_load_seconds,
            split_seconds=self.split_seconds,
        )


def tiers_of(text: str) -> dict[str, int]:
    """``priority=0,free=1`` as a mapping.

    Raises:
        SettingsError: it is written otherwise.
    """
    tiers: dict[str, int] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        plan, _, tier = pair.partition("=")
        if not plan.strip() or not tier.strip().isdigit():
            raise SettingsError(
                f"PLAN_TIERS has {pair!r}, where a plan and its tier are expected, such as priority=0; "
                "the dispatcher does not start."
            )
        tiers[plan.strip()] = int(tier)
    return tiers
