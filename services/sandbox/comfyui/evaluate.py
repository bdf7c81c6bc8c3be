"""What each node class computes in the loopback ComfyUI.  Pure but for the files that nodes read and write."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import Image, ImageColor, UnidentifiedImageError

from services.sandbox.comfyui.cache import Entry
from services.sandbox.comfyui.files import HOME, FileKey, Files
from services.sandbox.comfyui.painting import paint
from services.sandbox.comfyui.values import Latent, NodeError, Picture, png_bytes


class Bench(NamedTuple):
    """What a node may use beside its inputs."""

    files: Files
    graph: dict[str, Any]  #: the whole posted graph, which saved images embed
    instant: bool


Inputs = dict[str, Any]
Evaluate = Callable[[Inputs, Bench], Entry]

#: Classes whose work takes long enough that it must not hold up the event loop.
HEAVY = frozenset({"VAEDecode", "VAEEncode", "LoadImage", "ImageScale", "SaveImage", "PreviewImage"})


def evaluate(class_type: str, inputs: Inputs, bench: Bench) -> Entry:
    """Run one node.

    Raises:
        NodeError: it fails, as the real one would.
    """
    return _NODES[class_type](inputs, bench)


def _load_checkpoint(inputs: Inputs, bench: Bench) -> Entry:
    name = inputs["ckpt_name"]
    return Entry((name, name, name), None)


def _load_lora(inputs: Inputs, bench: Bench) -> Entry:
    return Entry((inputs["model"], inputs["clip"]), None)


def _pass_clip(inputs: Inputs, bench: Bench) -> Entry:
    return Entry((inputs["clip"],), None)


def _encode_text(inputs: Inputs, bench: Bench) -> Entry:
    return Entry((inputs["text"],), None)


def _empty_latent(inputs: Inputs, bench: Bench) -> Entry:
    # Eight pixels are one latent cell, so sizes are cut to multiples of eight.
    width, height = (inputs[side] // 8 * 8 for side in ("width", "height"))
    return Entry((Latent(width, height, inputs["batch_size"]),), None)


def _sample(inputs: Inputs, bench: Bench) -> Entry:
    latent: Latent = inputs["latent_image"]
    return Entry((latent.sampled(inputs["positive"], inputs["seed"], inputs["denoise"]),), None)


def _repeat(inputs: Inputs, bench: Bench) -> Entry:
    latent: Latent = inputs["samples"]
    times = inputs["amount"]
    return Entry((replace(latent, batch=latent.batch * times, base=latent.base * times),), None)


def _upscale_latent(inputs: Inputs, bench: Bench) -> Entry:
    latent: Latent = inputs["samples"]
    width, height = _target(latent.width, latent.height, inputs)
    return Entry((replace(latent, width=width // 8 * 8, height=height // 8 * 8),), None)


def _decode(inputs: Inputs, bench: Bench) -> Entry:
    latent: Latent = inputs["samples"]
    if bench.instant:
        seed = latent.seed or 0
        return Entry(([_tiny((seed + i) % 16) for i in range(latent.batch)],), None)
    return Entry(([_draw(latent, i) for i in range(latent.batch)],), None)


def _draw(latent: Latent, index: int) -> Picture:
    base = latent.base[index % len(latent.base)].pixels if latent.base else None
    if latent.seed is None:  # A latent that no sampler touched decodes to what it was made of.
        return Picture(base or Image.new("RGB", (latent.width, latent.height), (127, 127, 127)))
    seed = latent.seed + index
    return Picture(paint(latent.prompt, seed, latent.width, latent.height, base, latent.denoise))


def _encode(inputs: Inputs, bench: Bench) -> Entry:
    pictures: list[Picture] = inputs["pixels"]
    width, height = (side // 8 * 8 for side in pictures[0].pixels.size)
    base = tuple(Picture(p.pixels.crop((0, 0, width, height))) for p in pictures)
    return Entry((Latent(width, height, len(base), base=base),), None)


def _load_image(inputs: Inputs, bench: Bench) -> Entry:
    subfolder, _, name = inputs["image"].rpartition("/")
    path = f"{HOME}/input/{inputs['image']}"
    data = bench.files.get(FileKey("input", subfolder, name))
    if data is None:
        raise NodeError("FileNotFoundError", f"[Errno 2] No such file or directory: '{path}'")
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.convert("RGB")
    except UnidentifiedImageError as error:
        raise NodeError("PIL.UnidentifiedImageError", f"cannot identify image file '{path}'") from error
    except (OSError, SyntaxError) as error:
        raise NodeError("OSError", f"{error}: '{path}'") from error
    return Entry(([Picture(pixels)], None), None)


def _scale_image(inputs: Inputs, bench: Bench) -> Entry:
    return Entry(([Picture(_scaled(p.pixels, inputs)) for p in inputs["image"]],), None)


def _scaled(image: Image.Image, inputs: Inputs) -> Image.Image:
    size = _target(image.width, image.height, inputs)
    if inputs["crop"] == "center":
        scale = max(size[0] / image.width, size[1] / image.height)
        w, h = size[0] / scale, size[1] / scale
        left, top = (image.width - w) / 2, (image.height - h) / 2
        return image.resize(size, Image.Resampling.BICUBIC, (left, top, left + w, top + h))
    return image.resize(size, Image.Resampling.BICUBIC)


def _target(width: int, height: int, inputs: Inputs) -> tuple[int, int]:
    """The size asked for, where 0 means "as the ratio has it" and both 0 "as it is"."""
    w, h = inputs["width"], inputs["height"]
    if not w and not h:
        return width, height
    return max(1, w or round(width * h / height)), max(1, h or round(height * w / width))


def _empty_image(inputs: Inputs, bench: Bench) -> Entry:
    size = inputs["width"], inputs["height"]
    picture = Picture(Image.new("RGB", size, ImageColor.getrgb(f"#{inputs['color']:06x}")))
    return Entry(([picture] * inputs["batch_size"],), None)


def _solid_mask(inputs: Inputs, bench: Bench) -> Entry:
    return Entry((None,), None)


def _save_image(inputs: Inputs, bench: Bench) -> Entry:
    return _save(bench, "output", inputs["filename_prefix"], inputs["images"])


def _preview_image(inputs: Inputs, bench: Bench) -> Entry:
    return _save(bench, "temp", "ComfyUI_temp_sandbox", inputs["images"])


def _save(bench: Bench, folder: str, prefix: str, pictures: list[Picture]) -> Entry:
    keys = [bench.files.save(folder, prefix, png_bytes(p, bench.graph)) for p in pictures]
    images = [{"filename": k.name, "subfolder": k.subfolder, "type": k.folder} for k in keys]
    return Entry((), {"images": images})


def _save_websocket(inputs: Inputs, bench: Bench) -> Entry:
    return Entry((), None)  # The execution sends the images itself, as binary frames.


@lru_cache(maxsize=16)
def _tiny(variant: int) -> Picture:
    """One of sixteen finished 64x64 pictures, for instant mode."""
    pixels = paint("", variant, 64, 64)
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", compress_level=4)
    return Picture(pixels, ready=buffer.getvalue())


_NODES: dict[str, Evaluate] = {
    "CheckpointLoaderSimple": _load_checkpoint,
    "LoraLoader": _load_lora,
    "CLIPSetLastLayer": _pass_clip,
    "CLIPTextEncode": _encode_text,
    "EmptyLatentImage": _empty_latent,
    "KSampler": _sample,
    "RepeatLatentBatch": _repeat,
    "LatentUpscale": _upscale_latent,
    "VAEDecode": _decode,
    "VAEEncode": _encode,
    "LoadImage": _load_image,
    "ImageScale": _scale_image,
    "EmptyImage": _empty_image,
    "SolidMask": _solid_mask,
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "SaveImageWebsocket": _save_websocket,
}
