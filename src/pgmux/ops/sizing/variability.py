"""How unevenly transactions come and how unevenly long they are: squared coefficients of variation.

Both are 1 for what is purely random (arrivals of a Poisson process; times spread exponentially),
0 for what is all alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgmux.monitor.tables import Buckets

ENOUGH = 30  # intervals: with fewer, chance alone makes arrivals look even or uneven
_USEC = 1_000_000


@dataclass(slots=True)
class Dispersion:
    """Of counts, one an interval: their variance against their mean, slow changes left out.

    Half the mean square of the difference from one count to the next is their variance if the
    load doesn't change, and nearly so where it changes slowly (von Neumann, 1941). For a renewal
    process the ratio tends to the squared coefficient of variation of the times between arrivals.
    """

    intervals: int = 0
    total: float = 0.0
    squares: float = 0.0
    pairs: int = 0
    last: float | None = None

    def add(self, count: float) -> None:
        """The count of the next interval."""
        if self.last is not None:
            self.squares += (count - self.last) ** 2
            self.pairs += 1
        self.last = count
        self.total += count
        self.intervals += 1

    def interrupt(self) -> None:
        """What comes next doesn't follow on the last count."""
        self.last = None

    @property
    def ratio(self) -> float | None:
        """None of too few intervals, or where nothing came."""
        if self.pairs < ENOUGH or not self.total:
            return None
        return self.squares / 2 / self.pairs / (self.total / self.intervals)


def moments(buckets: Buckets) -> tuple[float, float]:
    """Mean and variance in seconds, each value taken for the middle of its bucket; 0, 0 of none."""
    number = sum(count for _, count in buckets)
    if not number:
        return 0.0, 0.0
    values = [(_middle(bound), count) for bound, count in buckets]
    mean = sum(value * count for value, count in values) / number
    return mean, sum((value - mean) ** 2 * count for value, count in values) / number


def _middle(bound: int) -> float:
    """Of a bucket of SHOW HISTOGRAMS: a µs wide up to 8, then a quarter of its octave."""
    octave: int = 1 << max(0, (bound - 1).bit_length() - 1)
    width = octave / 4 if bound > 8 else 1
    return (bound - width / 2) / _USEC


def time_variability(xact: Buckets, wait: Buckets) -> float | None:
    """Of the times that servers are held, from those of transactions, which include the waits.

    As if waits and times knew nothing of each other. None where there is nothing.
    """
    mean, variance = moments(xact)
    waited, of_waits = moments(wait)
    held = mean - waited
    return max(0.0, variance - of_waits) / held**2 if held > 0 else None
