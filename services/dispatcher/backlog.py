"""Who waits, in the order in which they are to be served.  Pure, in memory; a step costs the logarithm of its size.

A line is one user's waiting jobs of one tier; each of its checkpoints has a head of its own there, so that a job
need not wait for an earlier one of the same user that needs another.  Lines are ordered by tier, and within one the
least-recently-served user comes first; one who comes, or comes back, stands behind everybody who waits already and
before the one who was served last: start-time fair queueing (Goyal, Vin and Cheng, 1996) with jobs of one size.
A job that has waited for long rises by a tier, so that even the lowest tier's wait is bounded.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from sortedcontainers import SortedList

Need = frozenset[str]
"""The checkpoints that a job loads."""


class Waiting(NamedTuple):
    """One job that waits: all that its place depends on."""

    key: str
    user_id: str
    tier: int  #: 0 is served first
    queued_at: datetime
    need: Need


class Entry(NamedTuple):
    """The head of a line, as it sorts: the first of its jobs that needs this."""

    tier: int
    turn: float
    queued_at: datetime
    user_id: str
    key: str


@dataclass(slots=True)
class _Line:
    turn: float
    jobs: dict[str, Waiting] = field(default_factory=dict)  #: by key, oldest first
    shown: dict[Need, Entry] = field(default_factory=dict)  #: its heads, as they stand among the groups


@dataclass(slots=True)
class Backlog:
    """Every waiting job; ``ageing`` is how long it waits to rise by a tier."""

    ageing: timedelta = timedelta(minutes=2)
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _lines: dict[tuple[int, str], _Line] = field(default_factory=dict)
    _groups: dict[Need, SortedList[Entry]] = field(default_factory=dict)  #: heads by what they need
    #: Each group by its first head.
    _order: SortedList[tuple[Entry, Need]] = field(default_factory=SortedList)
    _by_need: dict[Need, int] = field(default_factory=dict)
    _by_user: dict[str, int] = field(default_factory=dict)
    _tiers: set[int] = field(default_factory=set)
    _rises: list[tuple[datetime, str]] = field(default_factory=list)  #: a heap
    _risen: dict[str, int] = field(default_factory=dict)
    _turn: int = 0
    _last_served: str = ""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def add(self, job: Waiting, *, first: bool = False) -> None:
        """A job begins to wait; ``first`` puts one that has waited before at the head of its line."""
        place = (job.tier, job.user_id)
        line = self._lines.get(place)
        if line is None:
            turn = self._turn if job.user_id == self._last_served else self._turn - 0.5
            line = self._lines[place] = _Line(turn=turn)
        if first:
            # The turn that failed was none: before those who come now.
            line.turn = min(line.turn, self._turn - 1)
            line.jobs = {job.key: job, **line.jobs}
        else:
            line.jobs[job.key] = job
        self._waiting[job.key] = job
        self._tiers.add(job.tier)
        self._by_need[job.need] = self._by_need.get(job.need, 0) + 1
        self._by_user[job.user_id] = self._by_user.get(job.user_id, 0) + 1
        if job.tier > 0:
            heapq.heappush(self._rises, (job.queued_at + self.ageing, job.key))
        self._show(place)

    def remove(self, key: str) -> None:
        """A job waits no more; harmless where it did not."""
        job = self._waiting.pop(key, None)
        if job is None:
            return
        _lessen(self._by_need, job.need)
        _lessen(self._by_user, job.user_id)
        self._risen.pop(key, None)
        place = (job.tier, job.user_id)
        del self._lines[place].jobs[key]
        self._show(place)

    def serve(self, user_id: str) -> None:
        """The user was given a worker: everybody else who waits comes first now."""
        self._turn += 1
        self._last_served = user_id
        for tier in self._tiers:
            line = self._lines.get((tier, user_id))
            if line is not None:
                line.turn = self._turn
                self._show((tier, user_id))

    def age(self, now: datetime) -> None:
        """Let those rise who have waited long enough."""
        while self._rises and self._rises[0][0] <= now:
            at, key = heapq.heappop(self._rises)
            job = self._waiting.get(key)
            if job is None:
                continue
            self._risen[key] = self._risen.get(key, 0) + 1
            if self._risen[key] < job.tier:
                heapq.heappush(self._rises, (at + self.ageing, key))
            self._show((job.tier, job.user_id))

    def groups(self) -> Iterator[tuple[Need, SortedList[Entry]]]:
        """The heads of all lines by what they need, the group with the first of all first."""
        return ((need, self._groups[need]) for _, need in self._order)

    def count_of_user(self, user_id: str) -> int:
        """How many jobs of the user wait."""
        return self._by_user.get(user_id, 0)

    def needs(self) -> dict[Need, int]:
        """How many jobs wait for each set of checkpoints."""
        return dict(self._by_need)

    def head_needs(self) -> Iterator[Need]:
        """What the next jobs of all users need."""
        return iter(self._groups)

    def waiting_for(self, need: Need) -> int:
        """How many jobs wait for these checkpoints."""
        return self._by_need.get(need, 0)

    def in_order(self) -> Iterator[Waiting]:
        """All that wait as they would be served if nobody came: tier by tier, round by round over the lines."""
        lines = sorted((min(line.shown.values()), place) for place, line in self._lines.items())
        for _, tier in groupby(lines, key=lambda line: line[0].tier):
            yield from _rounds([self._lines[place].jobs.values() for _, place in tier])

    def _show(self, place: tuple[int, str]) -> None:
        """Put the line's heads where they belong now; an empty line goes."""
        line = self._lines[place]
        heads = self._heads(line)
        for need, entry in list(line.shown.items()):
            if heads.get(need) != entry:
                self._regroup(need, entry, there=False)
                del line.shown[need]
        for need, entry in heads.items():
            if need not in line.shown:
                self._regroup(need, entry, there=True)
                line.shown[need] = entry
        if not line.jobs:
            del self._lines[place]

    def _heads(self, line: _Line) -> dict[Need, Entry]:
        """The first job of the line for each of its needs: one worker's memory suits one, another's the other."""
        heads: dict[Need, Entry] = {}
        for job in line.jobs.values():
            if job.need not in heads:
                tier = job.tier - self._risen.get(job.key, 0)
                heads[job.need] = Entry(tier, line.turn, job.queued_at, job.user_id, job.key)
        return heads

    def _regroup(self, need: Need, entry: Entry, *, there: bool) -> None:
        """Put a head into the group of what it needs, or take it out, and the group where its first head belongs."""
        heads = self._groups.setdefault(need, SortedList())
        first = heads[0] if heads else None
        (heads.add if there else heads.remove)(entry)
        now_first = heads[0] if heads else None
        if now_first == first:
            return
        if first is not None:
            self._order.remove((first, need))
        if now_first is not None:
            self._order.add((now_first, need))
        else:
            del self._groups[need]


def _rounds(lines: list[Iterable[Waiting]]) -> Iterator[Waiting]:
    """The first of every line, then the second of every line, and so on."""
    rest: list[Iterator[Waiting]] = [iter(jobs) for jobs in lines]
    while rest:
        going = []
        for line in rest:
            job = next(line, None)
            if job is not None:
                going.append(line)
                yield job
        rest = going


def _lessen(counts: dict[Any, int], key: Any) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
