"""Runs programs until told to stop: start, wait until ready, start again what dies, stop in order."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.launcher.child import Child, spawn
from services.launcher.plan import Program

STOP_SECONDS = 8.0
_RESTART_WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)  #: seconds before a program that died is started again


class StackError(Exception):
    """A program did not come up; the message ends with the last lines of its log."""


@dataclass(slots=True)
class _Running:
    program: Program
    child: Child
    round: int  #: counts the calls of `Stack.start`
    deaths: int = 0
    start_again_at: float | None = None


@dataclass(slots=True)
class Stack:
    """The running programs; logs go to ``<folder>/logs/<name>.log``."""

    folder: Path
    say: Callable[[str], None]
    _running: dict[str, _Running] = field(default_factory=dict)

    def start(self, programs: list[Program]) -> None:
        """Start ``programs`` side by side; `wait_until_ready` waits for them."""
        number = 1 + max((running.round for running in self._running.values()), default=0)
        for program in programs:
            self._running[program.name] = _Running(program, self._spawn(program), number)

    def wait_until_ready(self, deadline_seconds: float, stopping: threading.Event | None = None) -> bool:
        """Wait until every program answers its ready address; false when ``stopping`` was set first.

        Raises:
            StackError: one ended or was not ready in time.
        """
        end = time.monotonic() + deadline_seconds
        for running in self._running.values():
            while not _answers(running.program.ready_url):
                if stopping is not None and stopping.is_set():
                    return False
                if running.child.exit_code() is not None:
                    raise StackError(self._report(running, "ended"))
                if time.monotonic() > end:
                    raise StackError(self._report(running, "was not ready in time"))
                time.sleep(0.05)  # noqa: TID251 - start-up only; a program has no other way to tell
        return True

    def supervise(self, stopping: threading.Event) -> None:
        """Start again whatever dies, with growing waits, until ``stopping`` is set."""
        while not stopping.wait(0.25):
            for running in self._running.values():
                self._look_after(running)

    def child(self, name: str) -> Child:
        """The process of one program, for whoever wants to signal it."""
        return self._running[name].child

    def stop(self) -> None:
        """End every program, the ones started last first, and kill what has not ended within `STOP_SECONDS`.

        A stage ends what it has in hand with the help of what was started before it.
        """
        end = time.monotonic() + STOP_SECONDS
        rounds = {running.round for running in self._running.values()}
        for number in sorted(rounds, reverse=True):
            children = [one.child for one in self._running.values() if one.round == number]
            _end(children, end)
        self._running.clear()

    def _look_after(self, running: _Running) -> None:
        if running.start_again_at is None:
            code = running.child.exit_code()
            if code is None:
                return
            wait = _RESTART_WAITS[min(running.deaths, len(_RESTART_WAITS) - 1)]
            running.deaths += 1
            running.start_again_at = time.monotonic() + wait
            self.say(f"{running.program.name} ended ({_why(code)}); starting it again in {wait:g} s.")
        elif time.monotonic() >= running.start_again_at:
            running.child = self._spawn(running.program)
            running.start_again_at = None

    def _spawn(self, program: Program) -> Child:
        log = self.folder / "logs" / f"{program.name}.log"
        return spawn(program.argv, log=log, env={**os.environ, **program.env})

    def _report(self, running: _Running, what: str) -> str:
        return f"{running.program.name} {what}.  Its log ends with:\n{running.child.log_tail(15)}"


def _end(children: list[Child], end: float) -> None:
    """Ask these to end, and kill what is left at ``end``."""
    for child in children:
        if child.exit_code() is None:
            child.send_signal(signal.SIGTERM)
    while any(child.exit_code() is None for child in children) and time.monotonic() < end:
        time.sleep(0.02)  # noqa: TID251 - waits for processes of ours, bounded by the deadline
    for child in children:
        child.kill()


def _why(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _answers(url: str) -> bool:
    if not url:
        return True
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310 - an address of our own making
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
