"""A child process that cannot outlive this one.

Each child leads a process group of its own, so Ctrl-C in a terminal reaches only its parent, which then stops
its children in the right order.  A leash kills the group should the parent die without stopping it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Reads its stdin until the parent's end of the pipe closes, which the kernel does however the parent dies.
_LEASH = 'read -r _; kill -s KILL -- "-$1" 2>/dev/null'


class Child:
    """One running program, its log file and its leash."""

    def __init__(self, process: subprocess.Popen[bytes], leash: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._leash = leash
        self.log = log

    @property
    def pid(self) -> int:
        """The process id, which is also its process group's."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; a negative number is the signal that ended it."""
        code = self._process.poll()
        if code is not None:
            self._clear_away()
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone; nothing happens if it has ended."""
        self._process.send_signal(number)

    def stop(self, deadline_seconds: float = 10.0) -> int:
        """Ask it to end by SIGTERM, kill what is left after the deadline, and return its exit code."""
        self._process.terminate()
        try:
            self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            pass
        return self.kill()

    def kill(self) -> int:
        """End it and whatever it started by SIGKILL, and return its exit code."""
        self._process.kill()
        code = self._process.wait()
        self._clear_away()
        return code

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that it wrote."""
        return tail(self.log, lines)

    def _clear_away(self) -> None:
        """End what is left of its group, then let the leash go; only the first call does anything."""
        if self._leash.returncode is not None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # The group is gone, or (macOS) holds only zombies.
        # First the leash dies, then its pipe closes: the other order would let it kill a reused group id.
        self._leash.kill()
        self._leash.wait()
        if self._leash.stdin is not None:
            self._leash.stdin.close()


def spawn(
    argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Child:
    """Start a program with stdout and stderr appended to ``log``; ``env`` None means this process's own.

    Raises:
        OSError: the program or the log file cannot be opened.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            process_group=0,
        )
    return Child(process, leash(process.pid), log)


def leash(pid: int) -> subprocess.Popen[bytes]:
    """Start the process that kills group ``pid`` when this process ends; kill it to let go."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _LEASH, "leash", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        process_group=0,
    )


def tail(path: Path, lines: int = 30) -> str:
    """The last lines of a text file, or nothing where there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def wait_for_exit(child: Child, deadline_seconds: float) -> int | None:
    """The child's exit code, or None if it still runs at the deadline."""
    end = time.monotonic() + deadline_seconds
    while (code := child.exit_code()) is None and time.monotonic() < end:
        time.sleep(0.02)  # noqa: TID251 - nothing tells of another program's end but asking
    return code
