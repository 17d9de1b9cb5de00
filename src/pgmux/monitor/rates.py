"""What has happened between two samples: per second, on average, and as quantiles.

A counter that has fallen belongs to a pooler, database or application that began again: what it
counts now is what has happened. The console's own database is in no total.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.buckets import count_of, merge, quantile, subtract
from pgmux.monitor.sample import Sample
from pgmux.monitor.tables import AppRow, Buckets, HistogramRow, Seconds

PoolKey = tuple[str, str]
CounterKey = tuple[str, str, str, str]
Grown = Mapping[str, float]

_STATS = (
    *("xact_count", "query_count", "bytes_received", "bytes_sent"),
    *("xact_time", "query_time", "wait_time", "server_assignment_count"),
)
_APP = (
    *("xact_count", "query_count", "bytes_received", "bytes_sent", "error_count"),
    *("wait_time", "server_time", "idle_xact_time", "wait_caused_time"),
)
_HISTOGRAMS = ("wait", "xact", "query")


class _Keyed(Protocol):
    """A row of counters, and what it counts for."""

    @property
    def key(self) -> tuple[str, ...]:
        """What tells the row from all others of its table."""


_Row = TypeVar("_Row", bound=_Keyed)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How long something took in the interval; all None where it hasn't happened."""

    count: int
    mean: Seconds | None
    p50: Seconds | None
    p90: Seconds | None
    p99: Seconds | None
    buckets: Buckets


@dataclass(frozen=True, slots=True)
class StatsRate:
    """Of one database, or of all: per second; and mean times, None where nothing took any.

    `wait_time` is the mean per server assignment, or where those aren't told per transaction.
    """

    xact_rate: float
    query_rate: float
    received_rate: float
    sent_rate: float
    xact_time: Seconds | None
    query_time: Seconds | None
    wait_time: Seconds | None


@dataclass(frozen=True, slots=True)
class PoolRate:
    """Of one pool, or of all; only of a console that has SHOW HISTOGRAMS."""

    xact_rate: float
    query_rate: float
    wait: Distribution
    xact: Distribution
    query: Distribution


@dataclass(frozen=True, slots=True)
class AppRate:
    """What an application did in the interval. What isn't a rate is how many there were on average.

    `server_share` is its part, 0 to 1, of all server time; `waits_caused` are clients that waited
    while it held a server.
    """

    row: AppRow
    xact_rate: float
    query_rate: float
    received_rate: float
    sent_rate: float
    error_rate: float
    servers_held: float
    servers_idle_in_xact: float
    clients_waiting: float
    waits_caused: float
    server_share: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Between two samples, `seconds` apart.

    `apps` are ranked by server time held. `errors` and `connects` say, by the rows' keys, how many
    came in the interval; a key without any is left out.
    """

    seconds: float
    total: StatsRate
    databases: Mapping[str, StatsRate]
    all_pools: PoolRate | None
    pools: Mapping[PoolKey, PoolRate]
    apps: tuple[AppRate, ...]
    errors: Mapping[CounterKey, int]
    connects: Mapping[CounterKey, int]


def difference(older: Sample, newer: Sample) -> Rates:
    """What has happened from one sample to the next. Raises: ValueError if they aren't in order."""
    seconds = newer.taken_at - older.taken_at
    if seconds <= 0:
        raise ValueError("the newer sample is not newer")
    stats = {row.database: _grow(_STATS, was, row) for was, row in _pair(older.stats, newer.stats)}
    ours = [grown for database, grown in stats.items() if database != ADMIN_DATABASE]
    total = {name: sum(grown[name] for grown in ours) for name in _STATS}
    pools = _gains(older.histograms, newer.histograms)
    is_told = "HISTOGRAMS" not in newer.not_told
    return Rates(
        seconds=seconds,
        total=_stats_rate(total, seconds),
        databases={name: _stats_rate(grown, seconds) for name, grown in stats.items()},
        all_pools=_pool_rate(_add_up(pools), seconds) if is_told else None,
        pools={key: _pool_rate(gains, seconds) for key, gains in pools.items()},
        apps=_rank(older.apps, newer.apps, seconds),
        errors=_count_errors(older, newer),
        connects=_count_connects(older, newer),
    )


# Counters


def _pair(older: Iterable[_Row], newer: Iterable[_Row]) -> Iterator[tuple[_Row | None, _Row]]:
    """Each of the newer rows, with the older one of the same key."""
    before = {row.key: row for row in older}
    return ((before.get(row.key), row) for row in newer)


def _grow(names: Sequence[str], older: object | None, newer: object) -> Grown:
    """What each counter has gained; where one has fallen, all that they count now."""
    now = {name: getattr(newer, name) or 0 for name in names}
    then = {name: getattr(older, name, None) or 0 for name in names}
    if any(now[name] < then[name] for name in names):
        return now
    return {name: now[name] - then[name] for name in names}


