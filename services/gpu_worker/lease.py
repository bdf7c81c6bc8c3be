"""Who this process is, as long as its reports keep it alive in the eyes of the dispatcher."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence

from services.chassis.logs import get_logger
from services.gpu_worker.decide import Identity

log = get_logger()
#: The monotonic clock runs on while a process is stopped, the wall clock also while its machine is.
CLOCKS: tuple[Callable[[], float], ...] = (time.monotonic, time.time)


def new_incarnation() -> str:
    """An id that no life of any worker had before."""
    return uuid.uuid4().hex


class Lease:
    """The worker's identity, which each report renews.  Thread-safe.

    A worker that made no report for as long as the dispatcher lets it be silent counts as lost, and its jobs are
    given to others.  That happens to a process that was stopped, and it does not notice: continued, it would begin
    the jobs it holds.  So whoever acts for the worker asks for its identity first, and the first to ask after such
    a silence makes it a new incarnation: what was sent to the old one, read or not, is void.
    """

    def __init__(
        self,
        worker_id: str,
        silence_seconds: float,
        *,
        lapsed: Callable[[], None] = lambda: None,
        clocks: Sequence[Callable[[], float]] = CLOCKS,
    ) -> None:
        """``lapsed`` is called in the thread that found the silence, when the new incarnation is in force."""
        self._silence = silence_seconds
        self._lapsed = lapsed
        self._clocks = clocks
        self._lock = threading.Lock()
        self._renewed = self._now()
        self._me = Identity(worker_id=worker_id, incarnation=new_incarnation())

    def renew(self) -> Identity:
        """Who is reporting now."""
        me = self.identity()
        with self._lock:
            self._renewed = self._now()
        return me

    def identity(self) -> Identity:
        """Who the worker is now."""
        with self._lock:
            now = self._now()
            silent = max(at - before for at, before in zip(now, self._renewed, strict=True))
            lapsed = silent > self._silence
            if lapsed:
                self._renewed = now
                self._me = Identity(worker_id=self._me.worker_id, incarnation=new_incarnation())
            me = self._me
        if lapsed:
            log.warning("worker_started_over", silent_seconds=round(silent, 1), incarnation=me.incarnation)
            self._lapsed()
        return me

    def _now(self) -> tuple[float, ...]:
        return tuple(clock() for clock in self._clocks)
