"""Samples of a period -> what was normal in it, and what was the most.

"Normally" is the median. Rates are of neighbouring samples without a restart or a gap in between.
Errors: `TooLittle`.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pgmux.errors import PgmuxError
from pgmux.ops.cutover.names import App
from pgmux.ops.cutover.progress import grown
from pgmux.ops.cutover.sample import PoolerPart, Sample, ServerPart

LEAST_SAMPLES = 10
_GAP = 5.0  # times the usual interval


class TooLittle(PgmuxError):
    """Nothing can be said of so few samples."""


@dataclass(frozen=True, slots=True)
class Spread:
    normally: float
    peak: float


@dataclass(frozen=True, slots=True)
class AppPeriod:
    """An application: its direct connections, and its clients at the pooler."""

    app: App
    direct: Spread
    pooled: Spread


@dataclass(frozen=True, slots=True)
class PoolerPeriod:
    """`wait` is the mean of a transaction's wait for a server, seconds, `maxwait` the longest that
    was seen. `errors`: None where the pooler doesn't tell. `failed`: samples without an answer.
    """

    version: str
    samples: int
    failed: int
    clients: Spread
    servers: Spread
    waiting: int
    waiting_samples: int
    maxwait: float
    wait: float | None
    transactions: Spread | None
    errors: int | None


@dataclass(frozen=True, slots=True)
class Period:
    """`samples` in all; `refused` of them by a full PostgreSQL, `failed` for another reason;
    `full`: no connection was left for an ordinary user, the refused among them.
    """

    start: float
    end: float
    interval: float
    samples: int
    refused: int
    failed: int
    full: int
    places: tuple[str, ...]
    restarts: int
    max_connections: int
    connections: Spread
    idle_in_transaction: int
    commits: Spread | None
    is_partial: bool
    pooler: PoolerPeriod | None
    apps: tuple[AppPeriod, ...]

    @property
    def share(self) -> Spread:
        """Of max_connections."""
        most = self.max_connections or 1
        return Spread(self.connections.normally / most, self.connections.peak / most)


def summarize(samples: Sequence[Sample], what: str, least: int = LEAST_SAMPLES) -> Period:
    """`what` names the period in an error. Raises: TooLittle."""
    servers = [sample.server for sample in samples if sample.server is not None]
    if len(servers) < max(1, least):
        raise TooLittle(
            f"{what} has {len(servers)} samples in which PostgreSQL answered, of {len(samples)}:"
            f" at least {least} are needed"
        )
    refused = sum(sample.is_refused for sample in samples)
    interval = statistics.median(b.at - a.at for a, b in pairwise(samples)) if samples[1:] else 0.0
    seen = spread(part.connections for part in servers)
    most = servers[-1].max_connections
    return Period(
        start=samples[0].at,
        end=samples[-1].at,
        interval=interval,
        samples=len(samples),
        refused=refused,
        failed=len(samples) - len(servers) - refused,
        full=refused + sum(part.is_full for part in servers),
        places=tuple(sorted({part.place for part in servers})),
        restarts=sum(a.started != b.started for a, b in pairwise(servers)),
        max_connections=most,
        connections=Spread(seen.normally, max(seen.peak, most)) if refused else seen,
        idle_in_transaction=max(part.idle_in_transaction for part in servers),
        commits=_spread_of(_rates(samples, interval, _commits)),
        is_partial=any(part.is_partial for part in servers),
        pooler=_pooler(samples, interval),
        apps=tuple(_apps(samples)),
    )


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    found = list(values)
    return Spread(statistics.median(found), max(found))


def _spread_of(values: Iterable[float]) -> Spread | None:
    found = list(values)
    return spread(found) if found else None


Counter = Callable[[Sample, Sample], float | None]


def _neighbours(samples: Sequence[Sample], interval: float) -> Iterable[tuple[Sample, Sample]]:
    """Those that no gap divides."""
    for older, newer in pairwise(samples):
        if 0 < newer.at - older.at <= _GAP * interval:
            yield older, newer


def _rates(samples: Sequence[Sample], interval: float, count: Counter) -> Iterable[float]:
    """Per second, of neighbours."""
    for older, newer in _neighbours(samples, interval):
        growth = count(older, newer)
        if growth is not None:
            yield growth / (newer.at - older.at)


def _commits(older: Sample, newer: Sample) -> float | None:
    was, now = older.server, newer.server
    if was is None or now is None or _identity(was) != _identity(now):
        return None
    return grown(was.commits, now.commits)


def _identity(part: ServerPart) -> tuple[str, float]:
    return part.place, part.started


def _transactions(older: Sample, newer: Sample) -> float | None:
    was, now = older.pooler, newer.pooler
    return None if was is None or now is None else grown(was.transactions, now.transactions)


def _pooler(samples: Sequence[Sample], interval: float) -> PoolerPeriod | None:
    parts = [sample.pooler for sample in samples if sample.pooler is not None]
    if not parts:
        return None
    return PoolerPeriod(
        version=parts[-1].version,
        samples=len(parts),
        failed=sum(bool(sample.pooler_error) for sample in samples),
        clients=spread(part.clients for part in parts),
        servers=spread(part.servers for part in parts),
        waiting=max(part.waiting for part in parts),
        waiting_samples=sum(part.waiting > 0 for part in parts),
        maxwait=max(part.maxwait for part in parts),
        wait=_mean_wait(samples, interval),
        transactions=_spread_of(_rates(samples, interval, _transactions)),
        errors=_errors(parts),
    )


def _mean_wait(samples: Sequence[Sample], interval: float) -> float | None:
    """Seconds that a transaction waited for a server; None where there was none."""
    waited = transactions = 0.0
    for older, newer in _neighbours(samples, interval):
        growth = _transactions(older, newer)
        if growth is not None and older.pooler is not None and newer.pooler is not None:
            transactions += growth
            waited += max(0.0, newer.pooler.wait_time - older.pooler.wait_time)
    return waited / transactions if transactions else None


def _errors(parts: Sequence[PoolerPart]) -> int | None:
    """How many have come; what a pooler counts that began again has come since."""
    if any(part.errors is None for part in parts):
        return None
    counts = [part.errors or 0 for part in parts]
    return sum(b - a if b >= a else b for a, b in pairwise(counts))


def _apps(samples: Sequence[Sample]) -> Iterable[AppPeriod]:
    """Those with the most connections first."""
    told = [sample for sample in samples if sample.is_told]
    direct: dict[App, list[int]] = defaultdict(lambda: [0] * len(told))
    pooled: dict[App, list[int]] = defaultdict(lambda: [0] * len(told))
    for number, sample in enumerate(told):
        for count in sample.apps:
            direct[count.app][number] = count.direct
            pooled[count.app][number] = count.pooled
    found = [AppPeriod(app, spread(direct[app]), spread(pooled[app])) for app in direct]
    return sorted(found, key=lambda each: (-each.direct.peak, -each.pooled.peak, each.app))
