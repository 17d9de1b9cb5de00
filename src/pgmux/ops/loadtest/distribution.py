"""A histogram for the eye: a dozen classes with round bounds, the same ones for all sides."""

from __future__ import annotations

from collections.abc import Sequence

_COARSE = (1.0, 2.0, 5.0)
_FINE = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)
_FEW = 6  # classes: fewer show nothing

Histogram = Sequence[tuple[int, int]]  # upper bounds in µs, and counts


def class_bounds(histograms: Sequence[Histogram]) -> list[float]:
    """Ascending, in µs; the first class begins at the first bound, the last ends at the last."""
    filled = [bound for each in histograms for bound, _ in each]
    if not filled:
        return []
    coarse = _between(_COARSE, min(filled), max(filled))
    return coarse if len(coarse) > _FEW else _between(_FINE, min(filled), max(filled))


def _between(steps: Sequence[float], least: float, most: float) -> list[float]:
    """The last bound below the least, those between, and the first that is enough."""
    every = [step * 10.0**power for power in range(13) for step in steps]
    first = max((n for n, bound in enumerate(every) if bound < least), default=0)
    last = next((n for n, bound in enumerate(every) if bound >= most), len(every) - 1)
    return every[first : max(last, first + 1) + 1]


def classify(histogram: Histogram, bounds: Sequence[float]) -> list[int]:
    """How many values each class holds, by their buckets' upper bounds."""
    counts = [0] * max(0, len(bounds) - 1)
    for upper, count in histogram:
        number = next((n for n, bound in enumerate(bounds[1:]) if upper <= bound), -1)
        counts[number] += count
    return counts
