"""Smaller files of the same pictures, for where Discord takes no more.  Pure, slow: call it in a thread."""

from __future__ import annotations

import io
from collections.abc import Iterator

from services.notifier.ports import File

#: Tried in this order; WebP keeps more at the same size, JPEG is what every client shows.
_STEPS = (("WEBP", 90), ("WEBP", 80), ("WEBP", 60), ("JPEG", 60), ("JPEG", 35))


def fits(files: tuple[File, ...], limit: int) -> bool:
    """Whether one message may carry them; some room is left for the rest of the request."""
    return sum(len(file.data) for file in files) <= limit - 16 * 1024


def smaller(files: tuple[File, ...]) -> Iterator[tuple[File, ...]]:
    """The same pictures, ever smaller."""
    from PIL import Image  # only large images pay for its import

    pictures = [Image.open(io.BytesIO(file.data)).convert("RGB") for file in files]
    for kind, quality in _STEPS:
        yield tuple(
            File(
                name=f"{file.name.rpartition('.')[0]}.{'jpg' if kind == 'JPEG' else 'webp'}",
                data=_encoded(p, kind, quality),
            )
            for file, p in zip(files, pictures, strict=True)
        )


def fitted(files: tuple[File, ...], limit: int) -> tuple[File, ...] | None:
    """The first of `smaller` that fits, or none."""
    return next((tried for tried in smaller(files) if fits(tried, limit)), None)


def _encoded(picture: object, kind: str, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, quality=quality)  # type: ignore[attr-defined]
    return out.getvalue()
