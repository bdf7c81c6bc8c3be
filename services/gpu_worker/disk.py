"""Keeps ComfyUI's folders from filling up: what jobs left there is deleted, and too little room is said."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from services.chassis.edge import guard
from services.chassis.logs import get_logger
from services.gpu_worker.availability import Availability, Obstacle
from services.gpu_worker.ports import FOLDER

log = get_logger()
CHECK_SECONDS = 10.0
#: A file of a job that nobody finished, a killed worker's for instance: no job runs for so long.
LEFTOVER_SECONDS = 3600.0
#: After ComfyUI said that its disk is full: a quota is not seen in the free space, and others may make room.
STRUCK_SECONDS = 60.0
_GIB = 1024**3


class Disk:
    """The folders that ComfyUI writes to, where this worker can see them.  Thread-safe.

    It deletes only files in `FOLDER`, and only those that carry the id of a job that is over, or are old.
    """

    def __init__(self, folders: Sequence[Path], least_free_bytes: int) -> None:
        """``folders`` are ComfyUI's output and input folders; none where they are on another machine."""
        self._folders = folders
        self._least = least_free_bytes
        self._struck_until = float("-inf")

    def forget(self, prompt_id: str) -> None:
        """Delete what a job wrote: its images are in the object store, or of no use."""
        for entry in self._entries():
            if entry.name.startswith((f"{prompt_id}_", f"{prompt_id}-")):
                _delete(entry)

    def sweep(self) -> None:
        """Delete what is left of jobs that nobody finished."""
        oldest = time.time() - LEFTOVER_SECONDS
        for entry in self._entries():
            with suppress(FileNotFoundError):  # another worker on the same folders was quicker
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    _delete(entry)

    def struck(self) -> None:
        """ComfyUI found its disk full."""
        self._struck_until = time.monotonic() + STRUCK_SECONDS
        self.sweep()

    def shortage(self) -> str | None:
        """Why no job should be begun, without a path; none where there is room.

        Raises:
            OSError: a folder is not there.
        """
        if time.monotonic() < self._struck_until:
            return "ComfyUI has found its disk full"
        free = min((shutil.disk_usage(folder).free for folder in self._folders), default=None)
        if free is None or free >= self._least:
            return None
        return f"ComfyUI's disk has {free / _GIB:.2f} GiB free, and {self._least / _GIB:.2f} GiB are wanted"

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for folder in self._folders:
            with suppress(FileNotFoundError), os.scandir(folder / FOLDER) as entries:  # no job ran there yet
                yield from entries


class DiskWatch:
    """A thread that looks at the disk beside the work."""

    def __init__(self, disk: Disk, availability: Availability) -> None:
        self._disk = disk
        self._availability = availability
        self._stopped = threading.Event()
        self._now = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._loop, name="disk", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._now.set()

    def forget(self, prompt_id: str) -> None:
        """See `Disk.forget`."""
        self._disk.forget(prompt_id)

    def struck(self) -> None:
        """ComfyUI found its disk full: make room, and offer no slots for a while."""
        self._disk.struck()
        self._availability.block(Obstacle.DISK, "ComfyUI has found its disk full")

    def _loop(self) -> None:
        while not self._stopped.is_set():
            if (failure := guard(self._look)) is not None:
                log.error("disk_unseen", error=repr(failure))
            self._now.wait(CHECK_SECONDS)

    def _look(self) -> None:
        self._disk.sweep()
        why = self._disk.shortage()
        if why is None:
            self._availability.clear(Obstacle.DISK)
        else:
            self._availability.block(Obstacle.DISK, why)


def _delete(entry: os.DirEntry[str]) -> None:
    if not entry.is_file(follow_symlinks=False):
        return
    try:
        Path(entry.path).unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("leftover_kept", why=error.strerror)
