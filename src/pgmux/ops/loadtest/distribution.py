"""A histogram for the eye: a dozen classes with round bounds, the same ones for all sides.

Where most latencies are close together the classes are fine there, and the first and the last one
take in what is far away.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

_COARSE = (1.0, 2.0, 5.0)
_FINE = (1.0, 1.2, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)
_MOST = 14  # classes
_EDGE = 0.01  # of the values, on each side, that the classes needn't be fine for

Histogram = Sequence[tuple[int, int]]  # upper bounds in µs, and counts


def class_bounds(histograms: Sequence[Histogram]) -> list[float]:
    """Upper bounds of the classes, ascending, in µs; the last one is enough for all."""
    filled = [each for each in histograms if each]
    if not filled:
        return []
    least = min(_value_at(each, _EDGE) for each in filled)
    most = max(_value_at(each, 1 - _EDGE) for each in filled)
    last = max(each[-1][0] for each in filled)
    for steps in (_FINE, _COARSE):
        every = [step * 10.0**power for power in range(13) for step in steps]
        bounds = every[bisect_left(every, least) : bisect_left(every, most) + 1]
        if len(bounds) < _MOST:
            break
    return bounds if bounds[-1] >= last else [*bounds, every[bisect_left(every, last)]]


def _value_at(histogram: Histogram, share: float) -> int:
    """The bucket of the value that this share of all is below."""
    rank = share * sum(count for _, count in histogram)
    for bound, count in histogram:
        rank -= count
        if rank < 0:
            return bound
    return histogram[-1][0]


def classify(histogram: Histogram, bounds: Sequence[float]) -> list[int]:
    """How many values each class holds, by their buckets' upper bounds."""
    counts = [0] * len(bounds)
    for upper, count in histogram:
        counts[min(bisect_left(bounds, upper), len(bounds) - 1)] += count
    return counts
