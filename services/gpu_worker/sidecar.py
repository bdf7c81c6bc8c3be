"""A ComfyUI process that the worker starts beside itself, watches, and replaces when it dies or hangs.

The process leads a group of its own, so that what custom nodes start is ended with it.  A leash ends the group
should the worker die without stopping it: a ComfyUI left behind would hold the GPU's memory and the port.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.gpu_worker.adapters.comfyui_http import ComfyUIAway, ComfyUIHttp

#: Reads its stdin until the worker's end of the pipe closes, which the kernel does however the worker dies.
_LEASH = 'read -r _; kill -s KILL -- "-$1" 2>/dev/null'
_PROBE_SECONDS = 0.2
#: Custom nodes are other people's code: they get the worker's environment without its credentials.
_PRIVATE = re.compile(r"^(KAFKA|S3|AWS|DISCORD|SCHEMA_REGISTRY)_|TOKEN|PASSWORD|SECRET|_KEY(_|$)")


class SidecarError(Exception):
    """ComfyUI cannot be started at all; the message says what is wrong with the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarOptions:
    """Which ComfyUI to run, and how patiently."""

    directory: Path  #: a ComfyUI checkout: it holds ``main.py``
    python: str = sys.executable  #: the interpreter that has ComfyUI's requirements
    port: int = 0  #: on 127.0.0.1; 0 = any free one, the same at every restart
    args: Sequence[str] = ()  #: further arguments for ``main.py``
    ready_seconds: float = 300.0  #: for it to answer after its start; custom nodes may take minutes
    stop_seconds: float = 10.0  #: between SIGTERM and SIGKILL
    backoff_seconds: float = 1.0  #: before it is started again after a short life, then doubled
    backoff_cap_seconds: float = 60.0
    healthy_seconds: float = 60.0  #: an answering life of so long clears the record of failures


def backoff(failures: int, first: float, cap: float) -> float:
    """Seconds to wait before the next start: none after a healthy life, then ``first``, doubled up to ``cap``."""
    return 0.0 if failures == 0 else min(cap, first * 2.0 ** min(failures - 1, 30))


def command(options: SidecarOptions, port: int) -> list[str]:
    """The command line that starts ComfyUI on loopback."""
    own = ["--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"]
    return [options.python, "main.py", *own, *options.args]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """What ComfyUI inherits of ``env``."""
    kept = {name: value for name, value in env.items() if not _PRIVATE.search(name)}
    return kept | {"PYTHONUNBUFFERED": "1"}


