"""Arithmetic of histograms: buckets as SHOW HISTOGRAMS has them, a bound and a count each.

A value lies in the bucket with the smallest bound that isn't below it. So a quantile is known as a
bound: that share of the values was no longer, and the bucket below doesn't hold it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pgmux.monitor.tables import Buckets, Seconds

_USEC = 1_000_000


def count_of(buckets: Buckets) -> int:
    """How many values there are in all."""
    return sum(count for _, count in buckets)


def merge(histograms: Iterable[Buckets]) -> Buckets:
    """The values of all of them together."""
    counts: dict[int, int] = {}
    for buckets in histograms:
        for bound, count in buckets:
            counts[bound] = counts.get(bound, 0) + count
    return Buckets(tuple(sorted(counts.items())))


def subtract(newer: Buckets, older: Buckets) -> Buckets | None:
    """What has come since `older`; None where something is gone: counting has begun again."""
    before = dict(older)
    grown = [(bound, count - before.pop(bound, 0)) for bound, count in newer]
    if any(before.values()) or any(count < 0 for _, count in grown):
        return None
    return Buckets(tuple(pair for pair in grown if pair[1]))


def quantile(buckets: Buckets, share: float) -> Seconds | None:
    """The bound that at least this share of the values (0 to 1) doesn't exceed; None of none."""
    wanted = max(1, math.ceil(share * count_of(buckets)))
    reached = 0
    for bound, count in buckets:
        reached += count
        if reached >= wanted:
            return Seconds(bound / _USEC)
    return None
