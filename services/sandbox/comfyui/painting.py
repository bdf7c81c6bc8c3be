"""Paints a planned scene with Pillow.  No model and no GPU: every picture says so in its lower left corner."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from services.sandbox.comfyui.palettes import Colour
from services.sandbox.comfyui.scene import Ridge, Scene, plan_scene
from services.sandbox.comfyui.silhouettes import SILHOUETTES

LABEL = "procedural preview - no GPU"
#: Pictures are painted at no more than so many pixels a side and then enlarged: nobody waits for a poster.
_LARGEST_SIDE = 2048


def paint(
    prompt: str, seed: int, width: int, height: int, base: Image.Image | None = None, denoise: float = 1.0
) -> Image.Image:
    """Paint what the words call for, over ``base`` if there is one: ``denoise`` 0 keeps the base, 1 hides it."""
    scale = min(1.0, _LARGEST_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = paint_scene(plan_scene(prompt, seed), *size)
    if base is not None:
        picture = Image.blend(base.convert("RGB").resize(size), picture, max(0.0, min(1.0, denoise)))
    if size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return label(picture)


def paint_scene(scene: Scene, width: int, height: int) -> Image.Image:
    """Sky, light, land or water, silhouettes, in that order from far to near."""
    dice = random.Random(scene.seed)  # noqa: S311 - a picture, not a secret
    picture = _sky(scene, width, height)
    _paint_light(picture, scene)
    draw = ImageDraw.Draw(picture, "RGBA")
    _paint_stars(draw, scene, width, height)
    _paint_clouds(draw, scene, width, height)
    for ridge in scene.ridges:
        _paint_ridge(draw, ridge, width, height)
    if scene.water is not None:
        _paint_water(draw, scene, dice, width, height)
    foot = height * (scene.horizon + (0.06 if scene.water else 0.2))
    for name, x, size in scene.subjects:
        SILHOUETTES[name](draw, x * width, foot, height * 0.25 * size, scene.shade, scene.light, dice)
    # One light blur instead of painting at twice the size: edges look soft at a fraction of the time.
    return picture.filter(ImageFilter.BoxBlur(0.6))


def label(picture: Image.Image) -> Image.Image:
    """Say what the picture is, where it is large enough for words."""
    if picture.width < 200 or picture.height < 80:
        return picture
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(max(11, picture.height // 48))
    left, top, right, bottom = draw.textbbox((0, 0), LABEL, font=font)
    w, h, pad = right - left, bottom - top, picture.height // 90 + 3
    y = picture.height - h - 3 * pad
    draw.rounded_rectangle([pad, y, w + 3 * pad, y + h + 2 * pad], radius=pad, fill=(0, 0, 0, 110))
    draw.text((2 * pad - left, y + pad - top), LABEL, font=font, fill=(255, 255, 255, 225))
    return picture


def _sky(scene: Scene, width: int, height: int) -> Image.Image:
    """A vertical gradient: three colours in a strip one pixel wide, stretched by a smooth filter."""
    column = Image.new("RGB", (1, 3))
    column.putdata([scene.sky[0], scene.sky[1], scene.sky[2]])
    reach = max(2, round(height * min(1.0, scene.horizon + 0.06)))
    sky = Image.new("RGB", (width, height), scene.sky[2])
    sky.paste(column.resize((1, reach), Image.Resampling.BICUBIC).resize((width, reach)), (0, 0))
    return sky


def _paint_light(picture: Image.Image, scene: Scene) -> None:
    """The sun or moon with a glow, made small and enlarged because a glow has no detail."""
    width, height = picture.size
    # The gradient is 0 in the middle and 180 at the middle of an edge, where the glow must have faded.
    glow = Image.radial_gradient("L").point(lambda v: round(150 * max(0.0, 1 - v / 178) ** 2))
    reach = max(1, round(height * scene.light_radius * 12))
    x, y = round(scene.light_at[0] * width), round(scene.light_at[1] * height)
    picture.paste(scene.light, (x - reach // 2, y - reach // 2), glow.resize((reach, reach)))
    r = max(1, round(height * scene.light_radius))
    disc = Image.new("L", (2 * r + 1, 2 * r + 1), 0)
    draw = ImageDraw.Draw(disc)
    draw.ellipse([0, 0, 2 * r, 2 * r], 255)
    if scene.moon:
        draw.ellipse([r * 0.55, -r * 0.2, r * 2.35, r * 1.75], 0)
    picture.paste(scene.light, (x - r, y - r), disc)


def _paint_stars(draw: ImageDraw.ImageDraw, scene: Scene, width: int, height: int) -> None:
    for x, y, brightness in scene.stars:
        r = height / 900 * (0.6 + brightness)
        fill = (255, 255, 255, round(235 * brightness))
        draw.ellipse([x * width - r, y * height - r, x * width + r, y * height + r], fill)


def _paint_clouds(draw: ImageDraw.ImageDraw, scene: Scene, width: int, height: int) -> None:
    for x, y, length in scene.clouds:
        for k in range(5):
            w = width * length * (1 - k * 0.16)
            cx, cy = x * width + (k - 2) * w * 0.12, y * height - k * height * 0.009
            draw.ellipse(
                [cx - w / 2, cy - height * 0.012, cx + w / 2, cy + height * 0.012], (255, 255, 255, 46)
            )


def _paint_ridge(draw: ImageDraw.ImageDraw, ridge: Ridge, width: int, height: int) -> None:
    last = len(ridge.heights) - 1
    line = [(i * width / last, y * height) for i, y in enumerate(ridge.heights)]
    draw.polygon([(0, height), *line, (width, height)], ridge.colour)


def _paint_water(
    draw: ImageDraw.ImageDraw, scene: Scene, dice: random.Random, width: int, height: int
) -> None:
    """Water that darkens towards the viewer, with the light's glitter and a few waves."""
    assert scene.water is not None
    top = round(scene.horizon * height)
    for row in range(top, height):
        t = (row - top) / max(1, height - top)
        draw.line([(0, row), (width, row)], _shade(scene.water, scene.sky[2], t))
    for _ in range(150):
        t = dice.random() ** 1.5
        y = top + t * (height - top)
        spread = (0.03 + 0.2 * t) * width
        x = scene.light_at[0] * width + dice.gauss(0, 1) * spread * 0.6
        w = width * (0.004 + 0.02 * t)
        draw.line([(x - w, y), (x + w, y)], (*scene.light, 110), max(1, round(height / 500)))
    for _ in range(40):
        y, x = top + dice.random() * (height - top), dice.random() * width
        draw.line([(x, y), (x + width * 0.05, y)], (255, 255, 255, 34), max(1, round(height / 500)))


def _shade(water: Colour, sky: Colour, t: float) -> Colour:
    """From half sky colour at the horizon to a darker water in front."""
    near = math.sqrt(t)
    r, g, b = (round((s + w) / 2 * (1 - near) + w * 0.62 * near) for s, w in zip(sky, water, strict=True))
    return r, g, b
