"""What is known of a console that is asked again and again, also while it can't be reached."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused
from pgmux.monitor.rates import Rates, difference
from pgmux.monitor.reading import UnreadableAnswer
from pgmux.monitor.sample import Connections, Sample, take_connections, take_sample

KEPT = 300  # points of history
FAILURES = (ConsoleGone, ConsoleRefused, UnreadableAnswer)

PoolKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Point:
    """Of the past, what the head draws; None where the console doesn't tell it."""

    xact_rate: float
    wait_p99: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """The newest sample, and what has happened since the one before; None of the first."""

    sample: Sample
    rates: Rates | None
    history: tuple[Point, ...] = ()


class Watch:
    """Takes one sample after another. `now` is float seconds of one monotonic clock.

    `picture` is None before the first sample; `failure` says why it isn't the newest any more.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.picture: Picture | None = None
        self.failure: str | None = None
        self._history: deque[Point] = deque(maxlen=KEPT)

    async def take(self, now: float) -> None:
        """Takes a sample, or says in `failure` why there is none. Raises nothing."""
        try:
            sample = await take_sample(self.console, now)
        except FAILURES as error:
            self.failure = str(error)
            return
        # What came between is nobody's rate where the console was away, perhaps begun again.
        older = None if self.failure or self.picture is None else self.picture.sample
        rates = difference(older, sample) if older else None
        if rates is not None:
            all_pools = rates.all_pools
            p99 = None if all_pools is None else all_pools.wait.p99 or 0.0
            self._history.append(Point(rates.total.xact_rate, p99))
        self.failure = None
        self.picture = Picture(sample, rates, tuple(self._history))

    async def take_connections(self, pool: PoolKey) -> Connections | None:
        """Clients and servers of a pool; None, and a `failure`, where they can't be had."""
        if self.picture is None:
            return None
        try:
            return await take_connections(self.console, self.picture.sample, pool)
        except FAILURES as error:
            self.failure = str(error)
            return None
