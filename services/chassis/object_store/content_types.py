"""The content type of a file, told from its name or its first bytes.  Pure.

Python's ``mimetypes`` is not used: it reads the machine's own tables, so one key would have different types on
different machines.
"""

from __future__ import annotations

OCTETS = "application/octet-stream"
#: How many first bytes `content_type_of` needs.
SNIFFED = 12
_BY_EXTENSION = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "json": "application/json",
    "txt": "text/plain",
}
_BY_MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def content_type_of(key: str, first_bytes: bytes) -> str:
    """By the key's extension; where that says nothing, by the first `SNIFFED` bytes."""
    _, dot, extension = key.rpartition("/")[2].rpartition(".")
    if dot and (known := _BY_EXTENSION.get(extension.lower())):
        return known
    if first_bytes[:4] == b"RIFF" and first_bytes[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _BY_MAGIC if first_bytes.startswith(magic)), OCTETS)
