"""Children end when they should: on request, with their descendants, and with a parent that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.launcher.child import Child, spawn
from tests.harness.waiting import eventually

#: Writes its pid once it is up, then waits; SIGTERM ends it unless told to ignore that.
_WAITING = "import os, signal; {setup}; print('up', os.getpid(), flush=True); signal.pause()"


def test_a_child_that_obeys_ends_by_sigterm(tmp_path: Path) -> None:
    """Stop lets a program end in good order."""
    child = _waiting_child(tmp_path, "signal.signal(15, lambda *_: exit(7))")
    assert child.stop() == 7


def test_a_child_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """No program can keep its parent from ending."""
    child = _waiting_child(tmp_path, "signal.signal(15, signal.SIG_IGN)")
    assert child.stop(deadline_seconds=0.1) == -signal.SIGKILL


def test_a_frozen_child_is_killed_too(tmp_path: Path) -> None:
    """SIGSTOP does not protect from stop, even where SIGTERM would have to be handled first."""
    child = _waiting_child(tmp_path, "signal.signal(15, lambda *_: None)")
    child.send_signal(signal.SIGSTOP)
    assert child.stop(deadline_seconds=0.1) == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    """A killed worker leaves no ComfyUI behind."""
    child = spawn(["/bin/sh", "-c", "sleep 600 & echo up $!; wait"], log=tmp_path / "log")
    grandchild = _pid_in(tmp_path / "log")
    child.kill()
    eventually(lambda: not _lives(grandchild))


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """The kernel closes the leash's pipe however the parent dies, and the leash then kills the child."""
    parent_code = (
        "import pathlib, signal, sys\n"
        "from services.launcher.child import spawn\n"
        f"spawn([sys.executable, '-c', {_WAITING.format(setup='pass')!r}], log=pathlib.Path(sys.argv[1]))\n"
        "signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code, str(tmp_path / "log")])
    child = _pid_in(tmp_path / "log")
    parent.kill()
    parent.wait()
    eventually(lambda: not _lives(child))


def test_the_leash_goes_when_the_child_has_ended(tmp_path: Path) -> None:
    """No process is left of a child that was stopped."""
    child = _waiting_child(tmp_path, "pass")
    leash = child._leash.pid
    child.stop()
    assert not _lives(leash)


def test_a_child_is_not_in_the_terminals_group(tmp_path: Path) -> None:
    """Ctrl-C reaches the parent alone, which stops its children in the right order."""
    child = _waiting_child(tmp_path, "pass")
    assert os.getpgid(child.pid) == child.pid
    assert os.getpgid(child._leash.pid) != os.getpgid(0)
    child.kill()


def test_the_exit_code_and_the_logs_end_are_told(tmp_path: Path) -> None:
    """Who started a program that failed can say how and with which last words."""
    child = spawn(["/bin/sh", "-c", "echo first; echo last words >&2; exit 3"], log=tmp_path / "log")
    eventually(lambda: child.exit_code() is not None)
    assert child.exit_code() == 3
    assert child.log_tail(1) == "last words"


def test_a_program_that_is_not_there_is_an_oserror(tmp_path: Path) -> None:
    """A mistyped program is told at once, not by a timeout."""
    with pytest.raises(OSError, match="no-such-program"):
        spawn(["no-such-program"], log=tmp_path / "log")


def _waiting_child(tmp_path: Path, setup: str) -> Child:
    child = spawn([sys.executable, "-c", _WAITING.format(setup=setup)], log=tmp_path / "log")
    _pid_in(tmp_path / "log")
    return child


def _pid_in(log: Path) -> int:
    text = eventually(lambda: log.read_text() if log.exists() and log.read_text().endswith("\n") else "")
    return int(text.split()[1])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that its reaper has not collected yet is dead.
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
