"""Bytes of pictures: whether they are one, and how they become smaller.  Pure; re-encoding takes CPU time."""

from __future__ import annotations

import io

from services.notifier.policy import Encoding

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
)


class NotAPicture(ValueError):
    """The bytes do not decode as an image."""


def extension_of(data: bytes) -> str | None:
    """What kind of picture the bytes are, by their signature; none for anything else, such as ``null``."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for magic, name in _SIGNATURES if data.startswith(magic)), None)


def reencode(data: bytes, encoding: Encoding) -> bytes:
    """The picture in another encoding, without its metadata.  Blocks for some 100 ms a megapixel.

    Raises:
        NotAPicture: it does not decode, or has a size that the format cannot hold.
    """
    from PIL import Image  # some 20 MB that a process which never shrinks does without

    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            mode = "RGBA" if encoding.format == "WEBP" and image.has_transparency_data else "RGB"
            image.convert(mode).save(buffer, encoding.format, quality=encoding.quality)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotAPicture(f"An image can not be made smaller: {error}") from error
    return buffer.getvalue()
