"""The gateway's transport compression: one stream per connection, flushed after every event."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

Compress = Callable[[bytes], bytes]


class NoSuchCompression(ValueError):
    """The client asked for a compression that this Python cannot do."""


def compressor(kind: str) -> Compress | None:
    """A function from each event's bytes to its frame; none where frames are plain text.

    Raises:
        NoSuchCompression: ``kind`` is neither empty, nor ``zlib-stream``, nor ``zstd-stream`` with a zstd at hand.
    """
    if not kind:
        return None
    if kind == "zlib-stream":
        deflate = zlib.compressobj(level=1)
        return lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    if kind == "zstd-stream":
        return _zstd()
    raise NoSuchCompression(f"{kind!r} is not known; zlib-stream and zstd-stream are.")


def _zstd() -> Compress:
    # discord.py asks for zstd where it finds one of the first two: the standard library's from Python 3.14 on.
    if module := _first("compression.zstd", "backports.zstd"):
        stream = module.ZstdCompressor()
        return lambda data: bytes(stream.compress(data, stream.FLUSH_BLOCK))
    if module := _first("zstandard"):
        other = module.ZstdCompressor().compressobj()
        return lambda data: bytes(other.compress(data) + other.flush(module.COMPRESSOBJ_FLUSH_BLOCK))
    raise NoSuchCompression("zstd-stream needs Python 3.14 or the package zstandard.")


def _first(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
