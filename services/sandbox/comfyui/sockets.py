"""Who hears what: the websockets of the loopback ComfyUI, with the original's habits.

One socket per client id.  A reconnect takes the id over; when any socket of that id then closes, the id is
forgotten, so closing the *old* socket silences the new one, as it does in ComfyUI.
"""

from __future__ import annotations

import asyncio
import struct
import uuid
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

FEATURES = {"supports_preview_metadata": True, "max_upload_size": 100 * 1024 * 1024}
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_FORMATS = {"image/jpeg": 1, "image/png": 2}


class Sockets:
    """The open websockets by client id."""

    def __init__(self) -> None:
        self._open: dict[str, web.WebSocketResponse] = {}
        self._flags: dict[str, dict[str, Any]] = {}
        self._transports: dict[str, asyncio.Transport] = {}
        self.active_client: str | None = None  #: whose job runs now
        self.active_node: str | None = None  #: the node that it is at

    async def serve(self, request: web.Request, status: dict[str, Any]) -> web.WebSocketResponse:
        """Keep one client's socket until it closes."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        self._open[client] = socket
        self._flags[client] = {}
        if request.transport is not None:
            self._transports[client] = request.transport
        try:
            await self.send("status", {**status, "sid": client}, client)
            if client == self.active_client and self.active_node is not None:
                await self.send("executing", {"node": self.active_node}, client)
            await self._listen(socket, client)
        finally:
            self._open.pop(client, None)
            self._flags.pop(client, None)
            self._transports.pop(client, None)
        return socket

    async def _listen(self, socket: web.WebSocketResponse, client: str) -> None:
        first = True
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            flags = _feature_flags(message.data) if first else None
            if flags is not None:
                self._flags[client] = flags
                await self.send("feature_flags", FEATURES, client)
                first = False

    async def send(self, kind: str, data: dict[str, Any], client: str | None = None) -> None:
        """Send one event to a client, or to all where ``client`` is None."""
        text = msgspec.json.encode({"type": kind, "data": data}).decode()
        for socket in self._of(client):
            try:
                await socket.send_str(text)
            except ConnectionError:
                pass  # The client is gone; its handler forgets it.

    async def send_preview(
        self, image: bytes, mime: str, metadata: dict[str, Any], client: str | None
    ) -> None:
        """Send an image as a binary frame, with metadata where the client has asked for that."""
        for name in [client] if client is not None else list(self._open):
            frame = _preview_frame(image, mime, metadata if self.wants_metadata(name) else None)
            for socket in self._of(name):
                try:
                    await socket.send_bytes(frame)
                except ConnectionError:
                    pass  # As above.

    def wants_metadata(self, client: str | None) -> bool:
        """Whether the client negotiated previews with metadata."""
        return bool(client and self._flags.get(client, {}).get("supports_preview_metadata"))

    def cut(self, client: str | None) -> None:
        """Break a client's connection without a close frame."""
        if client in self._transports:
            self._transports[client].abort()

    def forget(self, client: str | None) -> None:
        """Send a client nothing more, though its socket stays open: what a late close of an older one does."""
        self._open.pop(client or "", None)

    async def close(self) -> None:
        """Say goodbye to everybody."""
        for socket in list(self._open.values()):
            await socket.close()

    def _of(self, client: str | None) -> list[web.WebSocketResponse]:
        if client is None:
            return list(self._open.values())
        return [self._open[client]] if client in self._open else []


def _feature_flags(text: str) -> dict[str, Any] | None:
    try:
        message = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    if isinstance(message, dict) and message.get("type") == "feature_flags":
        return dict(message.get("data") or {})
    return None


def _preview_frame(image: bytes, mime: str, metadata: dict[str, Any] | None) -> bytes:
    if metadata is None:
        return struct.pack(">II", _PREVIEW, _FORMATS[mime]) + image
    text = msgspec.json.encode({**metadata, "image_type": mime})
    return struct.pack(">II", _PREVIEW_WITH_METADATA, len(text)) + text + image
