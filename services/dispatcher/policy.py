"""The dispatcher's thresholds as frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the dispatcher decides by; all times in seconds."""

    report_period: float = 2.0  #: how often a worker reports
    reports_missed: int = (
        3  #: a worker silent for so many periods is lost, and so is a job it does not report
    )
    attempts: int = 3  #: dispatches of one request, the first included
    job_deadline: float = 360.0  #: a worker gives an attempt up after so long
    deadline_grace: float = 30.0  #: past its deadline a job that is still reported is taken from the worker
    finished_kept: float = 900.0  #: how long a redelivered request is still known to be over

    @property
    def silence(self) -> float:
        """Silence after which a worker, or a job on it, counts as lost; and how long a dispatcher must have heard
        everything, after its start or an outage of the broker, before it calls anybody lost."""
        return self.report_period * self.reports_missed
