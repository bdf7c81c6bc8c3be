"""The gateway: one zlib stream per connection, shards, sessions with replay, and the ways in which it breaks."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
import zlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from services.sandbox.discord.world import (
    APPLICATION_ID,
    BOT_TOKEN,
    GUILDS,
    Interaction,
    World,
    bot_user,
    channel_of,
    user_view,
)

HEARTBEAT_MS = 41_250


@dataclass(slots=True)
class Session:
    """One shard's session; survives its sockets, so that RESUME can replay what was missed."""

    id: str
    shard: int
    shards: int
    sent: list[dict[str, Any]] = field(default_factory=list)
    sequence: int = 0
    socket: Socket | None = None


class Socket:
    """A websocket with its compression context."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self.ws = ws
        self._zlib = zlib.compressobj()

    async def send(self, frame: dict[str, Any]) -> None:
        """One JSON frame; Z_SYNC_FLUSH ends it."""
        data = self._zlib.compress(json.dumps(frame).encode()) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        await self.ws.send_bytes(data)


class Gateway:
    """Every shard's session."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions: dict[str, Session] = {}
        self._ids = itertools.count(1)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """``/gw/``: one connection from HELLO to its end."""
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        socket = Socket(ws)
        await socket.send({"op": 10, "d": {"heartbeat_interval": HEARTBEAT_MS}, "s": None, "t": None})
        session: Session | None = None
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    session = await self._frame(socket, session, json.loads(message.data))
        finally:
            if session is not None and session.socket is socket:
                session.socket = None
            self._note_connected()
        return ws

    async def dispatch(self, interaction: Interaction) -> bool:
        """Send INTERACTION_CREATE to the one shard that has the server; whether it is connected now."""
        event = _interaction_event(self._world, interaction)
        for session in list(self._sessions.values()):
            if (int(interaction.guild_id) >> 22) % session.shards == session.shard:
                await self._dispatch(session, "INTERACTION_CREATE", event)
                return session.socket is not None
        return False

    async def disturb(self, how: str) -> None:
        """``reconnect`` (op 7), ``invalidate`` (op 9, not resumable) or ``abort`` every connection."""
        for session in list(self._sessions.values()):
            socket = session.socket
            if socket is None:
                continue
            if how == "reconnect":
                await socket.send({"op": 7, "d": None, "s": None, "t": None})
            elif how == "invalidate":
                del self._sessions[session.id]
                await socket.send({"op": 9, "d": False, "s": None, "t": None})
            elif socket.ws._req is not None and socket.ws._req.transport is not None:
                socket.ws._req.transport.abort()

    async def close(self) -> None:
        """Close every connection, as a server that goes down does."""
        for session in self._sessions.values():
            if session.socket is not None:
                await session.socket.ws.close(code=1001)

    async def _frame(self, socket: Socket, session: Session | None, frame: dict[str, Any]) -> Session | None:
        op, data = frame.get("op"), frame.get("d")
        if op == 1:
            await socket.send({"op": 11, "d": None, "s": None, "t": None})
        elif op == 2:
            return await self._identify(socket, data)
        elif op == 6:
            return await self._resume(socket, data)
        return session

    async def _identify(self, socket: Socket, data: dict[str, Any]) -> Session | None:
        if data.get("token") != BOT_TOKEN:
            await socket.ws.close(code=4004, message=b"Authentication failed.")
            return None
        shard, shards = data.get("shard") or (0, 1)
        for old in [s for s in self._sessions.values() if s.shard == shard and s.socket is None]:
            del self._sessions[old.id]  # the same shard starts anew; its old session will not be resumed
        session = Session(id=uuid.uuid4().hex, shard=shard, shards=shards, socket=socket)
        self._sessions[session.id] = session
        guilds = [guild for guild in GUILDS if (int(guild) >> 22) % shards == shard]
        ready = {
            "v": 10,
            "user": bot_user(),
            "guilds": [{"id": guild, "unavailable": True} for guild in guilds],
            "session_id": session.id,
            "resume_gateway_url": self._world.url.replace("http", "ws") + "/gw/",
            "application": {"id": APPLICATION_ID, "flags": 0},
            "shard": [shard, shards],
        }
        await self._dispatch(session, "READY", ready)
        for guild in guilds:
            await self._dispatch(session, "GUILD_CREATE", _guild(guild))
        self._note_connected()
        return session

    async def _resume(self, socket: Socket, data: dict[str, Any]) -> Session | None:
        session = self._sessions.get(str(data.get("session_id")))
        if session is None:
            await socket.send({"op": 9, "d": False, "s": None, "t": None})
            return None
        session.socket = socket
        for frame in session.sent:
            if frame["s"] > int(data.get("seq") or 0):
                await socket.send(frame)
        await self._dispatch(session, "RESUMED", {})
        self._note_connected()
        return session

    async def _dispatch(self, session: Session, name: str, data: dict[str, Any]) -> None:
        session.sequence += 1
        frame = {"op": 0, "t": name, "s": session.sequence, "d": data}
        session.sent.append(frame)
        del session.sent[:-500]
        if session.socket is not None:
            try:
                await session.socket.send(frame)
            except (ConnectionError, RuntimeError):  # it went away; RESUME will replay
                session.socket = None

    def _note_connected(self) -> None:
        connected = any(session.socket is not None for session in self._sessions.values())
        if connected != self._world.connected:
            self._world.connected = connected
            self._world.tell({"kind": "status", "connected": connected})


