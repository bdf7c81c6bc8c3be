"""Files that were sent: their real type and size, and a store in memory that forgets the oldest."""

from __future__ import annotations

import io
import mimetypes
import re
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from PIL import Image, UnidentifiedImageError

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file as it came in a request."""

    filename: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that can be fetched."""

    filename: str
    body: bytes
    content_type: str


class FileStore:
    """Every attachment by its id; used from one event loop."""

    def __init__(self, kept_bytes: int) -> None:
        self.url = ""  #: where the server listens, known once it does
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._files: dict[str, StoredFile] = {}

    def get(self, file_id: str) -> StoredFile | None:
        """A file, unless unknown or forgotten."""
        return self._files.get(file_id)

    def add(self, file_id: str, upload: Upload, *, channel_id: str, description: str = "") -> dict[str, Any]:
        """Keep a file and return it as the API's attachment object."""
        name = safe_name(upload.filename)
        content_type = real_type(upload.body, name)
        self._files[file_id] = StoredFile(filename=name, body=upload.body, content_type=content_type)
        self._bytes += len(upload.body)
        self._forget()
        url = f"{self.url}/attachments/{channel_id}/{file_id}/{quote(name)}"
        attachment: dict[str, Any] = {
            "id": file_id, "filename": name, "size": len(upload.body), "url": url, "proxy_url": url,
            "content_type": content_type,
        }  # fmt: skip
        if size := picture_size(upload.body, content_type):
            attachment |= {"width": size[0], "height": size[1]}
        return attachment | {"description": description} if description else attachment

    def _forget(self) -> None:
        while self._bytes > self._kept_bytes and len(self._files) > 1:
            oldest = next(iter(self._files))
            self._bytes -= len(self._files.pop(oldest).body)


def safe_name(name: str) -> str:
    """A file name as Discord keeps it: no folders, and ``_`` for what is unusual in an address."""
    return re.sub(r"[^\w.()-]+", "_", name.replace("\\", "/").rpartition("/")[2]).strip(".") or "file"


def real_type(body: bytes, name: str) -> str:
    """The content type by the first bytes, else by the name: what the sender declares is not believed."""
    for magic, content_type in _MAGIC:
        if body.startswith(magic):
            return content_type
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    # An image by its name alone is none: nothing could show it.
    return "application/octet-stream" if guessed.startswith("image/") else guessed


def picture_size(body: bytes, content_type: str) -> tuple[int, int] | None:
    """Width and height in pixels, for what is a picture; a PNG's are read without decoding anything."""
    if not content_type.startswith("image/"):
        return None
    if content_type == "image/png" and len(body) >= 24:
        width, height = struct.unpack(">II", body[16:24])
        return width, height
    try:
        with Image.open(io.BytesIO(body)) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError):
        return None
