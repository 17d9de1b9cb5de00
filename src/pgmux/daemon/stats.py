"""SHOW STATS and its kin, and the averages of the log.

What all pools have counted is summed up at one moment, by database; the rows are made one by one
when they are asked for, as with a thousand databases all of them take longer than a turn may.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.config.model import ADMIN_DATABASE
from pgmux.metrics.averages import Averages
from pgmux.metrics.snapshot import StatsRow, stats_row, sum_stats
from pgmux.net.console_connection import Consoles
from pgmux.session._relay_cy import Counters
from pgmux.session.pooler import Pooler


class Stats:
    """See the module."""

    def __init__(self, pooler: Pooler, consoles: Consoles) -> None:
        self._pooler = pooler
        self._consoles = consoles
        self._averages = Averages(pooler.clock())

    def tick(self) -> StatsRow:
        """To be called every stats_period; answers the averages of that period, for the log."""
        return self._averages.tick(self._pooler.clock(), self._totals())

    def rows(self) -> Iterator[StatsRow]:
        """By database, those that have or had a pool; the console's own queries are one of them."""
        for name, counters in self._totals().items():
            yield stats_row(name, counters)

    def averages(self) -> Iterator[StatsRow]:
        """Row by row of what `rows` returns."""
        now = self._pooler.clock()
        for name, counters in self._totals().items():
            yield self._averages.average(now, name, counters)

    def overall(self) -> tuple[StatsRow, StatsRow]:
        """All databases together: totals, averages."""
        totals = self._totals()
        return sum_stats(totals.values()), self._averages.overall(self._pooler.clock(), totals)

    def login_counts(self) -> dict[str, int]:
        """How many clients have logged in, by database."""
        return {name: counters.client_login_count for name, counters in self._totals().items()}

    def _totals(self) -> dict[str, Counters]:
        """A copy of all counts, in the order of the databases' names."""
        totals: dict[str, Counters] = {}
        for state in self._pooler.databases.values():
            if state.counters is not None:
                totals[state.name] = _copy(state.counters)
        for key, control in self._pooler.pools.items():
            own = totals.get(key.database)
            if own is None:
                totals[key.database] = _copy(control.relay.counters)
            else:
                own.add(control.relay.counters)
        totals[ADMIN_DATABASE] = self._consoles.counters()
        return dict(sorted(totals.items()))


def _copy(counters: Counters) -> Counters:
    copy = Counters()
    copy.add(counters)
    return copy
