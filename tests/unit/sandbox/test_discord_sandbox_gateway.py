"""Sessions and compression of the loopback Discord's gateway, without sockets."""

from __future__ import annotations

import asyncio
import importlib.util
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.sandbox.discord.compression import NoSuchCompression, compressor
from services.sandbox.discord.places import DIRECT, GUILDS, shard_of
from services.sandbox.discord.sessions import Connection, Session

HAS_ZSTD = any(importlib.util.find_spec(name) for name in ("zstandard",)) or (
    importlib.util.find_spec("backports") is not None
    and importlib.util.find_spec("backports.zstd") is not None
)


class RecordingSocket:
    """A websocket that keeps what is sent, and lets a test wait for it."""

    def __init__(self, wanted: int) -> None:
        self.frames: list[dict[str, Any]] = []
        self.complete = asyncio.Event()
        self._wanted = wanted

    async def send_str(self, data: str) -> None:
        """Keep a text frame."""
        self.frames.append(msgspec.json.decode(data))
        if len(self.frames) == self._wanted:
            self.complete.set()

    async def send_bytes(self, data: bytes) -> None:
        """Compression is not what these tests are about."""
        raise AssertionError("text frames were expected")


async def sent_over(connection: Connection, wanted: int) -> list[dict[str, Any]]:
    """The first frames that a connection sends."""
    socket = RecordingSocket(wanted)
    writer = asyncio.create_task(connection.write_to(socket))
    async with asyncio.timeout(5):
        await socket.complete.wait()
    writer.cancel()
    return socket.frames


def session(kept_frames: int = 10) -> Session:
    """A session without a connection."""
    return Session(id="s", shard=0, shards=1, kept_frames=kept_frames)


async def test_a_resume_replays_what_came_after() -> None:
    """Every event after the client's last one, in order and with its old number, then RESUMED."""
    kept = session()
    for number in range(1, 5):
        kept.dispatch("INTERACTION_CREATE", number)
    connection = Connection(None)
    kept.resume(connection, after=2)
    frames = await sent_over(connection, 3)
    assert [(frame["s"], frame["t"], frame["d"]) for frame in frames] == [
        (3, "INTERACTION_CREATE", 3),
        (4, "INTERACTION_CREATE", 4),
        (5, "RESUMED", {}),
    ]


@pytest.mark.parametrize(("after", "possible"), [(0, False), (1, True), (3, True), (4, False)])
def test_a_session_that_forgot_events_cannot_be_resumed_from_before_them(after: int, possible: bool) -> None:
    """Two of three events are kept, so a client that saw none must begin anew; nobody saw a fourth."""
    kept = session(kept_frames=2)
    for number in range(3):
        kept.dispatch("INTERACTION_CREATE", number)
    assert kept.can_replay(after) is possible


def test_every_server_has_one_shard_of_three() -> None:
    """Discord's formula spreads the demo's servers; direct messages go to the first shard."""
    assert [shard_of(guild_id, 3) for guild_id in GUILDS] == [0, 1, 2]
    assert {shard_of(guild_id, 1) for guild_id in GUILDS} == {0}
    assert shard_of(DIRECT, 3) == 0


def zlib_reader() -> Callable[[bytes], bytes]:
    """What a client decompresses with."""
    return zlib.decompressobj().decompress


def zstd_reader() -> Callable[[bytes], bytes]:
    """What a client decompresses with."""
    from backports import zstd  # type: ignore[import-not-found,unused-ignore] # it may be missing

    reader: Callable[[bytes], bytes] = zstd.ZstdDecompressor().decompress
    return reader


@pytest.mark.parametrize(
    ("kind", "reader"),
    [
        ("zlib-stream", zlib_reader),
        pytest.param(
            "zstd-stream",
            zstd_reader,
            marks=pytest.mark.skipif(not HAS_ZSTD, reason="no zstd for Python is installed"),
        ),
    ],
)
def test_one_stream_compresses_every_event_to_its_end(kind: str, reader: Callable[[], Any]) -> None:
    """Each frame can be read when it arrives, and the second refers to the first."""
    compress, read = compressor(kind), reader()
    assert compress is not None
    event = b'{"op":0,"d":"' + b"abcdefgh" * 40 + b'"}'
    first, second = compress(event), compress(event)
    assert (read(first), read(second)) == (event, event)
    assert len(second) < len(first)


def test_an_unknown_compression_is_refused() -> None:
    """And none means plain text."""
    assert compressor("") is None
    with pytest.raises(NoSuchCompression, match="zlib-stream"):
        compressor("brotli")
