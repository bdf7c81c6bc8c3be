"""The dispatcher's thresholds as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the dispatcher decides by; all times in seconds."""

    report_period: float = 2.0  #: how often a worker reports
    #: A worker silent for so many periods is lost, and so is a job that it does not report.
    reports_missed: int = 3
    attempts: int = 3  #: dispatches of one request, the first included
    job_deadline: float = 360.0  #: a worker gives an attempt up after so long at most
    least_deadline: float = 120.0  #: and not before, however short its kind's runs were
    deadline_factor: float = 6.0  #: between the two, so many times as long as its kind's runs
    deadline_grace: float = 30.0  #: past its deadline a job that is still reported is taken from the worker
    finished_kept: float = 900.0  #: how long a redelivered request is still known to be over
    queued_per_user: int = 30  #: requests of one user that may wait
    #: Plan -> tier; 0 is first.
    tiers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    ageing: float = 120.0  #: a job rises by a tier after waiting so long
    patience: float = 10.0  #: how long a job is passed over for a worker that has its checkpoint in memory
    patience_share: float = 1.0  #: or this share of its wait before, where that is longer
    #: Of the workers, how many may load at a time so that others wait for what they had.
    loading_share: float = 0.03
    spread_share: float = 0.25  #: a user with so many of the workers waits for a warm one although one idles
    hold_seconds: float = 3.0  #: a job is held behind another only when that should end so soon
    load_seconds: float = 20.0  #: what loading a checkpoint is thought to take
    split_seconds: float = 4.0  #: a shorter run is not worth drawing in parts
    incapable_grace: float = 60.0  #: a queued request waits so long for its last capable worker to come back

    @property
    def silence(self) -> float:
        """Silence after which a worker, or a job on it, counts as lost.

        So long a dispatcher must also have heard everything, after its start or an outage of the broker, before it
        calls anybody lost.
        """
        return self.report_period * self.reports_missed

    @property
    def forgotten(self) -> float:
        """Silence after which a worker is not remembered at all."""
        return 10 * self.silence

    def tier_of(self, plan: str) -> int:
        """The plan's tier; a plan that is not named is in the last."""
        return self.tiers.get(plan, max(self.tiers.values(), default=0))
