"""The last hour in figures, of all pools and of some: what the dashboard's charts are drawn of.

Bounded: a series is four numbers a sample, and besides the total there are MAX_POOLS series at
most, of the pools that somebody looks at and of the busiest.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

HOUR = 3600.0
MAX_POOLS = 64
MAX_POINTS = 4000  # of one series; an hour has 1,800 at a sample every two seconds
_TRIM = 60  # points that are dropped at a time, at least
_CALM = 0.95  # how much of a pool's earlier business counts at the next sample

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Point:
    """One sample: transactions per second, and waits in seconds; None where it isn't known."""

    xacts: float | None = None
    p50: float | None = None
    p99: float | None = None
    mean: float | None = None


NOTHING = Point()
_NAMES = ("xacts", "p50", "p99", "mean")


def _numbers() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Series:
    """Points by time, those of the last hour; `busy` is how many transactions there were lately."""

    times: array[float] = field(default_factory=_numbers)
    columns: dict[str, array[float]] = field(
        default_factory=lambda: {name: _numbers() for name in _NAMES}
    )
    busy: float = 0.0

    def add(self, time: float, point: Point) -> None:
        """The latest point; what is older than an hour goes.

        Where the clock was set back, the series begins anew: its times have to ascend.
        """
        if self.times and time <= self.times[-1]:
            self._drop(len(self.times))
        self.times.append(time)
        for name, column in self.columns.items():
            value = getattr(point, name)
            column.append(math.nan if value is None else value)
        self.busy = _CALM * self.busy + (1 - _CALM) * (point.xacts or 0.0)
        if (old := bisect_left(self.times, time - HOUR)) >= _TRIM:
            self._drop(old)
        if len(self.times) > MAX_POINTS:
            self._drop(len(self.times) - MAX_POINTS)

    def _drop(self, count: int) -> None:
        for column in (self.times, *self.columns.values()):
            del column[:count]

    def as_columns(self) -> dict[str, list[float | None]]:
        """Times `t` and the columns; None where it isn't known."""
        columns = {"t": self.times, **self.columns}
        return {name: [*map(_known, column)] for name, column in columns.items()}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


class History:
    """The series of the total and of some pools."""

    def __init__(self, max_pools: int = MAX_POOLS) -> None:
        self.total = Series()
        self._max_pools = max_pools
        self._pools: dict[Key, Series] = {}

    def add(
        self, time: float, total: Point, pools: Mapping[Key, Point], wanted: Collection[Key] = ()
    ) -> None:
        """One sample; of `wanted` pools a series is kept in any case, as far as there is room."""
        self.total.add(time, total)
        self._choose(pools, wanted)
        for key, series in self._pools.items():
            series.add(time, pools.get(key, NOTHING))

    def of(self, key: Key | None) -> dict[str, list[float | None]]:
        """The columns of that pool, or of the total; empty where the pool has none yet."""
        series = self.total if key is None else self._pools.get(key)
        return (series or Series()).as_columns()

    @property
    def pools(self) -> Collection[Key]:
        """Of which pools there is a series."""
        return self._pools.keys()

    def _choose(self, pools: Mapping[Key, Point], wanted: Collection[Key]) -> None:
        for key in wanted:
            if key in pools and key not in self._pools:
                self._make_room(wanted)
                self._begin(key, pools)
        new = [key for key in pools if key not in self._pools]
        if len(self._pools) < self._max_pools:
            new.sort(key=lambda key: -(pools[key].xacts or 0.0))
            for key in new[: self._max_pools - len(self._pools)]:
                self._begin(key, pools)
        elif new:
            self._give_to_busier(max(new, key=lambda key: pools[key].xacts or 0.0), pools, wanted)

    def _begin(self, key: Key, pools: Mapping[Key, Point]) -> None:
        if len(self._pools) < self._max_pools:
            self._pools[key] = Series(busy=pools[key].xacts or 0.0)

    def _give_to_busier(
        self, key: Key, pools: Mapping[Key, Point], wanted: Collection[Key]
    ) -> None:
        """One a sample, and only where it is much busier: an hour of another pool is lost by it."""
        idlest = self._idlest(wanted)
        if idlest is not None and (pools[key].xacts or 0.0) > 2 * self._pools[idlest].busy:
            del self._pools[idlest]
            self._begin(key, pools)

    def _make_room(self, wanted: Collection[Key]) -> None:
        idlest = self._idlest(wanted)
        if idlest is not None and len(self._pools) >= self._max_pools:
            del self._pools[idlest]

    def _idlest(self, wanted: Collection[Key]) -> Key | None:
        free = (key for key in self._pools if key not in wanted)
        return min(free, key=lambda key: self._pools[key].busy, default=None)
