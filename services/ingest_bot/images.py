"""What an attachment really is, by its bytes.  Pure."""

from __future__ import annotations

import io
from dataclasses import dataclass

from services.contracts.errors import ErrorCode
from services.ingest_bot.refusals import CommandError

_TYPES = {"PNG": ("image/png", "png"), "JPEG": ("image/jpeg", "jpg"), "WEBP": ("image/webp", "webp")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKind:
    """The real type of an image, whatever its name says."""

    content_type: str
    extension: str
    width: int  #: pixels
    height: int  #: pixels


def inspect(data: bytes, *, max_bytes: int, max_pixels: int) -> ImageKind:
    """Look at the header only, so that a small file that unpacks to gigabytes costs nothing.

    Raises:
        CommandError: no PNG, JPEG or WebP, or too large.
    """
    from PIL import Image, UnidentifiedImageError  # only those who attach images pay for its import

    if len(data) > max_bytes:
        raise too_large(max_bytes)
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_TYPES)) as image:
            kind, (width, height) = image.format or "", image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise CommandError(
            "The attachment is no PNG, JPEG or WebP image.", ErrorCode.BAD_INPUT_IMAGE
        ) from None
    if width * height > max_pixels:
        raise CommandError(
            f"The attachment has {width} x {height} pixels; at most {max_pixels // 1_000_000} megapixels are taken.",
            ErrorCode.INPUT_IMAGE_TOO_LARGE,
        )
    content_type, extension = _TYPES[kind]
    return ImageKind(content_type=content_type, extension=extension, width=width, height=height)


def too_large(max_bytes: int) -> CommandError:
    """The refusal of an attachment by its size."""
    return CommandError(
        f"The attachment is larger than {max_bytes // (1024 * 1024)} MiB.", ErrorCode.INPUT_IMAGE_TOO_LARGE
    )
