"""Where on ``workers`` a worker's reports lie: one partition at a time, and what is left in others is deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from services.chassis.sync_outbox import SyncOutbox
from services.contracts.events import WorkerReported
from services.contracts.topics import WORKERS


class Places:
    """Sends reports to the place of the moment; a partition, or none for that of the worker's key.

    An old place is given up only when a report in the new one is acknowledged: else a dispatcher that starts in
    between would know of no such worker.  Used from the reporter's thread, and by `leave` when that has ended.
    """

    def __init__(self, outbox: SyncOutbox, worker_id: str, place: Callable[[], int | None]) -> None:
        self._outbox = outbox
        self._worker_id = worker_id
        self._place = place
        self._here: int | None = None
        self._stay = 0  # counts the places that it was in, this one included
        self._used: set[int | None] = set()
        self._settled = (
            -1
        )  # the last stay with an acknowledged report; set by the thread of the delivery reports

    def report(self, event: WorkerReported) -> None:
        """Send ``event`` without waiting.

        Raises:
            SendFailed: the producer does not even take a tombstone, the broker having been away for long.
        """
        place = self._place()
        if place != self._here:
            self._here, self._stay = place, self._stay + 1
        self._used.add(place)
        self._outbox.send_soon(event, None, partition=place, acknowledged=partial(self._arrived, self._stay))
        if self._settled == self._stay:
            for old in self._used - {place}:
                self._outbox.tombstone_soon(WORKERS, self._worker_id, partition=old)
                self._used.discard(old)

    def leave(self) -> None:
        """Delete what was reported, wherever it lies; returns when that is sent or after a few seconds.

        Raises:
            SendFailed: as `report`.
        """
        for place in self._used or {None}:
            self._outbox.tombstone_soon(WORKERS, self._worker_id, partition=place)
        self._outbox.flush(5.0)

    def _arrived(self, stay: int) -> None:
        self._settled = stay
