"""How long queries took, however many there are, in bounded memory: a log-linear histogram.

A bucket is at most 1/128 of its value wide, a microsecond at least. So a quantile is at most 0.8 %
above the value that was measured; count, mean, least and most are exact.
"""

from __future__ import annotations

from pgmux.monitor.buckets import quantile
from pgmux.monitor.tables import Buckets

_BITS = 7  # 128 buckets an octave
_LONGEST = 1 << 40  # µs, 12 days: what takes longer is counted there


class Histogram:
    """Durations in seconds; `counts` by bucket: some thousand at most."""

    __slots__ = ("count", "counts", "longest", "shortest", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0  # seconds
        self.shortest = 0.0
        self.longest = 0.0

    def record(self, seconds: float) -> None:
        """One more; a clock that went back counts as 0."""
        seconds = max(seconds, 0.0)
        bucket = _bucket(min(int(seconds * 1e6), _LONGEST))
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.shortest = min(self.shortest, seconds) if self.count else seconds
        self.longest = max(self.longest, seconds)
        self.count += 1
        self.total += seconds

    def add(self, other: Histogram) -> None:
        """All that the other one has, too."""
        if not other.count:
            return
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.shortest = min(self.shortest, other.shortest) if self.count else other.shortest
        self.longest = max(self.longest, other.longest)
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> float | None:
        """Seconds; None of nothing."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Seconds that this share (0 to 1) of all didn't exceed; None of nothing."""
        found = quantile(self.buckets(), share)
        return None if found is None else min(found, self.longest)

    def buckets(self) -> Buckets:
        """Those that hold something: upper bound in µs and count, ascending."""
        return Buckets(tuple((_bound(each), self.counts[each]) for each in sorted(self.counts)))


def _bucket(usec: int) -> int:
    shift = max(0, usec.bit_length() - _BITS - 1)
    return (shift << _BITS) + (usec >> shift)


def _bound(bucket: int) -> int:
    """µs; what is in the bucket took less."""
    shift = max(0, (bucket >> _BITS) - 1)
    return (bucket - (shift << _BITS) + 1) << shift
