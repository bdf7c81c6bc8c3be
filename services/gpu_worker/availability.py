"""Whether the worker can draw now, and if not, why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum

from services.chassis.health import Health
from services.chassis.logs import get_logger

log = get_logger()


class Obstacle(StrEnum):
    """What can keep a worker from drawing; while one is there it offers no slots."""

    LEAVING = "leaving"  #: It has been told to end, or its machine is being taken back.
    COMFYUI = "comfyui"  #: ComfyUI does not answer, or is not warm.
    DISK = "disk"  #: There is too little room for images.


class Availability:
    """The obstacles of the moment, shown by ``/readyz``.  Thread-safe."""

    def __init__(self, health: Health, changed: Callable[[], None]) -> None:
        """``changed`` is called at every change, in the thread that made it."""
        self._health = health
        self._changed = changed
        self._lock = threading.Lock()
        self._obstacles = {Obstacle.COMFYUI: "ComfyUI has not answered yet"}

    def block(self, what: Obstacle, why: str) -> None:
        """There is an obstacle; ``why`` is one short sentence for operators, without paths."""
        with self._lock:
            if self._obstacles.get(what) == why:
                return
            self._obstacles[what] = why
            self._show()
        log.warning("worker_blocked", obstacle=what.value, why=why)
        self._changed()

    def clear(self, what: Obstacle) -> None:
        """It is gone."""
        with self._lock:
            if self._obstacles.pop(what, None) is None:
                return
            self._show()
        log.info("worker_unblocked", obstacle=what.value)
        self._changed()

    def why_not(self) -> str | None:
        """Why the worker cannot draw, the gravest reason first; none where it can."""
        with self._lock:
            return self._first()

    def _first(self) -> str | None:
        return next((self._obstacles[what] for what in Obstacle if what in self._obstacles), None)

    def _show(self) -> None:
        why = self._first()
        self._health.ready() if why is None else self._health.not_ready(why)
