"""Keeps the worker attached to the dispatcher that needs it most: hears ``backlogs``, and says where to report."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.chassis import metrics as m
from services.chassis.logs import get_logger
from services.contracts.events import BacklogReported
from services.contracts.partitioner import partition_for
from services.gpu_worker.attachment import Attachment, Situation
from services.gpu_worker.holdings import Holdings

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Luck:
    """What a decision is drawn with, so that a test may know it."""

    draw: Callable[[], float] = random.random  #: uniform in [0, 1)
    monotonic: Callable[[], float] = time.monotonic  #: seconds


_LUCK = Luck()


class Attaching:
    """One worker's `Attachment`, kept by what it hears.  Thread-safe; its methods do not wait."""

    def __init__(
        self,
        worker_id: str,
        holdings: Holdings,
        metrics: m.Metrics,
        *,
        checkpoints: Callable[[], tuple[str, ...]],
        offers: Callable[[], bool],
        moved: Callable[[], None],
        session_seconds: float,
        luck: Luck = _LUCK,
    ) -> None:
        """
        Args:
            checkpoints: what the worker's ComfyUI can load; none while that is not known.
            offers: whether the worker takes jobs.
            moved: called when the worker has another place, in the thread that heard why.
            session_seconds: how long the partitions of a dispatcher that died stay without another.
        """
        self._worker_id = worker_id
        self._holdings = holdings
        self._metrics = metrics
        self._checkpoints = checkpoints
        self._offers = offers
        self._moved = moved
        self._session = session_seconds
        self._luck = luck
        self._lock = threading.Lock()
        self._own = 0  # the partition of the worker's key
        self._attachment: Attachment | None = None
        self._taken = 0

    def place(self) -> int | None:
        """The partition of ``workers`` to report in; none is that of the worker's key."""
        with self._lock:
            here = self._own if self._attachment is None else self._attachment.here
            return None if here == self._own else here

    def took(self) -> None:
        """A job has arrived."""
        with self._lock:
            self._taken += 1

    def heard(self, event: BacklogReported, partitions: int) -> None:
        """A dispatcher announces itself; ``workers`` has so many ``partitions``, as has ``backlogs``."""
        there = [partition for partition in event.partitions if 0 <= partition < partitions]
        with self._lock:
            moved = self._decide(replace(event, partitions=there), partitions)
            here = self._attachment.here if self._attachment else None
        if moved:
            self._metrics.count(m.ATTACHMENTS)
            log.info("worker_attached", partition=here, dispatcher=event.dispatcher_id)
            self._moved()

    def _decide(self, event: BacklogReported, partitions: int) -> bool:
        now = self._luck.monotonic()
        if self._attachment is None:
            self._own = partition_for(self._worker_id.encode(), partitions)
            self._attachment = Attachment(self._own, now, session_seconds=self._session)
        me = Situation(
            checkpoints=self._checkpoints(),
            offers=self._offers(),
            idle=not self._holdings.reported(),
            taken=self._taken,
        )
        return self._attachment.heard(event, me, now, self._luck.draw())