def _guild(guild_id: str) -> dict[str, Any]:
    return {
        "id": guild_id,
        "name": f"Demo server {GUILDS.index(guild_id) + 1}",
        "owner_id": "1",
        "member_count": 5,
        "large": False,
        "unavailable": False,
        "roles": [{"id": guild_id, "name": "@everyone", "permissions": "0", "color": 0, "hoist": False,
                   "managed": False, "mentionable": False, "position": 0}],
        "channels": [_channel(guild_id)],
        "members": [], "emojis": [], "stickers": [], "threads": [], "features": [], "voice_states": [],
        "presences": [], "stage_instances": [], "guild_scheduled_events": [],
        "preferred_locale": "en-US", "premium_tier": 0, "nsfw_level": 0, "verification_level": 0,
        "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0, "afk_timeout": 300,
        "system_channel_flags": 0, "premium_progress_bar_enabled": False,
    }  # fmt: skip


def _channel(guild_id: str) -> dict[str, Any]:
    return {
        "id": channel_of(guild_id), "type": 0, "name": "image-lab", "guild_id": guild_id, "position": 0,
        "permission_overwrites": [], "nsfw": False, "topic": None, "last_message_id": None,
        "rate_limit_per_user": 0, "parent_id": None, "permissions": "562949953421311",
    }  # fmt: skip


def _interaction_event(world: World, interaction: Interaction) -> dict[str, Any]:
    command = world.commands[interaction.command]
    files = [option["value"] for option in interaction.options if option["type"] == 11]
    resolved = {"attachments": {file: _resolved(world, file) for file in files}} if files else {}
    return {
        "id": interaction.id,
        "application_id": APPLICATION_ID,
        "type": 2,
        "token": interaction.token,
        "version": 1,
        "guild_id": interaction.guild_id,
        "channel_id": interaction.channel_id,
        "channel": _channel(interaction.guild_id),
        "member": {
            "user": user_view(interaction.user_id), "permissions": "562949953421311", "roles": [],
            "joined_at": "2026-01-01T00:00:00+00:00", "deaf": False, "mute": False, "flags": 0,
        },
        "data": {
            "id": command["id"], "name": interaction.command, "type": 1, "options": interaction.options,
            **({"resolved": resolved} if resolved else {}),
        },
        "locale": "en-US",
        "guild_locale": "en-US",
        "app_permissions": "562949953421311",
        "context": 0,
        "authorizing_integration_owners": {"0": interaction.guild_id},
        "entitlements": [],
        "attachment_size_limit": world.file_limit,
    }  # fmt: skip


def _resolved(world: World, file_id: str) -> dict[str, Any]:
    body, content_type = world.files[file_id]
    name = f"attachment.{content_type.partition('/')[2] or 'bin'}"
    url = f"{world.url}/attachments/{file_id}/{name}"
    return {
        "id": file_id, "filename": name, "size": len(body), "url": url, "proxy_url": url,
        "content_type": content_type, "ephemeral": True,
    }  # fmt: skip


def start_waiting_for_answer(world: World, interaction: Interaction) -> asyncio.Task[None]:
    """After 3 s without an answer the user reads that the application did not respond."""

    async def wait() -> None:
        await asyncio.sleep(3.0)
        if not interaction.answered:
            world.tell({"kind": "failed", "interaction_id": interaction.id, "user_id": interaction.user_id})

    return asyncio.create_task(wait())