class Sidecar:
    """Keeps one ComfyUI running.  Thread-safe."""

    def __init__(
        self,
        options: SidecarOptions,
        *,
        on_output: Callable[[str], None],
        on_event: Callable[[str], None] = lambda event: None,
        on_ready: Callable[[bool], None] = lambda ready: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare it; nothing runs before `start`.

        Args:
            options: which ComfyUI, and how patiently.
            on_output: gets each line of ComfyUI's output, in a thread of its own; must not raise.
            on_event: gets one sentence at each start, readiness, death and restart; must not raise.
            on_ready: gets true when it answers for the first time after a start, false when it has ended or is
                killed; must not raise.
            clock: monotonic seconds.

        Raises:
            SidecarError: the directory holds no ``main.py``.
        """
        if not (options.directory / "main.py").is_file():
            raise SidecarError(
                f"COMFYUI_DIR is {options.directory}, which holds no main.py; name the folder of a ComfyUI checkout."
            )
        self._options = options
        self._on_output = on_output
        self._on_event = on_event
        self._on_ready = on_ready
        self._clock = clock
        self._port = options.port or _free_port()
        self._http = ComfyUIHttp(self.url, connect_seconds=1.0, seconds=5.0)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._news = threading.Event()  # the process ended, or somebody wants it to
        self._ready = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.starts = 0  #: how often it was started

    @property
    def url(self) -> str:
        """Where it listens, through every restart."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it and keep it running; returns at once."""
        self._thread = threading.Thread(target=self._supervise, name="comfyui-sidecar", daemon=True)
        self._thread.start()

    def wait_ready(self, seconds: float) -> bool:
        """Wait until it answers; false where it does not in time."""
        return self._ready.wait(seconds)

    def restart(self, why: str) -> None:
        """Kill it, since it is stuck, and start it again; when this returns the old one is gone.

        One that is still starting is left alone: it is not the one that was found stuck.
        """
        with self._lock:
            process = self._process
            if process is None or not self._ready.is_set():
                return
            self._set_ready(False)
            self._on_event(f"ComfyUI is killed and started again: {why}")
            _kill_group(process.pid)
            process.wait()
            self._news.set()

    def stop(self) -> None:
        """End it and whatever it started; returns when they are gone."""
        self._stopping = True
        self._news.set()
        if self._thread is not None:
            self._thread.join()
        self._http.close()

    def _supervise(self) -> None:
        failures = 0
        while not self._stopping:
            lived = self._live_once()
            failures = 0 if lived >= self._options.healthy_seconds else failures + 1
            if not self._stopping:
                self._news.clear()
                wait = backoff(failures, self._options.backoff_seconds, self._options.backoff_cap_seconds)
                self._pause(wait)

    def _live_once(self) -> float:
        """One life of the process, from its start to its end; returns for how long it answered."""
        process, leash = self._spawn()
        try:
            if not self._await_ready(process):
                return 0.0
            since = self._clock()
            while process.poll() is None and not self._stopping:
                self._news.wait()
                self._news.clear()
            return self._clock() - since
        finally:
            self._set_ready(False)
            code = self._end(process)
            _slip(leash)
            self._on_event(f"ComfyUI has ended with exit code {code}")

    def _spawn(self) -> tuple[subprocess.Popen[str], subprocess.Popen[bytes]]:
        self._news.clear()
        process = subprocess.Popen(
            command(self._options, self._port),
            cwd=self._options.directory,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        leash = subprocess.Popen(
            ["/bin/sh", "-c", _LEASH, "comfyui-leash", str(process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        with self._lock:
            self._process = process
        self.starts += 1
        self._on_event(f"ComfyUI starts at {self.url}")
        for target in (self._read_output, self._await_end):
            threading.Thread(target=target, args=(process,), name="comfyui-watch", daemon=True).start()
        return process, leash

    def _read_output(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None, "its output is a pipe"
        with process.stdout as output:
            for line in output:
                self._on_output(line.rstrip())

    def _await_end(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        self._news.set()

    def _await_ready(self, process: subprocess.Popen[str]) -> bool:
        end = self._clock() + self._options.ready_seconds
        while process.poll() is None and not self._stopping:
            if self._answers():
                self._set_ready(True)
                self._on_event("ComfyUI answers")
                return True
            if self._clock() >= end:
                self._on_event(f"ComfyUI did not answer within {self._options.ready_seconds:g} s")
                return False
            self._news.wait(_PROBE_SECONDS)
        return False

    def _set_ready(self, ready: bool) -> None:
        self._ready.set() if ready else self._ready.clear()
        self._on_ready(ready)

    def _answers(self) -> bool:
        try:
            self._http.system_stats()
        except ComfyUIAway:
            return False
        return True

    def _pause(self, seconds: float) -> None:
        if seconds and not self._stopping:
            self._on_event(f"ComfyUI is started again in {seconds:g} s")
            self._news.wait(seconds)

    def _end(self, process: subprocess.Popen[str]) -> int:
        """SIGTERM, then SIGKILL; then whatever is left of its group."""
        with suppress(ProcessLookupError):  # it has ended by itself
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(self._options.stop_seconds)
        _kill_group(process.pid)
        return process.wait()


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody of it is left (on macOS: only zombies)
        os.killpg(pid, signal.SIGKILL)


def _slip(leash: subprocess.Popen[bytes]) -> None:
    """End the leash before its pipe closes: by then the group's number may be another's."""
    leash.kill()
    leash.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
