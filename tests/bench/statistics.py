"""Percentiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of ascending values; ``share`` is 0..1.  NaN of nothing."""
    if not sorted_values:
        return float("nan")
    rank = max(0, min(len(sorted_values) - 1, round(share * len(sorted_values) + 0.5) - 1))
    return sorted_values[rank]


def percentiles(seconds: Sequence[float], name: str) -> dict[str, float]:
    """``<name>_p50_ms`` and ``<name>_p99_ms``."""
    ordered = sorted(seconds)
    return {
        f"{name}_p50_ms": round(percentile(ordered, 0.50) * 1000, 2),
        f"{name}_p99_ms": round(percentile(ordered, 0.99) * 1000, 2),
    }
