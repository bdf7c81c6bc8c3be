"""The gateway: shards, sessions that can be resumed, and the ways in which it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from enum import StrEnum
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from services.sandbox.discord import views
from services.sandbox.discord.compression import NoSuchCompression, compressor
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.places import APPLICATION_ID, GUILDS, bot_user, guild, shard_of
from services.sandbox.discord.sessions import (
    HEARTBEAT,
    HEARTBEAT_ACK,
    HELLO,
    IDENTIFY,
    INVALID_SESSION,
    RECONNECT,
    RESUME,
    Connection,
    Session,
)
from services.sandbox.discord.world import World


class Disturbance(StrEnum):
    """How the gateway breaks on demand."""

    RECONNECT = "reconnect"  #: op 7: the client should connect again and resume.
    INVALIDATE = "invalidate"  #: op 9: the session is over; what was sent meanwhile is lost, as on Discord.
    ABORT = "abort"  #: The connection breaks without a close frame; the session can be resumed.


class _Refused(Exception):
    """The gateway closes the connection: one of Discord's close codes, and why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Gateway:
    """Every shard's session."""

    def __init__(self, world: World) -> None:
        self.url = ""  #: known once the server listens
        self._world = world
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[Connection, tuple[web.WebSocketResponse, web.Request]] = {}

    def connected(self, guild_id: str) -> bool:
        """Whether the shard of a server is connected now."""
        return any(session.connection is not None for session in self._of(guild_id))

    def reachable(self, guild_id: str) -> bool:
        """Whether the shard of a server is connected, or may come back and resume."""
        self._drop_stale()
        return bool(self._of(guild_id))

    def dispatch(self, interaction: Interaction) -> None:
        """Send INTERACTION_CREATE to the sessions of the one shard that has the server, for now or for a resume."""
        asked = self._world.interaction_behind(interaction.pressed) if interaction.pressed else None
        event = views.interaction_create(interaction, self._world.limits.file_limit, asked)
        for session in self._of(interaction.guild_id):
            session.dispatch("INTERACTION_CREATE", event)

    def disturb(self, how: Disturbance, shard: int | None = None) -> None:
        """Break every connection, or those of one shard."""
        for session in list(self._sessions.values()):
            connection = session.connection
            if connection is None or shard not in (None, session.shard):
                continue
            if how is Disturbance.RECONNECT:
                connection.send(RECONNECT)
            elif how is Disturbance.INVALIDATE:
                del self._sessions[session.id]
                connection.send(INVALID_SESSION, False)
            elif (transport := self._sockets[connection][1].transport) is not None:
                transport.abort()

    async def close(self) -> None:
        """Close every connection, as a server that goes down does."""
        for websocket, _ in list(self._sockets.values()):
            await websocket.close(code=WSCloseCode.GOING_AWAY)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """``/gw/``: one connection from HELLO to its end."""
        websocket = web.WebSocketResponse(compress=False, max_msg_size=1 << 16)
        await websocket.prepare(request)
        try:
            connection = Connection(compressor(request.query.get("compress", "")))
        except NoSuchCompression as error:
            await websocket.close(code=4002, message=str(error).encode())
            return websocket
        self._sockets[connection] = websocket, request
        writer = asyncio.create_task(connection.write_to(websocket))
        try:
            await self._converse(websocket, connection)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await writer
            del self._sockets[connection]
            self._detach(connection, websocket.close_code)
        return websocket

    async def _converse(self, websocket: web.WebSocketResponse, connection: Connection) -> None:
        connection.send(HELLO, {"heartbeat_interval": round(self._world.settings.heartbeat_seconds * 1000)})
        try:
            async for message in websocket:
                if message.type is WSMsgType.TEXT:
                    self._hear(connection, _decode(message.data))
        except _Refused as refused:
            await websocket.close(code=refused.code, message=refused.reason.encode())

    def _hear(self, connection: Connection, frame: dict[str, Any]) -> None:
        op, data = frame.get("op"), frame.get("d")
        if op == HEARTBEAT:
            connection.send(HEARTBEAT_ACK)
        elif op in (IDENTIFY, RESUME):
            if self._session_of(connection) is not None:
                raise _Refused(4005, "Already authenticated.")
            data = data if isinstance(data, dict) else {}
            if data.get("token") != self._world.settings.bot_token:
                raise _Refused(4004, "Authentication failed.")
            self._identify(connection, data) if op == IDENTIFY else self._resume(connection, data)
        elif self._session_of(connection) is None:
            raise _Refused(4003, "Not authenticated.")

    def _identify(self, connection: Connection, data: dict[str, Any]) -> None:
        shard, shards = data.get("shard") or (0, 1)
        if not 0 <= shard < shards:
            raise _Refused(4010, "Invalid shard.")
        self._drop_stale()
        session = Session(
            id=secrets.token_hex(16),
            shard=shard,
            shards=shards,
            kept_frames=self._world.settings.kept_frames,
            connection=connection,
        )
        self._sessions[session.id] = session
        mine = [guild_id for guild_id in GUILDS if shard_of(guild_id, shards) == shard]
        ready = {
            "v": 10,
            "user": bot_user(),
            "guilds": [{"id": guild_id, "unavailable": True} for guild_id in mine],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": self.url,
            "shard": [shard, shards],
            "application": {"id": APPLICATION_ID, "flags": 0},
        }
        session.dispatch("READY", ready)
        for guild_id in mine:
            session.dispatch("GUILD_CREATE", guild(guild_id))
        self._tell_status()

    def _resume(self, connection: Connection, data: dict[str, Any]) -> None:
        session = self._sessions.get(str(data.get("session_id")))
        after = data.get("seq") or 0
        if session is None or not isinstance(after, int) or not session.can_replay(after):
            connection.send(INVALID_SESSION, False)
            return
        session.resume(connection, after)
        self._tell_status()

    def _detach(self, connection: Connection, close_code: int | None) -> None:
        session = self._session_of(connection)
        if session is None:
            return
        session.detach(time.monotonic())
        if close_code in (WSCloseCode.OK, WSCloseCode.GOING_AWAY):
            self._sessions.pop(session.id, None)  # so a bot signs off for good
        self._tell_status()

    def _drop_stale(self) -> None:
        oldest = time.monotonic() - self._world.settings.resume_seconds
        for session in list(self._sessions.values()):
            if session.detached_at is not None and session.detached_at < oldest:
                del self._sessions[session.id]

    def _session_of(self, connection: Connection) -> Session | None:
        return next((s for s in self._sessions.values() if s.connection is connection), None)

    def _of(self, guild_id: str) -> list[Session]:
        """All sessions of the server's shard: Discord, too, tells every one, should a shard run twice."""
        return [s for s in self._sessions.values() if shard_of(guild_id, s.shards) == s.shard]

    def _tell_status(self) -> None:
        connected = [guild_id for guild_id in GUILDS if self.connected(guild_id)]
        self._world.feed.tell({"kind": "status", "connected": connected})


def _decode(text: str) -> dict[str, Any]:
    try:
        frame = msgspec.json.decode(text)
    except msgspec.DecodeError:
        frame = None
    if not isinstance(frame, dict):
        raise _Refused(4002, "Error while decoding payload.")
    return frame
