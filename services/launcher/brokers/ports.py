"""Ports that no one else takes: not a parallel run of ours, not the kernel for an outgoing connection."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

#: Below the ephemeral range of Linux (32768) and macOS (49152).  Inside it, a client that reconnects to a
#: stopped server's port can be given that very port as its own and connect to itself.
_FIRST, _LAST = 20_000, 32_000


class ReservedPort:
    """A TCP port on 127.0.0.1, ours until `release` or the end of this process."""

    def __init__(self, number: int, lock: int) -> None:
        self.number = number
        self._lock: int | None = lock

    def release(self) -> None:
        """Let others have it; harmless twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def reserve_port() -> ReservedPort:
    """Find a free port and hold it by a lock that the kernel drops when this process ends, however it ends.

    Raises:
        OSError: none of the range is free.
    """
    for number in random.sample(range(_FIRST, _LAST), k=500):
        if (port := _try(number)) is not None:
            return port
    raise OSError(f"No free port was found between {_FIRST} and {_LAST} on 127.0.0.1.")


def _try(number: int) -> ReservedPort | None:
    lock = os.open(_lock_file(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            # As servers do, so that a port with connections in TIME_WAIT still counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", number))
    except OSError:
        os.close(lock)
        return None
    return ReservedPort(number, lock)


def _lock_file(number: int) -> Path:
    folder = Path(tempfile.gettempdir()) / f"distillery-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / str(number)
