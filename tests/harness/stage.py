"""A stage as the process that it is in production: started, watched, killed, frozen, restarted."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from services.launcher.brokers.ports import reserve_port
from services.launcher.child import Child, spawn
from tests.harness.waiting import eventually

#: All that a stage inherits of the tester's environment, so that no setting of theirs leaks into a test.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "SSL_CERT_FILE", "VIRTUAL_ENV")


class StartStage(Protocol):
    """The fixture ``start_stage``: starts a stage on the test's corner of the broker and waits until it is ready."""

    def __call__(self, stage: str, env: Mapping[str, str] | None = None, *, name: str = "") -> StageProcess:
        """``env`` adds to the corner's settings; ``name`` tells replicas of one stage apart."""
        ...


class StageProcess:
    """``python -m services.<stage>`` with its own port for ``/readyz`` and its own log file.

    ``env`` holds the stage's settings by their environment names; ``module`` runs another module than the stage's.
    """

    def __init__(
        self, stage: str, env: Mapping[str, str], log_dir: Path, *, name: str = "", module: str = ""
    ) -> None:
        self.name = name or stage
        self.log = log_dir / f"{self.name}.log"
        self._module = module or f"services.{stage}"
        self._port = reserve_port()
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        self._env = inherited | {"PYTHONUNBUFFERED": "1", "HEALTH_PORT": str(self.port)} | dict(env)
        self._child: Child | None = None

    @property
    def port(self) -> int:
        """Where ``/metrics``, ``/healthz`` and ``/readyz`` listen, on 127.0.0.1."""
        return self._port.number

    @property
    def pid(self) -> int:
        """The process id of the running stage."""
        return self._running().pid

    def start(self) -> None:
        """Start it and return at once; the log goes on after a restart."""
        argv = [sys.executable, "-m", self._module]
        # Not in the checkout: Faust makes a data folder where it runs.
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._child = spawn(argv, log=self.log, env=self._env, cwd=self.log.parent)

    def wait_ready(self, deadline_seconds: float = 30.0) -> None:
        """Wait until ``/readyz`` answers 200.

        Raises:
            AssertionError: it ended, or the deadline passed; the log's tail is in the message.
        """

        def is_ready() -> bool:
            code = self._running().exit_code()
            assert code is None, f"{self.name} ended with code {code} before it was ready:\n{self.log_tail()}"
            return self.get("/readyz")[0] == 200

        eventually(is_ready, deadline_seconds, failing=lambda: f"{self.name}:\n{self.log_tail()}")

    def stop(self, deadline_seconds: float = 30.0) -> int:
        """End it by SIGTERM, by SIGKILL after the deadline, and return its exit code."""
        return self._running().stop(deadline_seconds)

    def kill(self) -> None:
        """End it by SIGKILL, with all that it started."""
        self._running().kill()

    def pause(self) -> None:
        """Freeze it by SIGSTOP, as a machine that hangs."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it by SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self, deadline_seconds: float = 30.0) -> None:
        """Stop it if it runs, start it and wait until it is ready."""
        if self.exit_code() is None:
            self.stop()
        self.start()
        self.wait_ready(deadline_seconds)

    def exit_code(self) -> int | None:
        """None while it runs; a negative number is the signal that ended it."""
        return self._running().exit_code()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on its health port; status 0 when nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 where there is none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = (line for line in self.get("/metrics")[1].splitlines() if not line.startswith("#"))
        samples = (line.rpartition(" ") for line in lines if line.split("{")[0].split(" ")[0] == name)
        return sum(float(value) for series, _, value in samples if all(label in series for label in wanted))

    def logs(self) -> list[dict[str, Any]]:
        """Its log events so far; a line that is not JSON, such as a traceback's, becomes ``{"text": line}``."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return [_parsed(line) for line in text.splitlines()]

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        return self._running().log_tail(lines)

    def close(self) -> None:
        """End it, frozen or not, and give its port back."""
        if self._child is not None:
            self._child.kill()
        self._port.release()

    def _running(self) -> Child:
        assert self._child is not None, f"{self.name} was never started."
        return self._child


def _parsed(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {"text": line}
    return event if isinstance(event, dict) else {"text": line}
