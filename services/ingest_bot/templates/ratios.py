"""Aspect ratios: reading what users type, and the nearest one that a workflow has.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_NUMBER = r"(\d{1,6}(?:[.,]\d{1,4})?)"
_RATIO = re.compile(rf"{_NUMBER}\s*[:x×/：∶]\s*{_NUMBER}", re.IGNORECASE)


def parse_ratio(text: str) -> tuple[float, float] | None:
    """Width and height of ``16:9``, ``1920x1080`` or ``1.85:1``; none where it is no ratio of positive numbers."""
    match = _RATIO.fullmatch(text)
    if match is None:
        return None
    width, height = (float(part.replace(",", ".")) for part in match.groups())
    return (width, height) if width > 0 and height > 0 else None


def nearest_ratio(width: float, height: float, names: Iterable[str]) -> str:
    """The ratio among ``names`` whose shape is nearest; half and double are equally far from equal."""
    wanted = math.log(width / height)

    def distance(name: str) -> float:
        parsed = parse_ratio(name)
        assert parsed is not None, f"{name} was checked when its manifest was read"
        return abs(math.log(parsed[0] / parsed[1]) - wanted)

    return min(names, key=distance)
