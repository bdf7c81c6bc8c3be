"""Traffic made up after GenTD26's statistics, so that the simulation runs anywhere.  Pure: the seed decides all.

Users come in sessions; in one they mostly stay with a checkpoint (as 71 % of GenTD26's requests stay with their
user's last).  Checkpoints are Zipf-distributed with 70 % on the first five, run times log-normal with
p50 23 s and p99 106 s, users' activity heavy-tailed (the busiest 1 % make about a quarter), sessions crowd into
busy hours.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from tests.simulate.trace import Request, Trace, a_trace, log_normal

REQUESTS = 13_000  #: in the record's first half, about
RUN_P50, RUN_P99 = 23.0, 106.0  #: seconds on a warm GPU
CHECKPOINTS, TOP_FIVE = 86, 0.70  #: how many there are, and the share of the first five
REQUESTS_PER_USER = 2  #: of all users there are; many ask for nothing
_STAYS = 0.75  #: of a user's requests, how many want the checkpoint of the one before
_SESSION_GOES_ON = 0.7  #: after each request
_GAP_P50, _GAP_P99 = 45.0, 900.0  #: seconds between two requests of a session
_DAYS = 14  #: the length of the record, before `compressed`
_DAYS_DIFFER, _HOURS_DIFFER = 1.8, 0.8  #: spread of their popularity, in standard deviations of its logarithm
_ACTIVITY = 1.0  #: Pareto exponent of users' activity


def generate(seed: int, requests: int = REQUESTS) -> Trace:
    """A trace of so many requests."""
    chance = random.Random(seed)  # noqa: S311 - made-up traffic, repeatable by its seed
    return a_trace(itertools.islice(_all_sessions(chance, requests), requests), seed)


def zipf_weights(count: int, first_five: float) -> list[float]:
    """Weights of rank 1..count that fall with a power of the rank, the first five making this share."""
    low, high = 0.0, 5.0
    for _ in range(60):
        power = (low + high) / 2
        weights = [rank**-power for rank in range(1, count + 1)]
        low, high = (power, high) if sum(weights[:5]) < first_five * sum(weights) else (low, power)
    return weights


def _all_sessions(chance: random.Random, requests: int) -> Iterator[Request]:
    users = [f"user{n}" for n in range(max(1, requests // REQUESTS_PER_USER))]
    activity = list(itertools.accumulate(chance.paretovariate(_ACTIVITY) for _ in users))
    popularity = list(itertools.accumulate(zipf_weights(CHECKPOINTS, TOP_FIVE)))
    days = [chance.lognormvariate(0, _DAYS_DIFFER) for _ in range(_DAYS)]
    crowds = list(
        itertools.accumulate(day * chance.lognormvariate(0, _HOURS_DIFFER) for day in days for _ in range(24))
    )
    numbers = itertools.count()
    while True:
        [user] = chance.choices(users, cum_weights=activity)
        [hour] = chance.choices(range(_DAYS * 24), cum_weights=crowds)
        yield from _session(chance, user, (hour + chance.random()) * 3600, popularity, numbers)


def _session(
    chance: random.Random, user: str, at: float, popularity: list[float], numbers: Iterator[int]
) -> Iterator[Request]:
    checkpoint = ""
    goes_on = True
    while goes_on:
        if not checkpoint or chance.random() > _STAYS:
            [rank] = chance.choices(range(CHECKPOINTS), cum_weights=popularity)
            checkpoint = f"checkpoint{rank}"
        run = log_normal(chance, RUN_P50, RUN_P99)
        yield Request(id=f"r{next(numbers)}", user=user, at=at, run=run, checkpoint=checkpoint)
        at += log_normal(chance, _GAP_P50, _GAP_P99)
        goes_on = chance.random() < _SESSION_GOES_ON
