"""Which dispatcher a worker attaches itself to: where it is needed most.  Pure.

A dispatcher gives jobs only to workers that report in a partition of ``workers`` that it owns, and announces on
``backlogs`` what waits at it.  Each worker decides for itself, at each announcement, whether to follow it: nobody
coordinates them, so where many could, each does with the probability by which about as many do as are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.contracts.events import BacklogReported

#: An announcement counts for three of its periods; a dispatcher that is silent for longer has died or is stopped.
FRESH_SECONDS = 3.0
#: Between two moves: long enough for the dispatcher that was joined to announce what is left.
MOVE_SECONDS = 2.0
#: A worker that has nothing to do, and is given nothing for so long, is not needed here, whatever waits.
PATIENCE_SECONDS = 3.0
#: How much higher another dispatcher's pressure must be; below it moves would only follow the noise.
CLEARLY = 2.0
#: A request that has waited for longer than this brings its dispatcher a visit of one worker a second, however
#: high the pressure elsewhere: a backlog of thousands would outweigh it for ever.
AGED_SECONDS = 30.0
_LEAST_WAIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What of the worker itself counts."""

    checkpoints: Collection[str]  #: that it can load; none where it lists none, and then it takes any
    offers: bool  #: whether it takes jobs at all
    idle: bool  #: whether it has nothing to do
    taken: int  #: how many jobs it has taken since it started


class Attachment:
    """One worker's place, and what it has heard; ``now`` is any clock's seconds."""

    def __init__(self, here: int, now: float, *, session_seconds: float) -> None:
        """
        Args:
            here: the partition of ``workers`` that it reports in.
            session_seconds: how long the partitions of a dispatcher that died stay without another.
        """
        self.here = here
        self._session = session_seconds
        self._heard: dict[str, tuple[BacklogReported, float]] = {}
        self._moved_at = now - MOVE_SECONDS
        self._owned_at = now  # when a dispatcher last announced ``here`` as its own
        self._idle_since = now
        self._taken = self._taken_before = 0  # jobs, by now and when it came here

    def heard(self, news: BacklogReported, me: Situation, now: float, draw: float) -> bool:
        """Take an announcement in; whether the worker moves.

        Args:
            draw: uniform in [0, 1).
        """
        self._heard[news.dispatcher_id] = news, now
        self._heard = {i: (b, at) for i, (b, at) in self._heard.items() if now - at < FRESH_SECONDS}
        if not me.idle or me.taken != self._taken:
            self._idle_since, self._taken = now, me.taken
        there = self._decide(news, me, now, draw)
        if there == self.here:
            return False
        self.here, self._moved_at, self._owned_at, self._idle_since = there, now, now, now
        self._taken_before = me.taken
        return True

    def _decide(self, news: BacklogReported, me: Situation, now: float, draw: float) -> int:
        backlogs = [backlog for backlog, _ in sorted(self._heard.values(), key=lambda heard: heard[1])]
        home = owner(self.here, backlogs)
        if home is None:
            orphaned = now - self._owned_at >= self._session
            return adopt(backlogs, draw) if orphaned and news.partitions else self.here
        self._owned_at = now
        if home is news or not news.partitions or not me.offers or now - self._moved_at < MOVE_SECONDS:
            return self.here
        unneeded = me.idle and now - self._idle_since >= PATIENCE_SECONDS
        own = 0 if unneeded else demand(home, me.checkpoints)
        if own and self._taken == self._taken_before:
            return self.here  # it came for work that is still there
        chance = chance_to_move(home, news, backlogs, me, own)
        return _one_of(news.partitions, draw / chance) if draw < chance else self.here


def owner(partition: int, backlogs: Sequence[BacklogReported]) -> BacklogReported | None:
    """Who announced the partition as its own last; ``backlogs`` are in the order in which they were heard."""
    return next((b for b in reversed(backlogs) if partition in b.partitions), None)


def adopt(backlogs: Sequence[BacklogReported], draw: float) -> int:
    """A partition for a worker whose own nobody owns, at any dispatcher that owns one."""
    owning = [backlog for backlog in backlogs if backlog.partitions]
    place = draw * len(owning)
    return _one_of(owning[int(place)].partitions, place % 1)


def demand(backlog: BacklogReported, checkpoints: Collection[str]) -> int:
    """How many of its waiting requests a worker with these checkpoints can run, its LoRAs left aside."""
    if not checkpoints:
        return max(0, backlog.queued)
    waiting = backlog.checkpoints.items()
    return sum(max(0, count) for name, count in waiting if not name or name in checkpoints)


def pressure(backlog: BacklogReported, checkpoints: Collection[str], joining: int = 0) -> float:
    """Waiting requests times the longest wait, for each worker that would share them."""
    return _force(backlog, checkpoints) / max(1, backlog.workers + joining)


def chance_to_move(
    home: BacklogReported,
    there: BacklogReported,
    backlogs: Sequence[BacklogReported],
    me: Situation,
    own: int,
) -> float:
    """The probability with which this worker leaves ``home`` for ``there``, at this announcement of ``there``.

    Idle workers go first; busy ones make up for what they cannot cover.

    Args:
        own: how many requests wait for this worker at home.
    """
    needed = demand(there, me.checkpoints)
    if not needed:
        return 0.0
    others = [backlog for backlog in backlogs if backlog is not there]
    visit = 1 / max(1, sum(b.workers for b in others))
    visited = visit if there.workers <= 0 or there.oldest_wait_seconds > AGED_SECONDS else 0.0
    here, limit = pressure(home, me.checkpoints), pressure(there, me.checkpoints, joining=1) / CLEARLY
    if own and here >= limit:
        return visited
    movable = [b for b in others if b is home or pressure(b, me.checkpoints) < limit]
    idle = sum(b.idle for b in movable)
    busy = sum(b.workers - b.idle for b in movable)
    wanted = min(needed, max(1.0, _missing(there, backlogs, me.checkpoints)))
    # One more than needed: else one of three single requests would find nobody, and wait for the next announcement.
    chance = (wanted + 1) / max(1, idle) if me.idle else (wanted - idle) / max(1, busy)
    return min(1.0, max(chance, visited))


def _missing(there: BacklogReported, backlogs: Sequence[BacklogReported], able: Collection[str]) -> float:
    """How many workers it has too few, were all of them shared by what waits where and for how long."""
    everything = sum(_force(backlog, able) for backlog in backlogs)
    workers = sum(backlog.workers for backlog in backlogs)
    return workers * _force(there, able) / everything - there.workers


def _force(backlog: BacklogReported, checkpoints: Collection[str]) -> float:
    return demand(backlog, checkpoints) * max(_LEAST_WAIT_SECONDS, backlog.oldest_wait_seconds)


def _one_of(partitions: Sequence[int], draw: float) -> int:
    """Any of them: workers that are spread over a dispatcher's partitions part evenly when those move."""
    return partitions[min(len(partitions) - 1, int(draw * len(partitions)))]
