"""What ``make chaos`` can be told."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class ChaosSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Read from the environment."""

    seed: Annotated[int, Meta(description="Gives the same faults, commands and users again.", ge=0)] = 1
    requests: Annotated[int, Meta(description="Commands sent.", ge=10, le=1_000_000)] = 10_000
    users: Annotated[int, Meta(description="By how many users.", ge=1, le=100_000)] = 200
    minutes: Annotated[
        float, Meta(description="For so long commands come and faults strike; then all recovers.", ge=0.5)
    ] = 10.0
    fault_spacing_seconds: Annotated[
        float, Meta(description="Between the begins of two faults, on average.", gt=0)
    ] = 4.0
    thorough: Annotated[
        bool, Meta(description="Every stage gets every fault; false = every kind strikes once at least.")
    ] = True
    quiet_seconds: Annotated[
        float,
        Meta(
            description="Without any request ending for so long, the rest counts as lost; a stage may wait 90 s for "
            "an answer of a Discord that has gone without a word.",
            ge=5,
        ),
    ] = 100.0

    @property
    def seconds(self) -> float:
        """How long commands come and faults strike."""
        return self.minutes * 60

    @property
    def quota(self) -> int:
        """Requests per user and day: as many as a user sends on average, so that some are refused."""
        return -(-self.requests // self.users)

    @property
    def job_seconds(self) -> float:
        """How long a ComfyUI takes for a job: three are then busy for two thirds, and every fault makes a backlog."""
        return round(max(0.002, 2.0 * self.seconds / self.requests - 0.03), 3)


#: For CI: about two minutes in all.
SHORT = ChaosSettings(requests=500, users=25, minutes=1.1, thorough=False, quiet_seconds=100.0)
