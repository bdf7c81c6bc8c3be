"""The spot notice, from a loopback metadata service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.gpu_worker import spot
from services.gpu_worker.spot import SpotWatch
from tests.harness.waiting import eventually

TOKEN = "session-token"


class Metadata:
    """An instance's metadata service; nothing is announced until the test says so."""

    def __init__(self) -> None:
        self.status = 404
        self.sessions_needed = False
        self.asked = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                known = service.sessions_needed and self.path == "/latest/api/token"
                self._answer(200 if known else 405, TOKEN.encode() if known else b"")

            def do_GET(self) -> None:
                service.asked += 1
                has_session = self.headers.get("X-aws-ec2-metadata-token") == TOKEN
                refused = service.sessions_needed and not has_session
                self._answer(401 if refused else service.status, b'{"action": "terminate"}')

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/latest/meta-data/spot/instance-action"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    """A metadata service, asked a hundred times a second."""
    monkeypatch.setattr(spot, "CHECK_SECONDS", 0.01)
    served = Metadata()
    yield served
    served.close()


@pytest.fixture
def reclaimed(metadata: Metadata) -> Iterator[threading.Event]:
    """What a watch on the service sets."""
    announced = threading.Event()
    watch = SpotWatch(metadata.url, announced.set)
    watch.start()
    yield announced
    watch.stop()


@pytest.mark.parametrize("sessions_needed", [False, True], ids=["plain", "with sessions"])
def test_an_announced_end_is_noticed(
    metadata: Metadata, reclaimed: threading.Event, sessions_needed: bool
) -> None:
    """Both with the session token that newer instances ask for and without."""
    metadata.sessions_needed = sessions_needed
    metadata.status = 200
    assert reclaimed.wait(10)


@pytest.mark.parametrize("status", [404, 401, 500])
def test_what_is_no_announcement_ends_nothing(
    metadata: Metadata, reclaimed: threading.Event, status: int
) -> None:
    """Neither is nothing announced, nor a service that has a fault."""
    metadata.status = status
    target = metadata.asked + 3
    eventually(lambda: metadata.asked >= target)
    assert not reclaimed.is_set()


def test_a_service_that_is_not_there_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be late, on a machine that has just started."""
    monkeypatch.setattr(spot, "CHECK_SECONDS", 0.01)
    served, announced = Metadata(), threading.Event()
    watch = SpotWatch(served.url, announced.set)
    served.close()
    watch.start()
    eventually(lambda: watch._said)
    assert not announced.is_set()
    watch.stop()
