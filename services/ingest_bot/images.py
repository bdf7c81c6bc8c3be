"""What an attachment really is, by its bytes.  Pure."""

from __future__ import annotations

import io
from dataclasses import dataclass

from services.contracts.errors import ErrorCode
from services.ingest_bot.refusals import CommandError

#: Pillow's formats, as content type and extension.  MPO is what some phones call a JPEG with a second picture in it.
_TYPES = {
    "PNG": ("image/png", "png"),
    "JPEG": ("image/jpeg", "jpg"),
    "MPO": ("image/jpeg", "jpg"),
    "WEBP": ("image/webp", "webp"),
}
_OPENED = ("PNG", "JPEG", "WEBP")
_ORIENTATION = 0x0112  #: EXIF tag
_TURNED = frozenset({5, 6, 7, 8})  #: its values that swap width and height
_LEAST_SIDE = 16  #: pixels; latents have an eighth of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """The real type and size of an image, whatever its name says."""

    content_type: str
    extension: str
    size: tuple[int, int]  #: width and height in pixels, as they are shown


def inspect(data: bytes, *, max_pixels: int) -> ImageFacts:
    """Look at the header only, so that a small file that unpacks to gigabytes costs nothing.

    Raises:
        CommandError: no PNG, JPEG or WebP, an animation, or of a size that is not taken.
    """
    # Only those who attach images pay for its import.  Naming the WebP plugin spares loading all forty.
    from PIL import Image, WebPImagePlugin  # noqa: F401 - registers itself

    try:
        with Image.open(io.BytesIO(data), formats=_OPENED) as image:
            kind, (width, height) = image.format or "", image.size
            moving = kind != "MPO" and getattr(image, "is_animated", False)
            turned = image.getexif().get(_ORIENTATION) in _TURNED
    except Image.DecompressionBombError:
        raise _too_many_pixels(max_pixels) from None
    except (OSError, ValueError, SyntaxError, EOFError):  # Pillow's, for bytes that are no image
        raise _bad("is no PNG, JPEG or WebP image") from None
    if width * height > max_pixels:
        raise _too_many_pixels(max_pixels)
    if min(width, height) < _LEAST_SIDE:
        raise _bad(f"has {width} x {height} pixels; each side needs at least {_LEAST_SIDE}")
    if moving:  # ComfyUI would load every frame as an image of its own
        raise _bad("is an animation; attach a single image")
    content_type, extension = _TYPES[kind]
    return ImageFacts(
        content_type=content_type, extension=extension, size=(height, width) if turned else (width, height)
    )


def too_large(max_bytes: int) -> CommandError:
    """The refusal of an attachment by its size."""
    return CommandError(
        f"The attachment is larger than {max_bytes / 2**20:g} MiB; attach a smaller one.",
        ErrorCode.INPUT_IMAGE_TOO_LARGE,
    )


def _too_many_pixels(max_pixels: int) -> CommandError:
    most = f"{max_pixels / 1e6:g} megapixels"
    return CommandError(
        f"The attachment has more than {most}; attach a smaller one.", ErrorCode.INPUT_IMAGE_TOO_LARGE
    )


def _bad(what: str) -> CommandError:
    return CommandError(f"The attachment {what}.", ErrorCode.BAD_INPUT_IMAGE)
