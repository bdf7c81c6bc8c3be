"""One shard's gateway session: what was sent is kept, so that RESUME can replay what a broken connection lost."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from services.sandbox.discord.compression import Compress

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID_SESSION, HELLO, HEARTBEAT_ACK = (
    0,
    1,
    2,
    6,
    7,
    9,
    10,
    11,
)


class Websocket(Protocol):
    """The part of aiohttp's server websocket that is used."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""

    async def send_str(self, data: str) -> None:
        """Send a text frame."""


class Connection:
    """One websocket; frames queue up, so that whoever sends never waits for a slow client."""

    def __init__(self, compress: Compress | None) -> None:
        self._compress = compress
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()

    def send(
        self, op: int, data: Any = None, *, name: str | None = None, sequence: int | None = None
    ) -> None:
        """Queue one event."""
        self._frames.put_nowait(msgspec.json.encode({"op": op, "d": data, "s": sequence, "t": name}))

    async def write_to(self, websocket: Websocket) -> None:
        """Send what is queued, for ever; in order, since one compression stream runs through all frames.

        Raises:
            ConnectionError: the client has gone.
        """
        while True:
            frame = await self._frames.get()
            if self._compress is None:
                await websocket.send_str(frame.decode())
            else:
                await websocket.send_bytes(self._compress(frame))


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One shard's session; it outlives its connections."""

    id: str
    shard: int
    shards: int
    kept_frames: int
    sequence: int = 0
    connection: Connection | None = None
    detached_at: float | None = None
    sent: deque[tuple[int, str, Any]] = field(default_factory=deque)

    def dispatch(self, name: str, data: Any) -> None:
        """Send an event, or keep it for a resume."""
        self.sequence += 1
        self.sent.append((self.sequence, name, data))
        if len(self.sent) > self.kept_frames:
            self.sent.popleft()
        if self.connection is not None:
            self.connection.send(DISPATCH, data, name=name, sequence=self.sequence)

    def can_replay(self, after: int) -> bool:
        """Whether every event after this sequence number is still kept."""
        oldest = self.sent[0][0] if self.sent else self.sequence + 1
        return oldest - 1 <= after <= self.sequence

    def resume(self, connection: Connection, after: int) -> None:
        """Go on over a new connection: first what was missed, then RESUMED."""
        self.connection, self.detached_at = connection, None
        for sequence, name, data in self.sent:
            if sequence > after:
                connection.send(DISPATCH, data, name=name, sequence=sequence)
        self.dispatch("RESUMED", {})

    def detach(self, now: float) -> None:
        """The connection has gone; events wait for a resume."""
        self.connection, self.detached_at = None, now
