"""A loopback TCP proxy whose links can be slowed, reset, silenced and half cut."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar, cast

import uvloop

T = TypeVar("T")
_CALL_SECONDS = 10.0
#: A socket that lingers for no time is closed by a reset instead of a farewell.
_NO_LINGER = struct.pack("ii", 1, 0)


class Mode(StrEnum):
    """What a link does with what it is given."""

    PASS = "pass"  #: Everything goes on, after the link's latency.
    RESET = "reset"  #: Connections are reset, and so is every new one.
    BLACKHOLE = "blackhole"  #: Nothing goes on before the link passes again; nobody is told.
    HALF_OPEN = (
        "half_open"  #: The far ends are gone; near ends notice when they send after the link passes again.
    )


class Link:
    """One listening port in front of another; used in its event loop."""

    def __init__(self, far_port: int) -> None:
        self.far_port = far_port
        self.mode = Mode.PASS
        self.latency = 0.0  #: seconds, each way
        self.pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Open it on 127.0.0.1; 0 = any free port.  Returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Pair(self).near, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    def turn(self, mode: Mode, latency: float = 0.0) -> None:
        """Change what it does, at once and for connections that exist."""
        self.mode, self.latency = mode, latency
        for pair in list(self.pairs):
            pair.turn(mode)

    async def close(self) -> None:
        """Reset every connection and stop listening."""
        self.turn(Mode.RESET)
        if self._server is not None:
            self._server.close()


class _Pair:
    """A near connection and the far one that it is passed on to."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.near = _End(self)
        self.far = _End(self)
        self.severed = False  #: the far end was cut off without a word to the near one
        self._connecting: asyncio.Task[None] | None = None

    def arrived(self) -> None:
        """A client has connected."""
        self.link.pairs.add(self)
        self.turn(self.link.mode)

    def turn(self, mode: Mode) -> None:
        """The link's mode has changed, or is met for the first time."""
        silent = mode is Mode.BLACKHOLE
        for end in (self.near, self.far):
            end.hold("blackhole") if silent else end.let_go("blackhole")
        if mode is Mode.RESET:
            self.reset()
        elif mode is Mode.HALF_OPEN:
            self.severed = True
            self.far.reset()
        elif mode is Mode.PASS and not self.severed:
            self._connect()

    def reset(self) -> None:
        """End both connections by a reset."""
        self.near.reset()
        self.far.reset()

    def lost(self, end: _End) -> None:
        """One side has closed: so does the other, unless it is not to know."""
        other = self.other(end)
        if not (self.severed and end is self.far):
            other.close_soon()
        if end is self.near:
            self.link.pairs.discard(self)

    def other(self, end: _End) -> _End:
        """The other side."""
        return self.far if end is self.near else self.near

    def _connect(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._reach())

    async def _reach(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.far, "127.0.0.1", self.link.far_port)
        except OSError:  # nobody listens there: neither does anybody here
            self.near.reset()


class _End(asyncio.Protocol):
    """One side of a pair."""

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair
        self._transport: asyncio.Transport | None = None
        self._holds: set[str] = set()  #: why nothing is read from it
        self._last_due = 0.0  #: when what was given last to this side is written
        self._early: list[bytes] = []  #: given before it was connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._holds:
            self._transport.pause_reading()
        if self is self._pair.near:
            self._pair.arrived()
        elif self._pair.severed or self._pair not in self._pair.link.pairs:
            self.reset()  # the near end has gone meanwhile
        for data in self._early:
            self._transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if not self._pair.severed:
            self._pair.other(self).write_late(data)
        elif self._pair.link.mode is Mode.PASS:
            self.reset()  # the far end's machine answers that it knows no such connection

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._pair.lost(self)

    def pause_writing(self) -> None:
        self._pair.other(self).hold("full")

    def resume_writing(self) -> None:
        self._pair.other(self).let_go("full")

    def hold(self, why: str) -> None:
        """Read nothing from it for now."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds.add(why)

    def let_go(self, why: str) -> None:
        """Read again where nothing else holds it."""
        held = bool(self._holds)
        self._holds.discard(why)
        if held and not self._holds and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def write_late(self, data: bytes) -> None:
        """Write after the link's latency, and never before what was given earlier."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._pair.link.latency
        if self._pair.link.latency == 0.0 and self._last_due < due:
            self._write(data)
            return
        self._last_due = max(due, self._last_due + 1e-6)
        loop.call_at(self._last_due, self._write, data)

    def close_soon(self) -> None:
        """Close once everything that was given is written."""
        loop = asyncio.get_running_loop()
        if self._last_due > loop.time():
            loop.call_at(self._last_due + 1e-6, self._close)
        else:
            self._close()

    def reset(self) -> None:
        """Close by a reset, at once."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Proxy:
    """All links of a run, in a thread with an event loop of its own; the methods are for other threads."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def open(self, name: str, far_port: int, port: int = 0) -> int:
        """Add a link to a port of 127.0.0.1; returns where it listens."""
        link = Link(far_port)
        found = self._await(link.listen(port))
        self._links[name] = link
        return found

    def turn(self, name: str, mode: Mode, latency: float = 0.0) -> None:
        """Change what a link does."""
        self._call(lambda: self._links[name].turn(mode, latency))

    def heal(self) -> None:
        """Let every link pass everything on at once."""
        for name in self._links:
            self.turn(name, Mode.PASS)

    def connections(self, name: str) -> int:
        """How many connections a link has."""
        return self._call(lambda: len(self._links[name].pairs))

    def close(self) -> None:
        """End everything."""
        for link in self._links.values():
            self._await(link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    def _call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return self._await(run())

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_SECONDS)
