"""PgBouncer's averages: what happened since the snapshot before the last, by the time since then.

Every stats_period the totals are kept (`tick`), the newer copy becoming the older one; so the
averages look back over one to two periods, and over less when the pooler has just started, its
first period beginning one second before.
Source: PgBouncer's src/stats.c (1.25.2): counts and bytes are per second, cut to whole numbers;
times are per transaction, query or server assignment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgmux.metrics.snapshot import COUNTERS, StatsRow, stats_row, sum_stats

# By database what has the counters of a StatsRow; it isn't to change any more.
Totals = Mapping[str, object]

_TIMES = {
    "xact_time": "xact_count",
    "query_time": "query_count",
    "wait_time": "server_assignment_count",
}
_USEC = 1_000_000
_NOTHING = StatsRow("")


class Averages:
    """Keeps the two snapshots; `now` is float seconds of one monotonic clock."""

    __slots__ = ("_newer", "_newer_at", "_older", "_older_at")

    def __init__(self, now: float) -> None:
        self._older: Totals = {}
        self._newer: Totals = {}
        self._older_at = now - 1.0
        self._newer_at = now

    def tick(self, now: float, totals: Totals) -> StatsRow:
        """To be called every stats_period; answers the averages of that period, for the log."""
        self._older, self._older_at = self._newer, self._newer_at
        self._newer, self._newer_at = totals, now
        return self.overall(now, totals)

    def average(self, now: float, database: str, totals: object) -> StatsRow:
        """The averages of one database, whose totals these are; times are seconds."""
        return self._average(now, stats_row(database, totals), self._find_older(database))

    def overall(self, now: float, totals: Totals) -> StatsRow:
        """The averages of all of `totals` together; the row's database is ""."""
        older = sum_stats(map(self._find_older, totals))
        return self._average(now, sum_stats(totals.values()), older)

    def _find_older(self, database: str) -> object:
        return self._older.get(database, _NOTHING)

    def _average(self, now: float, current: StatsRow, older: object) -> StatsRow:
        seconds = now - self._older_at
        if seconds <= 0:
            return StatsRow(current.database)
        # A database that was removed and came back counts from 0 again: less than before.
        grown = {n: max(0, getattr(current, n) - getattr(older, n)) for n in COUNTERS}
        average: dict[str, Any] = {name: int(grown[name] / seconds) for name in COUNTERS}
        for name, count in _TIMES.items():
            average[name] = grown[name] / grown[count] if grown[count] else 0.0
        return StatsRow(current.database, **average)


def stats_fields(average: StatsRow) -> dict[str, int]:
    """The numbers of that line, named as in SHOW STATS."""
    return {
        "avg_xact_count": average.xact_count,
        "avg_query_count": average.query_count,
        "avg_client_parse_count": average.client_parse_count,
        "avg_server_parse_count": average.server_parse_count,
        "avg_bind_count": average.bind_count,
        "avg_recv": average.client_bytes,
        "avg_sent": average.server_bytes,
        "avg_xact_time": round(average.xact_time * _USEC),
        "avg_query_time": round(average.query_time * _USEC),
        "avg_wait_time": round(average.wait_time * _USEC),
    }


def stats_line(average: StatsRow) -> str:
    """The `stats:` line of the log, which pgbadger and others parse."""
    return (
        f"stats: {average.xact_count} xacts/s, {average.query_count} queries/s,"
        f" {average.client_parse_count} client parses/s,"
        f" {average.server_parse_count} server parses/s, {average.bind_count} binds/s,"
        f" in {average.client_bytes} B/s, out {average.server_bytes} B/s,"
        f" xact {round(average.xact_time * _USEC)} us,"
        f" query {round(average.query_time * _USEC)} us,"
        f" wait {round(average.wait_time * _USEC)} us"
    )
