"""Colours for procedural pictures, and the words of a prompt that call for them.

Pure.  Every colour is an RGB triple of 0..255.
"""

from __future__ import annotations

from typing import NamedTuple

Colour = tuple[int, int, int]


class Palette(NamedTuple):
    """The colours of one mood."""

    words: tuple[str, ...]  #: a prompt word that begins with one of these calls for it
    sky: tuple[Colour, Colour, Colour]  #: zenith, middle, horizon
    far: Colour  #: the farthest ridge
    near: Colour  #: the nearest ridge
    light: Colour  #: sun or moon
    water: Colour
    stars: bool = False
    moon: bool = False


PALETTES: dict[str, Palette] = {
    "night": Palette(
        ("night", "midnight", "moon", "star", "noir", "dark", "witch"),
        ((8, 12, 38), (20, 32, 76), (58, 74, 124)),
        (44, 56, 98),
        (8, 10, 26),
        (240, 238, 214),
        (18, 30, 66),
        stars=True,
        moon=True,
    ),
    "dusk": Palette(
        ("dusk", "sunset", "evening", "twilight", "golden", "romantic"),
        ((46, 34, 92), (178, 76, 110), (252, 176, 104)),
        (150, 84, 118),
        (38, 22, 50),
        (255, 214, 140),
        (120, 70, 110),
    ),
    "dawn": Palette(
        ("dawn", "sunrise", "morning", "spring", "pastel", "blossom", "pink", "cherry"),
        ((116, 150, 208), (244, 190, 196), (255, 228, 190)),
        (176, 162, 190),
        (84, 92, 112),
        (255, 244, 214),
        (160, 176, 204),
    ),
    "autumn": Palette(
        ("autumn", "fall", "october", "harvest", "orange", "pumpkin", "fox", "maple"),
        ((134, 150, 164), (228, 188, 132), (248, 220, 164)),
        (206, 136, 76),
        (92, 40, 24),
        (255, 236, 180),
        (128, 106, 90),
    ),
    "forest": Palette(
        ("forest", "wood", "jungle", "tree", "moss", "green", "elf", "meadow", "garden", "frog"),
        ((104, 162, 168), (176, 210, 180), (236, 238, 200)),
        (122, 164, 132),
        (20, 52, 38),
        (255, 250, 212),
        (74, 122, 112),
    ),
    "sea": Palette(
        ("sea", "ocean", "beach", "island", "blue", "harbor", "harbour", "whale", "lagoon", "tropic"),
        ((28, 104, 178), (98, 174, 220), (222, 240, 236)),
        (108, 160, 176),
        (24, 74, 92),
        (255, 252, 226),
        (30, 122, 158),
    ),
    "desert": Palette(
        ("desert", "dune", "sand", "canyon", "mars", "egypt", "camel", "western"),
        ((86, 132, 178), (240, 196, 140), (250, 226, 174)),
        (222, 160, 104),
        (126, 66, 40),
        (255, 246, 210),
        (150, 130, 110),
    ),
    "snow": Palette(
        ("snow", "winter", "ice", "frozen", "arctic", "glacier", "christmas", "penguin"),
        ((98, 134, 178), (176, 202, 224), (238, 242, 246)),
        (196, 212, 228),
        (96, 122, 152),
        (255, 255, 250),
        (130, 164, 192),
    ),
    "neon": Palette(
        ("neon", "cyber", "synth", "city", "robot", "futur", "arcade", "hacker"),
        ((16, 8, 48), (92, 18, 112), (244, 66, 150)),
        (70, 30, 110),
        (14, 8, 34),
        (255, 120, 190),
        (36, 22, 84),
        stars=True,
    ),
    "space": Palette(
        ("space", "galaxy", "nebula", "planet", "cosmic", "alien", "astronaut", "rocket"),
        ((6, 4, 20), (40, 18, 72), (88, 52, 120)),
        (66, 44, 98),
        (12, 8, 28),
        (196, 220, 255),
        (26, 22, 62),
        stars=True,
        moon=True,
    ),
    "fire": Palette(
        ("fire", "lava", "volcan", "dragon", "red", "hell", "ember", "inferno"),
        ((28, 10, 16), (116, 26, 22), (246, 122, 44)),
        (110, 40, 34),
        (22, 8, 12),
        (255, 196, 92),
        (90, 30, 26),
    ),
    "storm": Palette(
        ("storm", "rain", "fog", "mist", "cloud", "grey", "gray", "gothic", "ghost"),
        ((54, 64, 78), (104, 118, 130), (178, 186, 188)),
        (122, 132, 140),
        (34, 42, 50),
        (226, 230, 226),
        (76, 92, 104),
    ),
    "day": Palette(
        ("day", "noon", "summer", "sun", "bright", "happy", "field", "village"),
        ((54, 128, 208), (140, 192, 232), (236, 240, 222)),
        (142, 178, 170),
        (44, 92, 66),
        (255, 252, 220),
        (72, 140, 178),
    ),
}
