"""An attachment is judged by its bytes: real type, size as shown, no bombs, no animations."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from services.contracts.errors import ErrorCode
from services.ingest_bot.images import ImageFacts, inspect
from services.ingest_bot.refusals import CommandError
from tests.unit.ingest_bot.conversations import picture

MOST = 1_000_000


def _turned() -> bytes:
    """A JPEG whose EXIF says to turn it by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def _animated(format: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that would unpack to ``width`` x ``height`` pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + picture()[33:]


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (picture("PNG"), ImageFacts(content_type="image/png", extension="png", size=(64, 32))),
        (picture("JPEG"), ImageFacts(content_type="image/jpeg", extension="jpg", size=(64, 32))),
        (picture("WEBP"), ImageFacts(content_type="image/webp", extension="webp", size=(64, 32))),
        (_turned(), ImageFacts(content_type="image/jpeg", extension="jpg", size=(32, 64))),
        (_animated("MPO"), ImageFacts(content_type="image/jpeg", extension="jpg", size=(32, 32))),
    ],
    ids=["png", "jpeg", "webp", "turned jpeg", "two-picture jpeg"],
)
def test_an_image_is_known_by_its_bytes(data: bytes, facts: ImageFacts) -> None:
    """Type, extension, and the size in which people see it."""
    assert inspect(data, max_pixels=MOST) == facts


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", ErrorCode.BAD_INPUT_IMAGE, "is no PNG, JPEG or WebP image"),
        (b"<svg xmlns='x'/>", ErrorCode.BAD_INPUT_IMAGE, "is no PNG, JPEG or WebP image"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, ErrorCode.BAD_INPUT_IMAGE, "is no PNG, JPEG or WebP image"),
        (picture("JPEG")[:40], ErrorCode.BAD_INPUT_IMAGE, "is no PNG, JPEG or WebP image"),
        (picture("GIF"), ErrorCode.BAD_INPUT_IMAGE, "is no PNG, JPEG or WebP image"),
        (picture("BMP"), ErrorCode.BAD_INPUT_IMAGE, "is no PNG, JPEG or WebP image"),
        (_animated("PNG"), ErrorCode.BAD_INPUT_IMAGE, "is an animation"),
        (_animated("WEBP"), ErrorCode.BAD_INPUT_IMAGE, "is an animation"),
        (picture(size=(15, 400)), ErrorCode.BAD_INPUT_IMAGE, "has 15 x 400 pixels"),
        (picture(size=(1001, 1000)), ErrorCode.INPUT_IMAGE_TOO_LARGE, "more than 1 megapixels"),
        (_png_that_claims(40_000, 40_000), ErrorCode.INPUT_IMAGE_TOO_LARGE, "more than 1 megapixels"),
        (_png_that_claims(2**31 - 1, 2**31 - 1), ErrorCode.INPUT_IMAGE_TOO_LARGE, "more than 1 megapixels"),
    ],
)
def test_what_is_no_single_image_of_a_taken_size_is_refused(data: bytes, code: ErrorCode, said: str) -> None:
    """By its header alone: nothing is unpacked."""
    with pytest.raises(CommandError) as caught:
        inspect(data, max_pixels=MOST)
    assert said in caught.value.message
    assert caught.value.code is code
