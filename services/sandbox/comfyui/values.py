"""What flows along the links of a graph in the loopback ComfyUI, and how a node fails."""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

#: Bytes of the PNG signature and the IHDR chunk, after which a text chunk may stand.
_AFTER_HEADER = 33


class NodeError(Exception):
    """A node raised at run time; reported as ComfyUI reports it, under the type's full name."""

    def __init__(self, exception_type: str, message: str) -> None:
        super().__init__(message)
        self.exception_type = exception_type
        self.message = message


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a batch, either as pixels or, in instant mode, as finished PNG bytes."""

    pixels: Image.Image
    ready: bytes | None = None


@dataclass(frozen=True, slots=True)
class Latent:
    """A batch of pictures to be: what to draw, how large, and over what."""

    width: int  #: pixels of the decoded picture
    height: int
    batch: int
    prompt: str = ""
    seed: int | None = None  #: None until a sampler ran
    denoise: float = 1.0
    base: tuple[Picture, ...] = ()  #: pictures that an image-to-image run starts from

    def sampled(self, prompt: str, seed: int, denoise: float) -> Latent:
        """After a sampler: a second pass, as in hires fix, refines and keeps the first pass's picture."""
        if self.seed is not None and not self.base:
            return self
        return replace(self, prompt=prompt, seed=seed, denoise=denoise)


def png_bytes(picture: Picture, graph: dict[str, Any]) -> bytes:
    """Encode as ComfyUI does, with the whole graph in a ``prompt`` text chunk."""
    plain = picture.ready
    if plain is None:
        buffer = io.BytesIO()
        picture.pixels.save(buffer, "PNG", compress_level=4)
        plain = buffer.getvalue()
    chunk = b"tEXt" + b"prompt\0" + json.dumps(graph).encode("ascii")
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return plain[:_AFTER_HEADER] + framed + plain[_AFTER_HEADER:]
