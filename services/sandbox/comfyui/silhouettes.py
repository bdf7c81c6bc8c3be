"""Silhouettes that stand in procedural pictures: a lighthouse, a boat, a cat and others.

Each function draws at a foot point, ``size`` pixels being about a quarter of the picture's height.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import ImageDraw

from services.sandbox.comfyui.palettes import Colour

#: (canvas, x of the foot, y of the foot, size in pixels, shade, light, dice)
Draw = Callable[[ImageDraw.ImageDraw, float, float, float, Colour, Colour, random.Random], None]


def draw_lighthouse(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """A tapering tower with bands, a lamp and two beams."""
    top = y - s
    for side in (-1, 1):
        for reach, strength in ((3.0, 44), (6.0, 30), (14.0, 20)):
            tip = x + side * s * reach
            spread = s * 0.11 * reach
            d.polygon(
                [(x, top - s * 0.06), (tip, top - spread), (tip, top + spread * 0.6)], (*light, strength)
            )
    d.polygon(
        [
            (x - s * 0.6, y + s * 0.1),
            (x - s * 0.3, y - s * 0.05),
            (x + s * 0.3, y - s * 0.05),
            (x + s * 0.7, y + s * 0.1),
        ],
        shade,
    )
    body = [(x - s * 0.13, y), (x - s * 0.08, top), (x + s * 0.08, top), (x + s * 0.13, y)]
    d.polygon(body, (236, 232, 224))
    for band in (0.2, 0.55):
        a, b = 0.13 - 0.05 * band, 0.13 - 0.05 * (band + 0.18)
        y1, y2 = y - s * band, y - s * (band + 0.18)
        d.polygon([(x - s * a, y1), (x - s * b, y2), (x + s * b, y2), (x + s * a, y1)], (178, 52, 48))
    d.rectangle([x - s * 0.11, top - s * 0.02, x + s * 0.11, top + s * 0.02], shade)
    d.rectangle([x - s * 0.06, top - s * 0.13, x + s * 0.06, top - s * 0.02], light)
    d.polygon([(x - s * 0.09, top - s * 0.13), (x, top - s * 0.24), (x + s * 0.09, top - s * 0.13)], shade)


def draw_boat(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """A hull with two sails."""
    s *= 0.7
    d.polygon(
        [
            (x - s * 0.5, y - s * 0.12),
            (x + s * 0.55, y - s * 0.12),
            (x + s * 0.38, y + s * 0.06),
            (x - s * 0.36, y + s * 0.06),
        ],
        shade,
    )
    d.line([(x, y - s * 0.1), (x, y - s)], shade, max(1, int(s * 0.03)))
    d.polygon(
        [(x + s * 0.04, y - s * 0.18), (x + s * 0.04, y - s * 0.98), (x + s * 0.46, y - s * 0.18)],
        (244, 238, 226),
    )
    d.polygon(
        [(x - s * 0.04, y - s * 0.18), (x - s * 0.04, y - s * 0.8), (x - s * 0.36, y - s * 0.18)],
        (226, 214, 200),
    )


def draw_castle(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """Walls with battlements, three towers, lit windows."""
    d.rectangle([x - s * 0.55, y - s * 0.4, x + s * 0.55, y + s * 0.12], shade)
    for i in range(12):
        left = x - s * 0.55 + s * 0.1 * i
        d.rectangle([left, y - s * 0.46, left + s * 0.05, y - s * 0.4], shade)
    for dx, height in ((-0.5, 0.75), (0.0, 1.0), (0.5, 0.68)):
        cx = x + dx * s
        d.rectangle([cx - s * 0.12, y - s * height, cx + s * 0.12, y + s * 0.12], shade)
        d.polygon(
            [(cx - s * 0.16, y - s * height), (cx, y - s * (height + 0.3)), (cx + s * 0.16, y - s * height)],
            shade,
        )
        d.rectangle([cx - s * 0.025, y - s * (height - 0.12), cx + s * 0.025, y - s * (height - 0.22)], light)
    d.pieslice([x - s * 0.1, y - s * 0.12, x + s * 0.1, y + s * 0.34], 180, 360, light)


def draw_house(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """A small house with a chimney and two lit windows."""
    s *= 0.6
    d.rectangle([x - s * 0.5, y - s * 0.5, x + s * 0.5, y + s * 0.1], shade)
    d.rectangle([x + s * 0.2, y - s * 0.98, x + s * 0.34, y - s * 0.5], shade)
    d.polygon([(x - s * 0.62, y - s * 0.48), (x, y - s * 1.02), (x + s * 0.62, y - s * 0.48)], shade)
    for dx in (-0.28, 0.14):
        d.rectangle([x + s * dx, y - s * 0.34, x + s * (dx + 0.16), y - s * 0.14], light)


def draw_skyline(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """A row of towers across the whole width, with lit windows."""
    left = x - s * 5
    while left < x + s * 5:
        width, height = s * dice.uniform(0.18, 0.36), s * dice.uniform(0.35, 1.15)
        d.rectangle([left, y - height, left + width, y + s], shade)
        step = s * 0.075
        for row in range(int(height / step) - 1):
            for column in range(int(width / step) - 1):
                if dice.random() < 0.3:
                    wx, wy = left + step * (column + 0.6), y - height + step * (row + 0.7)
                    d.rectangle([wx, wy, wx + step * 0.4, wy + step * 0.5], light)
        left += width


def draw_balloon(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """A hot-air balloon, high above its foot point."""
    cy, r = y - s * 1.7, s * 0.38
    d.polygon(
        [
            (x - r * 0.75, cy + r * 0.6),
            (x + r * 0.75, cy + r * 0.6),
            (x + r * 0.16, cy + r * 1.5),
            (x - r * 0.16, cy + r * 1.5),
        ],
        (168, 60, 56),
    )
    d.ellipse([x - r, cy - r, x + r, cy + r], (198, 74, 64))
    d.ellipse([x - r * 0.45, cy - r, x + r * 0.45, cy + r], (240, 206, 132))
    d.rectangle([x - r * 0.16, cy + r * 1.65, x + r * 0.16, cy + r * 1.9], shade)


def draw_cat(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """A sitting cat that looks at you."""
    s *= 0.8
    d.arc([x + s * 0.1, y - s * 0.5, x + s * 0.62, y + s * 0.1], 300, 130, shade, max(2, int(s * 0.08)))
    d.ellipse([x - s * 0.3, y - s * 0.62, x + s * 0.3, y + s * 0.1], shade)
    d.ellipse([x - s * 0.22, y - s * 0.95, x + s * 0.22, y - s * 0.52], shade)
    for side in (-1, 1):
        d.polygon(
            [
                (x + side * s * 0.21, y - s * 0.72),
                (x + side * s * 0.2, y - s * 1.08),
                (x + side * s * 0.04, y - s * 0.9),
            ],
            shade,
        )
        d.ellipse(
            [x + side * s * 0.09 - s * 0.035, y - s * 0.78, x + side * s * 0.09 + s * 0.035, y - s * 0.7],
            light,
        )


def draw_trees(
    d: ImageDraw.ImageDraw, x: float, y: float, s: float, shade: Colour, light: Colour, dice: random.Random
) -> None:
    """A band of pines across the whole width."""
    for _ in range(46):
        tx, h = x + s * dice.uniform(-5, 5), s * dice.uniform(0.25, 0.7)
        ty = y + s * dice.uniform(0.1, 0.75)
        for k in range(4):
            w, top = h * (0.1 + 0.07 * k), ty - h + h * 0.2 * k
            d.polygon([(tx - w, top + h * 0.36), (tx, top), (tx + w, top + h * 0.36)], shade)
        d.rectangle([tx - h * 0.03, ty - h * 0.1, tx + h * 0.03, ty + h * 0.1], shade)


SILHOUETTES: dict[str, Draw] = {
    "trees": draw_trees,
    "skyline": draw_skyline,
    "castle": draw_castle,
    "house": draw_house,
    "lighthouse": draw_lighthouse,
    "boat": draw_boat,
    "cat": draw_cat,
    "balloon": draw_balloon,
}
