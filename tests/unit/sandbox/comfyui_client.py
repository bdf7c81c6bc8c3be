"""A raw client of ComfyUI's protocol, for tests of the loopback server."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

WAIT = 10.0  # seconds: for a frame that must come


class Client:
    """A raw client: one websocket and HTTP."""

    def __init__(self, session: aiohttp.ClientSession, client_id: str) -> None:
        self.session = session
        self.client_id = client_id
        self.socket: aiohttp.ClientWebSocketResponse | None = None

    async def connect(self) -> None:
        """Open the websocket, or one more."""
        self.socket = await self.session.ws_connect(f"/ws?clientId={self.client_id}")

    async def next(self) -> Any:
        """The next frame: a message, or bytes."""
        assert self.socket is not None
        frame = await self.socket.receive(WAIT)
        return frame.data if frame.type is aiohttp.WSMsgType.BINARY else json.loads(frame.data)

    async def until(self, kind: str) -> list[Any]:
        """Every frame up to the first of this type."""
        frames = [await self.next()]
        while isinstance(frames[-1], bytes) or frames[-1]["type"] != kind:
            frames.append(await self.next())
        return frames

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One HTTP call; the body parsed where it is JSON."""
        async with self.session.request(method, path, json=body) as response:
            raw = await response.read()
            return response.status, json.loads(raw) if raw[:1] in (b"{", b"[") else raw

    async def post(self, graph: dict[str, Any], **more: Any) -> Any:
        """Post a prompt that must be taken."""
        status, answer = await self.call(
            "POST", "/prompt", {"prompt": graph, "client_id": self.client_id} | more
        )
        assert status == 200, answer
        return answer

    async def run(self, graph: dict[str, Any], **more: Any) -> list[Any]:
        """Post a prompt and return every frame until ComfyUI goes on from it."""
        await self.post(graph, **more)
        frames: list[Any] = []
        while (
            not frames
            or isinstance(frames[-1], bytes)
            or frames[-1].get("data", {}).get("node", 0) is not None
        ):
            frames.append(await self.next())
        return frames
