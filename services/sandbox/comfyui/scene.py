"""What a procedural picture shows, planned from the words of a prompt and a seed.

Pure: the same words and seed give the same scene.  Lengths are fractions of the picture's width or height.
"""

from __future__ import annotations

import itertools
import random
import re
from typing import NamedTuple

from services.sandbox.comfyui.palettes import PALETTES, Colour, Palette

#: A silhouette that can stand in a scene, and the words that call for it.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "lighthouse": ("lighthouse", "beacon"),
    "boat": ("boat", "ship", "sail", "pirate", "viking"),
    "castle": ("castle", "palace", "fortress", "knight", "king", "queen", "princess", "tower"),
    "house": ("house", "cabin", "cottage", "home", "barn", "village", "farm"),
    "skyline": ("city", "skyline", "street", "cyber", "neon", "metropolis", "downtown"),
    "balloon": ("balloon", "flying", "airship", "zeppelin"),
    "cat": ("cat", "kitten", "kitty", "fox"),
    "trees": ("forest", "tree", "wood", "pine", "jungle", "autumn", "christmas", "park"),
}
_WATER = (
    "sea",
    "ocean",
    "lake",
    "river",
    "beach",
    "water",
    "island",
    "harbor",
    "harbour",
    "lagoon",
    "lighthouse",
)
_PEAKS = ("mountain", "alps", "peak", "volcan", "snow", "glacier", "canyon", "dragon", "cliff")


class Ridge(NamedTuple):
    """The outline of one layer of land, left to right."""

    heights: tuple[float, ...]  #: evenly spaced, as fractions of the height from the top
    colour: Colour


class Scene(NamedTuple):
    """Everything that painting needs to know."""

    sky: tuple[Colour, Colour, Colour]
    light: Colour
    light_at: tuple[float, float]
    light_radius: float  #: of the height
    moon: bool
    stars: tuple[tuple[float, float, float], ...]  #: x, y, brightness
    clouds: tuple[tuple[float, float, float], ...]  #: x, y, length
    ridges: tuple[Ridge, ...]  #: farthest first
    water: Colour | None
    horizon: float  #: where water begins
    subjects: tuple[tuple[str, float, float], ...]  #: silhouette, x, size as a fraction of the height
    shade: Colour  #: of silhouettes
    seed: int


def plan_scene(prompt: str, seed: int) -> Scene:
    """Choose colours by the prompt's words, and shapes by words and seed."""
    words = re.findall(r"[a-z]+", prompt.lower())
    dice = random.Random(f"{seed}|{' '.join(words)}")  # noqa: S311 - a picture, not a secret
    palette = _palette(words, dice)
    has_water = _called(words, _WATER)
    horizon = dice.uniform(0.56, 0.68)
    low_light = not palette.moon and dice.random() < 0.7
    light_y = dice.uniform(horizon - 0.22, horizon - 0.06) if low_light else dice.uniform(0.12, 0.3)
    return Scene(
        sky=tuple(_jitter(c, dice, 14) for c in palette.sky),  # type: ignore[arg-type]  # three channels in, three out
        light=palette.light,
        light_at=(dice.uniform(0.14, 0.86), light_y),
        light_radius=dice.uniform(0.045, 0.09),
        moon=palette.moon,
        stars=_stars(palette, dice),
        clouds=_clouds(palette, dice),
        ridges=_ridges(palette, dice, horizon, has_water, _called(words, _PEAKS)),
        water=_jitter(palette.water, dice, 10) if has_water else None,
        horizon=horizon,
        subjects=_subjects(words, dice),
        shade=tuple(int(c * 0.55) for c in palette.near),  # type: ignore[arg-type]  # three channels in, three out
        seed=seed,
    )


def _called(words: list[str], roots: tuple[str, ...]) -> bool:
    return any(word.startswith(roots) for word in words)


def _palette(words: list[str], dice: random.Random) -> Palette:
    """The palette with the most called-for words; any, if none is called for."""
    score = {name: sum(word.startswith(p.words) for word in words) for name, p in PALETTES.items()}
    best = max(score.values())
    # At equal scores the earlier wins, so that "a lighthouse at dusk" is dusk and not sea.
    return PALETTES[max(score, key=score.__getitem__) if best else dice.choice(list(PALETTES))]


def _jitter(colour: Colour, dice: random.Random, by: int) -> Colour:
    r, g, b = (max(0, min(255, c + dice.randint(-by, by))) for c in colour)
    return r, g, b


def _mix(a: Colour, b: Colour, t: float) -> Colour:
    r, g, b_ = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return r, g, b_


def _stars(palette: Palette, dice: random.Random) -> tuple[tuple[float, float, float], ...]:
    count = dice.randint(90, 160) if palette.stars else 0
    return tuple((dice.random(), dice.random() ** 1.6 * 0.6, dice.uniform(0.3, 1.0)) for _ in range(count))


def _clouds(palette: Palette, dice: random.Random) -> tuple[tuple[float, float, float], ...]:
    count = 0 if palette.stars else dice.randint(2, 6)
    return tuple((dice.random(), dice.uniform(0.08, 0.42), dice.uniform(0.1, 0.26)) for _ in range(count))


def _ridges(
    palette: Palette, dice: random.Random, horizon: float, water: bool, peaks: bool
) -> tuple[Ridge, ...]:
    """Layers of land: behind the water only, or down to the lower edge."""
    count = dice.randint(2, 3) if water else dice.randint(4, 6)
    layers = []
    for i in range(count):
        t = i / max(1, count - 1)
        base = horizon - 0.07 + 0.05 * t if water else horizon - 0.1 + (0.98 - horizon) * t
        swing = (0.16 if peaks else 0.07) * (1.1 - t * 0.6)
        colour = _mix(palette.far, palette.near, t * (0.5 if water else 1.0))
        layers.append(Ridge(_outline(dice, base, swing, rough=peaks and t < 0.7), colour))
    return tuple(layers)


def _outline(dice: random.Random, base: float, swing: float, *, rough: bool) -> tuple[float, ...]:
    """A fractal line by midpoint displacement: rough for peaks, smooth for hills."""
    line = [base - dice.uniform(0, swing) for _ in range(3)]
    amplitude = swing
    while len(line) < 97:
        middles = [
            (a + b) / 2 + dice.uniform(-amplitude, amplitude) * 0.5 for a, b in itertools.pairwise(line)
        ]
        line = [*itertools.chain.from_iterable(zip(line, middles, strict=False)), line[-1]]
        amplitude *= 0.55 if rough else 0.36
    return tuple(line)


def _subjects(words: list[str], dice: random.Random) -> tuple[tuple[str, float, float], ...]:
    wanted = [name for name, roots in SUBJECTS.items() if _called(words, roots)]
    return tuple((name, dice.uniform(0.2, 0.8), dice.uniform(0.85, 1.2)) for name in wanted)
