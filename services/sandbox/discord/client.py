"""A synchronous client of the control surface, for tests and benchmarks that run the sandbox as a process."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit


class SandboxRefused(Exception):
    """The sandbox refused; the message is its own."""


class SandboxDiscord:
    """Talks to a running loopback Discord over one kept connection; used from one thread."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._address = urlsplit(self.url).netloc
        self._connection = http.client.HTTPConnection(self._address, timeout=30)

    def submit(self, user_id: str, prompt: str, *, command: str = "serve", **options: Any) -> str:
        """Send ``/serve`` as a user; returns the interaction's id.

        Raises:
            SandboxRefused: the bot is away or has no such command.
        """
        guild_id = str(options.pop("guild_id", ""))
        body = {
            "user_id": user_id,
            "command": command,
            "options": {"prompt": prompt, **options},
            "guild_id": guild_id,
        }
        return str(self._call("POST", "/sandbox/interactions", body)["id"])

    def interactions(self) -> list[dict[str, Any]]:
        """Every interaction with its messages."""
        return list(self._call("GET", "/sandbox/interactions"))

    def interaction(self, interaction_id: str) -> dict[str, Any]:
        """One interaction with its messages."""
        return dict(self._call("GET", f"/sandbox/interactions?id={interaction_id}")[0])

    def messages(self) -> list[dict[str, Any]]:
        """Every message."""
        return list(self._call("GET", "/sandbox/messages"))

    def counters(self) -> dict[str, int]:
        """Calls by route."""
        return dict(self._call("GET", "/sandbox/counters"))

    def arm(self, route: str, status: int = 0, **fault: Any) -> None:
        """Let the next calls of a route fail; see `world.Fault`."""
        self._call("POST", "/sandbox/faults", {"route": route, "status": status, **fault})

    def disarm(self) -> None:
        """Forget every fault."""
        self._call("DELETE", "/sandbox/faults")

    def expire(self, interaction_id: str) -> None:
        """Let the interaction's token be past its 15 minutes."""
        self._call("POST", f"/sandbox/expire/{interaction_id}")

    def disturb_gateway(self, how: str) -> None:
        """``reconnect``, ``invalidate`` or ``abort``."""
        self._call("POST", f"/sandbox/gateway/{how}")

    def limits(self, **limits: float) -> None:
        """Set ``file_limit`` (bytes) or ``token_seconds``."""
        self._call("POST", "/sandbox/limits", limits)

    def wait_until(self, condition: Callable[[dict[str, dict[str, Any]]], Any], seconds: float = 30.0) -> Any:
        """Wait until ``condition`` of all messages by id is true, looking only when one changed.

        Raises:
            AssertionError: the deadline passed first; it shows the last messages.
        """
        end = time.monotonic() + seconds
        feed = http.client.HTTPConnection(self._address, timeout=seconds)
        messages: dict[str, dict[str, Any]] = {}
        try:
            feed.request("GET", "/sandbox/events?all=1")
            stream = feed.getresponse()
            while True:
                line = stream.readline()
                if line.startswith(b"data: "):
                    _apply(messages, json.loads(line[6:]))
                    if result := condition(messages):
                        return result
                if time.monotonic() > end:
                    raise TimeoutError
        except TimeoutError:
            shown = [f"{m['user_id']}: {m['content'][:80]!r}" for m in list(messages.values())[-10:]]
            raise AssertionError(f"Not so within {seconds:g} s; the last messages are {shown}.") from None
        finally:
            feed.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        for attempt in (1, 2):
            try:
                self._connection.request(method, path, data, {"Content-Type": "application/json"})
                answer = self._connection.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, ConnectionError):  # the server closed an idle connection
                self._connection.close()
                if attempt == 2:
                    raise
        if answer.status >= 400:
            raise SandboxRefused(json.loads(text).get("message", text.decode()))
        return json.loads(text) if text else None


def _apply(messages: dict[str, dict[str, Any]], news: dict[str, Any]) -> None:
    if news["kind"] == "snapshot":
        messages.update({m["id"]: m for m in news["messages"]})
    elif news["kind"] == "message":
        messages[news["message"]["id"]] = news["message"]
    elif news["kind"] == "deleted":
        messages.pop(news["id"], None)
