"""``/metrics``, ``/healthz`` and ``/readyz`` of one process, from a thread of their own.

A thread, so that they answer while the stage is busy; the stage's event loop proves its life by beating.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

#: Silence of the stage's own loop after which ``/healthz`` says 503.
STALE_AFTER_SECONDS = 15.0


class Health:
    """What ``/healthz`` and ``/readyz`` answer: set by the stage, read by the endpoint's thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._beat_at = monotonic()
        self._not_ready: str | None = "starting"
        self._broken: str | None = None

    def beat(self) -> None:
        """Say that the main loop turns."""
        self._beat_at = self._monotonic()

    def ready(self) -> None:
        """Say that the stage does its work."""
        self._not_ready = None

    def not_ready(self, why: str) -> None:
        """Say that the stage is up but does not do its work now."""
        self._not_ready = why

    def broken(self, why: str) -> None:
        """Say that only a restart can help."""
        self._broken = why

    def liveness(self) -> str | None:
        """None when alive, else why not."""
        silent = self._monotonic() - self._beat_at
        if self._broken is None and silent > STALE_AFTER_SECONDS:
            return f"the main loop has not turned for {silent:.0f} s"
        return self._broken

    def readiness(self) -> str | None:
        """None when ready, else why not."""
        return self.liveness() or self._not_ready


class HealthEndpoint:
    """The HTTP server; `start` binds and returns the port."""

    def __init__(self, health: Health, registry: CollectorRegistry, host: str, port: int) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(health, registry))
        self._server.daemon_threads = True

    def start(self) -> int:
        """Serve in a daemon thread; returns the bound port."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()


def _handler(health: Health, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path in ("/healthz", "/readyz"):
                why = health.liveness() if path == "/healthz" else health.readiness()
                body = json.dumps({"ok": why is None, "why": why}).encode()
                self._answer(200 if why is None else 503, body, "application/json")
            else:
                self._answer(404, b"there are /metrics, /healthz and /readyz\n", "text/plain")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass  # a probe every few seconds is not worth a line

    return Handler
