"""Where there is room: the workers attached to this dispatcher, by what they have in memory.  Pure, in memory.

Asked for every dispatch, so it keeps indexes instead of looking at every worker.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import count
from typing import NamedTuple, TypeVar

from services.contracts.events import JobSpec
from services.dispatcher.backlog import Need


class Room(Enum):
    """What a worker could take now."""

    NONE = "none"  #: It has all that it has room for.
    BUSY = (
        "busy"  #: It has room, but what it runs goes on for so long that a job had better wait where it is.
    )
    HELD = "held"  #: A job would wait behind the running one, for a moment.
    IDLE = "idle"  #: A job would begin at once.


class Catalogue(NamedTuple):
    """The model files that a worker has on its disk; one that lists none is taken at its word to have all."""

    checkpoints: frozenset[str]
    loras: frozenset[str]

    def can_run(self, job: JobSpec) -> bool:
        """Whether every file that the job names is there."""
        has_checkpoints = not self.checkpoints or self.checkpoints.issuperset(job.checkpoints)
        return has_checkpoints and (not self.loras or self.loras.issuperset(job.loras))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One attached live worker, as far as placing a job asks."""

    worker_id: str
    room: Room
    catalogue: Catalogue
    warm: frozenset[str]  #: files that will be in its memory when its next job begins
    ends_at: datetime  #: when it should have run all that it was given


Place = tuple[Room, Catalogue]
Key = TypeVar("Key")


@dataclass(slots=True)
class Fleet:
    """Attached live workers; of equal ones, the one that has stood so for longest comes first."""

    _standings: dict[str, Standing] = field(default_factory=dict)
    _places: dict[Place, dict[str, None]] = field(default_factory=dict)
    _warm: dict[tuple[Room, str], dict[str, None]] = field(default_factory=dict)
    _catalogues: dict[Catalogue, Catalogue] = field(default_factory=dict)
    _ripening: list[tuple[datetime, str, int, Standing]] = field(default_factory=list)  #: a heap of busy ones
    _serial: Iterator[int] = field(default_factory=count)  #: so that equal ones are never compared

    def __len__(self) -> int:
        return len(self._standings)

    def __iter__(self) -> Iterator[Standing]:
        return iter(self._standings.values())

    def put(self, standing: Standing) -> None:
        """The worker stands so now."""
        old = self._standings.get(standing.worker_id)
        if old == standing:
            return
        if old is not None:
            self.drop(old.worker_id)
        self._standings[standing.worker_id] = standing
        self._places.setdefault((standing.room, standing.catalogue), {})[standing.worker_id] = None
        for file in standing.warm:
            self._warm.setdefault((standing.room, file), {})[standing.worker_id] = None
        if standing.room is Room.BUSY:
            heapq.heappush(
                self._ripening, (standing.ends_at, standing.worker_id, next(self._serial), standing)
            )

    def ripen(self, now: datetime, ahead: timedelta) -> None:
        """Busy workers that should end within ``ahead`` may hold a job from now on."""
        while self._ripening and self._ripening[0][0] <= now + ahead:
            _, worker_id, _, standing = heapq.heappop(self._ripening)
            if self._standings.get(worker_id) is standing:
                self.put(replace(standing, room=Room.HELD))

    def drop(self, worker_id: str) -> None:
        """The worker is gone, silent, draining, or another dispatcher's; harmless where it was not here."""
        old = self._standings.pop(worker_id, None)
        if old is None:
            return
        _remove(self._places, (old.room, old.catalogue), worker_id)
        for file in old.warm:
            _remove(self._warm, (old.room, file), worker_id)

    def catalogue(self, checkpoints: Iterable[str], loras: Iterable[str]) -> Catalogue:
        """One object for all workers that have the same files, so that comparing them costs nothing."""
        made = Catalogue(frozenset(checkpoints), frozenset(loras))
        return self._catalogues.setdefault(made, made)

    def has_room(self) -> bool:
        """Whether anybody could take anything."""
        return self.is_any(Room.IDLE) or self.is_any(Room.HELD)

    def is_any(self, room: Room) -> bool:
        """Whether any worker stands so."""
        return any(found is room for found, _ in self._places)

    def is_any_warm(self, room: Room, need: Need) -> bool:
        """Whether any worker that stands so may have ``need`` in memory."""
        return any((room, file) in self._warm for file in need) if need else self.is_any(room)

    def has(self, need: Need) -> bool:
        """Whether any worker has ``need`` in memory, or is to load it."""
        return any(self.is_any_warm(room, need) for room in Room)

    def must_load(self, worker_id: str, need: Need) -> bool:
        """Whether the worker has other checkpoints in memory than these."""
        standing = self._standings.get(worker_id)
        return standing is not None and bool(standing.warm) and not need <= standing.warm

    def count_warm(self, room: Room, need: Need) -> int:
        """How many workers that stand so have ``need`` in memory, at most."""
        return min((len(self._warm.get((room, file), ())) for file in need), default=self.count(room))

    def count(self, room: Room) -> int:
        """How many workers stand so."""
        return sum(len(workers) for (found, _), workers in self._places.items() if found is room)

    def able(self, room: Room, job: JobSpec) -> Iterator[Standing]:
        """Workers that could take the job in this way, whatever they have in memory."""
        for (found, catalogue), workers in self._places.items():
            if found is room and catalogue.can_run(job):
                yield from map(self._standings.__getitem__, workers)

    def warm(self, room: Room, need: Need, job: JobSpec) -> Iterator[Standing]:
        """Those of them that will have all of ``need`` in memory; where it is nothing, all of them."""
        if not need:
            yield from self.able(room, job)
            return
        for worker_id in self._warm.get((room, next(iter(need))), ()):
            standing = self._standings[worker_id]
            if need <= standing.warm and standing.catalogue.can_run(job):
                yield standing


def _remove(index: dict[Key, dict[str, None]], key: Key, worker_id: str) -> None:
    del index[key][worker_id]
    if not index[key]:
        del index[key]
