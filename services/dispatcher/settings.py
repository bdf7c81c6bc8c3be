"""The dispatcher's settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.chassis.settings import StageSettings
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

    def policy(self) -> Policy:
        """The thresholds as the core wants them."""
        return Policy(
            report_period=self.worker_report_seconds,
            attempts=self.job_attempts,
            job_deadline=self.job_deadline_seconds,
            finished_kept=self.finished_kept_seconds,
        )
