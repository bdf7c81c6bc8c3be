"""A synchronous client of the control surface, for tests and benchmarks that run the sandbox as a process."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

Uploads = Mapping[str, tuple[str, bytes]]
"""File name and bytes by the option's name."""


class SandboxRefused(Exception):
    """The sandbox refused; the message is its own."""


class SandboxDiscord:
    """Talks to a running loopback Discord over one kept connection; used from one thread."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._address = urlsplit(self.url).netloc
        self._connection = http.client.HTTPConnection(self._address, timeout=30)

    def submit(
        self,
        user_id: str,
        prompt: str = "",
        *,
        command: str = "serve",
        guild_id: str = "",
        uploads: Uploads | None = None,
        **options: Any,
    ) -> str:
        """Send ``/serve`` as a user; returns the interaction's id.

        Raises:
            SandboxRefused: the bot is away, or has no such command or option.
        """
        values = {"prompt": prompt, **options} if prompt else options
        body = {"user_id": user_id, "command": command, "options": values, "guild_id": guild_id}
        return str(self._call("POST", "/sandbox/interactions", body, uploads)["id"])

    def press(self, user_id: str, message: Mapping[str, Any], label: str = "Cancel") -> str:
        """Press a button of a message as a user; returns the interaction's id.

        Raises:
            SandboxRefused: there is no such message or button.
        """
        buttons = [button for row in message["components"] for button in row["components"]]
        custom_id = next((b["custom_id"] for b in buttons if b.get("label") == label), "")
        body = {"user_id": user_id, "message_id": message["id"], "custom_id": custom_id}
        return str(self._call("POST", "/sandbox/presses", body)["id"])

    def interactions(self) -> list[dict[str, Any]]:
        """Every interaction with its messages, deleted ones too."""
        return list(self._call("GET", "/sandbox/interactions"))

    def interaction(self, interaction_id: str) -> dict[str, Any]:
        """One interaction with its messages.

        Raises:
            SandboxRefused: there is none.
        """
        return dict(self._call("GET", f"/sandbox/interactions?id={interaction_id}")[0])

    def messages(self) -> list[dict[str, Any]]:
        """Every message that was not deleted."""
        return list(self._call("GET", "/sandbox/messages"))

    def counters(self) -> dict[str, int]:
        """Calls by route; ``failed`` counts commands that nobody answered in time."""
        return dict(self._call("GET", "/sandbox/counters"))

    def connected(self) -> list[str]:
        """The servers whose shard is connected."""
        return list(self._call("GET", "/sandbox/state?limit=1")["connected"])

    def arm(self, route: str, status: int = 0, **fault: Any) -> None:
        """Let the next calls of a route fail; the fields are those of `faults.Fault`."""
        self._call("POST", "/sandbox/faults", {"route": route, "status": status, **fault})

    def disarm(self) -> None:
        """Forget every fault."""
        self._call("DELETE", "/sandbox/faults")

    def expire(self, interaction_id: str) -> None:
        """Let the interaction's token be past its 15 minutes."""
        self._call("POST", f"/sandbox/expire/{interaction_id}")

    def disturb_gateway(self, how: str, shard: int | None = None) -> None:
        """``reconnect``, ``invalidate`` or ``abort``, for every shard or one."""
        self._call("POST", f"/sandbox/gateway/{how}" + ("" if shard is None else f"?shard={shard}"))

    def limits(self, **limits: float) -> None:
        """Set limits; the fields are those of `settings.Limits`."""
        self._call("POST", "/sandbox/limits", limits)

    def advance(self, seconds: float) -> None:
        """Let time pass at once for tokens, answers and nonces."""
        self._call("POST", "/sandbox/clock", {"seconds": seconds})

    def wait_until(self, condition: Callable[[dict[str, dict[str, Any]]], Any], seconds: float = 30.0) -> Any:
        """Wait until ``condition`` of all messages by id is true, looking only when something changed.

        Raises:
            AssertionError: the deadline passed first; it shows the last messages.
        """
        messages: dict[str, dict[str, Any]] = {}
        feed = http.client.HTTPConnection(self._address, timeout=seconds)
        try:
            for news in _events(feed, time.monotonic() + seconds):
                _apply(messages, news)
                if result := condition(messages):
                    return result
        except TimeoutError:
            pass
        finally:
            feed.close()
        shown = [f"{m['user_id']}: {m['content'][:80]!r}" for m in list(messages.values())[-10:]]
        raise AssertionError(f"Not so within {seconds:g} s; the last messages are {shown}.")

    def wait_until_connected(self, seconds: float = 30.0) -> list[str]:
        """Wait until some shard is connected, and return the connected servers.

        Raises:
            AssertionError: the deadline passed first.
        """
        feed = http.client.HTTPConnection(self._address, timeout=seconds)
        try:
            for news in _events(feed, time.monotonic() + seconds, limit=1):
                if news.get("connected"):
                    return list(news["connected"])
        except TimeoutError:
            pass
        finally:
            feed.close()
        raise AssertionError(f"No bot connected within {seconds:g} s.")

    def _call(self, method: str, path: str, body: Any = None, uploads: Uploads | None = None) -> Any:
        data, content_type = _encoded(body, uploads)
        self._reconnect_if_closed()
        self._connection.request(method, path, data, {"Content-Type": content_type})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise SandboxRefused(json.loads(text).get("message", text.decode()))
        return json.loads(text) if text else None

    def _reconnect_if_closed(self) -> None:
        """The server closes idle connections; a call is never sent twice to find out."""
        sock = self._connection.sock
        if sock is None:
            return
        sock.setblocking(False)
        try:
            gone = sock.recv(1) == b""
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        sock.settimeout(30)
        if gone:
            self._connection.close()


def _events(feed: http.client.HTTPConnection, end: float, limit: int = 0) -> Iterator[dict[str, Any]]:
    """The live feed's events until ``end``.

    Raises:
        TimeoutError: nothing came in time.
    """
    feed.request("GET", "/sandbox/events" + (f"?limit={limit}" if limit else ""))
    sock = feed.sock
    stream = feed.getresponse()
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        line = stream.readline()
        if not line:
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
    raise TimeoutError


def _apply(messages: dict[str, dict[str, Any]], news: dict[str, Any]) -> None:
    if news["kind"] == "snapshot":
        messages.update({message["id"]: message for message in news["messages"]})
    elif news["kind"] == "message":
        messages[news["message"]["id"]] = news["message"]
    elif news["kind"] == "deleted":
        messages.pop(news["id"], None)


def _encoded(body: Any, uploads: Uploads | None) -> tuple[bytes | None, str]:
    payload = None if body is None else json.dumps(body).encode()
    if not uploads:
        return payload, "application/json"
    boundary = secrets.token_hex(16).encode()
    parts = [(b'name="payload_json"', payload or b"{}")]
    parts += [
        (f'name="{option}"; filename="{name}"'.encode(), data) for option, (name, data) in uploads.items()
    ]
    form = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (boundary, head, data)
        for head, data in parts
    )
    return form + b"--%b--\r\n" % boundary, f"multipart/form-data; boundary={boundary.decode()}"
