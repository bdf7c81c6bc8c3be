"""A stand-in for a Confluent-compatible schema registry: the two calls of its REST API that the chain makes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Answer = tuple[int, object]


class RegistryServer(ThreadingHTTPServer):
    """Subjects and ids in memory; ``refusal`` makes it answer every call so."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: dict[int, str] = {}
        self.subjects: dict[str, list[int]] = {}
        self.calls: list[str] = []  #: method and path of every call
        self.headers: list[dict[str, str]] = []
        self.refusal: Answer | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def register(self, subject: str, body: dict[str, Any]) -> Answer:
        """``POST /subjects/<subject>/versions``: the id of the schema, new or known."""
        known = next((i for i, text in self.schemas.items() if text == body["schema"]), None)
        schema_id = known or len(self.schemas) + 1
        self.schemas[schema_id] = body["schema"]
        self.subjects.setdefault(subject, []).append(schema_id)
        return 200, {"id": schema_id}

    def look_up(self, schema_id: int) -> Answer:
        """``GET /schemas/ids/<id>``; Avro is the default and so is not named."""
        if schema_id not in self.schemas:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, {"schema": self.schemas[schema_id]}


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: RegistryServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait 40 ms for a delayed acknowledgement

    def do_GET(self) -> None:
        """Look up."""
        self._answer(lambda: self.server.look_up(int(self.path.removeprefix("/schemas/ids/"))))

    def do_POST(self) -> None:
        """Register."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        subject = self.path.removeprefix("/subjects/").removesuffix("/versions")
        self._answer(lambda: self.server.register(subject, body))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, act: Callable[[], Answer]) -> None:
        self.server.calls.append(f"{self.command} {self.path}")
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        status, content = self.server.refusal or act()
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def registry_server() -> Iterator[RegistryServer]:
    """A running stand-in."""
    with RegistryServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
