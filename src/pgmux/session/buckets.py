"""The buckets of a `Histogram`: their bounds, and what can be told of what is in them.

Bucket i < 8 holds whole microseconds; from 8 µs on an octave has four. So a bound is at most a
quarter above what it stands for.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Sequence

BUCKET_COUNT = 128


def upper_bound(index: int) -> int:
    """µs; what is in the bucket took less. The last one has all that took longer, too."""
    if index < 8:
        return index + 1
    octave, quarter = divmod(index, 4)
    return (quarter + 5) << (octave - 1)


UPPER_BOUNDS = tuple(map(upper_bound, range(BUCKET_COUNT)))


def quantile(counts: Sequence[int], share: float) -> int:
    """The bound, in µs, below which that share of all is; 0 of nothing."""
    rank = share * sum(counts)
    seen = 0
    for bound, count in zip(UPPER_BOUNDS, counts, strict=True):
        seen += count
        if count and seen >= rank:
            return bound
    return 0


def build_text(counts: Sequence[int]) -> str:
    """`bound:count,…` of the buckets that hold something, ascending."""
    filled = zip(UPPER_BOUNDS, counts, strict=True)
    return ",".join(f"{bound}:{count}" for bound, count in filled if count)