def _count_errors(older: Sample, newer: Sample) -> dict[CounterKey, int]:
    pairs = _pair(older.errors, newer.errors)
    return _gained({row.key: _grow(("count",), was, row) for was, row in pairs})


def _count_connects(older: Sample, newer: Sample) -> dict[CounterKey, int]:
    pairs = _pair(older.connects, newer.connects)
    return _gained({row.key: _grow(("count",), was, row) for was, row in pairs})


def _gained(grown: Mapping[CounterKey, Grown]) -> dict[CounterKey, int]:
    return {key: int(each["count"]) for key, each in grown.items() if each["count"]}


def _stats_rate(grown: Grown, seconds: float) -> StatsRate:
    assignments = grown["server_assignment_count"] or grown["xact_count"]
    return StatsRate(
        xact_rate=grown["xact_count"] / seconds,
        query_rate=grown["query_count"] / seconds,
        received_rate=grown["bytes_received"] / seconds,
        sent_rate=grown["bytes_sent"] / seconds,
        xact_time=_mean(grown["xact_time"], grown["xact_count"]),
        query_time=_mean(grown["query_time"], grown["query_count"]),
        wait_time=_mean(grown["wait_time"], assignments),
    )


def _mean(time: float, count: float) -> Seconds | None:
    return Seconds(time / count) if count else None


# Applications


def _rank(older: Iterable[AppRow], newer: Iterable[AppRow], seconds: float) -> tuple[AppRate, ...]:
    """Who held servers longest comes first; of equals, who let others wait longest."""
    grown = [(row, _grow(_APP, was, row)) for was, row in _pair(older, newer)]
    held = sum(each["server_time"] for _, each in grown)
    rates = [_app_rate(row, each, held, seconds) for row, each in grown]
    return tuple(sorted(rates, key=lambda app: (-app.servers_held, -app.waits_caused, app.row.key)))


def _app_rate(row: AppRow, grown: Grown, held: float, seconds: float) -> AppRate:
    return AppRate(
        row=row,
        xact_rate=grown["xact_count"] / seconds,
        query_rate=grown["query_count"] / seconds,
        received_rate=grown["bytes_received"] / seconds,
        sent_rate=grown["bytes_sent"] / seconds,
        error_rate=grown["error_count"] / seconds,
        servers_held=grown["server_time"] / seconds,
        servers_idle_in_xact=grown["idle_xact_time"] / seconds,
        clients_waiting=grown["wait_time"] / seconds,
        waits_caused=grown["wait_caused_time"] / seconds,
        server_share=grown["server_time"] / held if held else 0.0,
    )


# Histograms


@dataclass(frozen=True, slots=True)
class _Gain:
    """What a histogram has gained: its sum in seconds, its values by bucket."""

    sum: float
    buckets: Buckets


_PoolGains = Mapping[PoolKey, Mapping[str, _Gain]]
_NONE = _Gain(0.0, Buckets(()))


def _gain_of(older: HistogramRow | None, newer: HistogramRow) -> _Gain:
    since = None if older is None else subtract(newer.buckets, older.buckets)
    if older is None or since is None or newer.sum < older.sum:
        return _Gain(newer.sum, newer.buckets)
    return _Gain(newer.sum - older.sum, since)


def _gains(older: Iterable[HistogramRow], newer: Iterable[HistogramRow]) -> _PoolGains:
    """By pool what each of its histograms has gained."""
    gains: dict[PoolKey, dict[str, _Gain]] = {}
    for was, row in _pair(older, newer):
        gains.setdefault((row.database, row.user), {})[row.histogram] = _gain_of(was, row)
    return gains


def _add_up(pools: _PoolGains) -> Mapping[str, _Gain]:
    """What all pools have gained together, but for the console's own."""
    ours = [gains for (database, _), gains in pools.items() if database != ADMIN_DATABASE]
    added = {}
    for histogram in _HISTOGRAMS:
        found = [gains.get(histogram, _NONE) for gains in ours]
        added[histogram] = _Gain(sum(g.sum for g in found), merge(g.buckets for g in found))
    return added


def _pool_rate(gains: Mapping[str, _Gain], seconds: float) -> PoolRate:
    wait, xact, query = (_distribution(gains.get(name, _NONE)) for name in _HISTOGRAMS)
    return PoolRate(xact.count / seconds, query.count / seconds, wait, xact, query)


def _distribution(gain: _Gain) -> Distribution:
    count = count_of(gain.buckets)
    p50, p90, p99 = (quantile(gain.buckets, share) for share in (0.5, 0.9, 0.99))
    return Distribution(count, _mean(gain.sum, count), p50, p90, p99, gain.buckets)
