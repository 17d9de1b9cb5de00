"""What samples of a console have shown, pool by pool, in space that doesn't grow with their number.

Two kinds of things: counters (`Flow`: what ended between two samples), which miss nothing and are
each pool's where SHOW HISTOGRAMS is told, else each database's; and states (`Presence`: who was
there at the moment), which show peaks, if they last.
An interval in which the pooler began again, or the console was away, or a database was paused, is
left out. xact_time includes the wait for a server (PgBouncer's src/client.c and src/server.c).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.buckets import merge, subtract
from pgmux.monitor.sample import Sample
from pgmux.monitor.tables import Buckets, HistogramRow, PoolRow, StatsRow
from pgmux.ops.sizing.variability import Dispersion

SLICES = 60  # of the whole period: what a plot has room for

PoolKey = tuple[str, str]
FlowKey = PoolKey | tuple[str]
NOTHING = Buckets(())


@dataclass(frozen=True, slots=True)
class Gain:
    """What has ended: transactions, and the seconds they held servers and waited for them."""

    seconds: float = 0.0
    xacts: float = 0.0
    held: float = 0.0
    waited: float = 0.0

    def plus(self, other: Gain) -> Gain:
        """Both together."""
        return Gain(
            self.seconds + other.seconds,
            self.xacts + other.xacts,
            self.held + other.held,
            self.waited + other.waited,
        )


@dataclass(slots=True)
class Flow:
    """Counters of a pool or a database, by slice; histograms of a pool alone."""

    slices: dict[int, Gain] = field(default_factory=dict)
    arrivals: Dispersion = field(default_factory=Dispersion)
    xact: Buckets = NOTHING
    wait: Buckets = NOTHING

    @property
    def total(self) -> Gain:
        total = Gain()
        for gain in self.slices.values():
            total = total.plus(gain)
        return total

    def add(self, number: int, gain: Gain) -> None:
        """What has ended in an interval of that slice."""
        self.slices[number] = self.slices.get(number, Gain()).plus(gain)
        self.arrivals.add(gain.xacts)


@dataclass(slots=True)
class Moment:
    """Of one slice: how many samples, servers busy added up, and the most needed and waiting."""

    samples: int = 0
    busy: int = 0
    needed: int = 0
    waiting: int = 0


@dataclass(slots=True)
class Presence:
    """Who was in a pool when samples were taken. `needed` is how often so many transactions were
    there at once, at a server or waiting for one; `full` how often somebody waited because
    all servers were busy, `starting` because one was still logging in.
    """

    pool_mode: str = ""
    samples: int = 0
    busy: int = 0
    waiting: int = 0
    clients: int = 0
    full: int = 0
    starting: int = 0
    most_clients: int = 0
    fewest_clients: int = 0
    most_servers: int = 0
    first_servers: int = 0
    servers_while_full: int = 0
    longest_wait: float = 0.0
    servers: int = 0
    logins: int = 0
    needed: Counter[int] = field(default_factory=Counter)
    slices: dict[int, Moment] = field(default_factory=dict)

    def add(self, number: int, row: PoolRow) -> None:
        """A sample of that slice."""
        busy = row.sv_active + row.sv_tested
        needed, clients = busy + row.cl_waiting, row.cl_active + row.cl_waiting
        if not self.samples:
            self.first_servers, self.fewest_clients = row.servers, clients
        else:
            self.logins += max(0, row.servers - self.servers)
        self.pool_mode = row.pool_mode or self.pool_mode
        self.samples += 1
        self.busy += busy
        self.waiting += row.cl_waiting
        self.clients += clients
        self.needed[needed] += 1
        self.servers = row.servers
        self.most_clients = max(self.most_clients, clients)
        self.fewest_clients = min(self.fewest_clients, clients)
        self.most_servers = max(self.most_servers, row.servers)
        self.longest_wait = max(self.longest_wait, row.maxwait)
        self._see_waits(row)
        moment = self.slices.setdefault(number, Moment())
        moment.samples += 1
        moment.busy += busy
        moment.needed = max(moment.needed, needed)
        moment.waiting = max(moment.waiting, row.cl_waiting)

    def _see_waits(self, row: PoolRow) -> None:
        if not row.cl_waiting:
            return
        self.starting += bool(row.sv_login)
        if row.sv_active and not (row.sv_login or row.sv_idle or row.sv_used):
            self.full += 1
            self.servers_while_full = max(self.servers_while_full, row.servers)


class Observation:
    """What the samples up to now have shown; they are to last `period` s, one `every` so often."""

    def __init__(self, period: float, every: float) -> None:
        self._slice = max(period / SLICES, every)
        self._older: Sample | None = None
        self._started_at = 0.0
        self.first: Sample | None = None
        self.last: Sample | None = None
        self.samples = 0
        self.seconds = 0.0
        self.restarts = 0
        self.absences = 0
        self.paused: set[str] = set()
        self.most_clients = 0
        self.errors: Counter[str] = Counter()
        self.flows: dict[FlowKey, Flow] = {}
        self.pools: dict[PoolKey, Presence] = {}

    @property
    def slice_seconds(self) -> float:
        return self._slice

    def miss(self) -> None:
        """There was no answer: what happens till the next sample isn't anybody's rate."""
        self.absences += 1
        self._break_off()

    def add(self, sample: Sample) -> None:
        """The next sample, later than all before."""
        if self.first is None:
            self.first, self._started_at = sample, sample.taken_at
        older, self._older = self._older, sample
        self.last = sample
        self.samples += 1
        self.most_clients = max(self.most_clients, sample.lists.get("used_clients", 0))
        paused = _paused(sample)
        self.paused |= paused
        number = int((sample.taken_at - self._started_at) / self._slice)
        self._see_pools(sample, number, paused)
        if older is None:
            return
        if has_restarted(older, sample):
            self.restarts += 1
            self._break_off()
            self._older = sample
            return
        self.seconds += sample.taken_at - older.taken_at
        self._count_errors(older, sample)
        self._see_flows(older, sample, number, paused | _paused(older))

    def _break_off(self) -> None:
        self._older = None
        for flow in self.flows.values():
            flow.arrivals.interrupt()

    def _see_pools(self, sample: Sample, number: int, paused: set[str]) -> None:
        modes = {row.name: row.pool_mode for row in sample.databases}
        default = sample.limits.pool_mode
        for row in sample.pools:
            if row.database == ADMIN_DATABASE or row.database in paused:
                continue
            presence = self.pools.get(row.key)
            if presence is None:
                presence = self.pools[row.key] = Presence(modes.get(row.database) or default)
            presence.add(number, row)

    def _count_errors(self, older: Sample, newer: Sample) -> None:
        before = {row.key: row.count for row in older.errors}
        for row in newer.errors:
            if row.source == "pooler":
                self.errors[row.error] += max(0, row.count - before.get(row.key, 0))

    def _see_flows(self, older: Sample, newer: Sample, number: int, left_out: set[str]) -> None:
        seconds = newer.taken_at - older.taken_at
        is_by_pool = "HISTOGRAMS" not in newer.not_told
        gains = _by_pool(older, newer, seconds) if is_by_pool else _by_database(older, newer)
        for key, (gain, xact, wait) in gains.items():
            if key[0] == ADMIN_DATABASE:
                continue
            flow = self.flows.setdefault(key, Flow())
            if key[0] in left_out:
                flow.arrivals.interrupt()
                continue
            flow.add(number, gain)
            flow.xact, flow.wait = merge((flow.xact, xact)), merge((flow.wait, wait))


def _paused(sample: Sample) -> set[str]:
    """Databases whose clients wait for an operator."""
    if sample.state in ("paused", "suspended"):
        return {row.name for row in sample.databases}
    return {row.name for row in sample.databases if row.paused or row.disabled}


def has_restarted(older: Sample, newer: Sample) -> bool:
    """Whether the pooler has begun to count again: what it has counted never falls otherwise."""
    before = {row.key: row for row in older.stats}
    pairs = ((before[row.key], row) for row in newer.stats if row.key in before)
    return any(
        new.xact_count < old.xact_count
        or new.query_count < old.query_count
        or new.xact_time < old.xact_time
        for old, new in pairs
    )


Gains = Mapping[FlowKey, tuple[Gain, Buckets, Buckets]]


def _by_database(older: Sample, newer: Sample) -> Gains:
    """From SHOW STATS_TOTALS. A database that wasn't there before has counted since it came."""
    before = {row.key: row for row in older.stats}
    seconds = newer.taken_at - older.taken_at
    return {
        row.key: (_stats_gain(before.get(row.key), row, seconds), NOTHING, NOTHING)
        for row in newer.stats
    }


def _stats_gain(older: StatsRow | None, newer: StatsRow, seconds: float) -> Gain:
    xacts = newer.xact_count - (older.xact_count if older else 0)
    time = newer.xact_time - (older.xact_time if older else 0.0)
    waited = newer.wait_time - (older.wait_time if older else 0.0)
    return Gain(seconds, xacts, time - waited, waited)


def _by_pool(older: Sample, newer: Sample, seconds: float) -> Gains:
    """From SHOW HISTOGRAMS. A pool that wasn't there before, or is another one, counts anew."""
    before = {row.key: row for row in older.histograms}
    found: dict[PoolKey, dict[str, tuple[float, Buckets]]] = {}
    for row in newer.histograms:
        grown = _histogram_gain(before.get(row.key), row)
        found.setdefault((row.database, row.user), {})[row.histogram] = grown
    return {key: _pool_gain(grown, seconds) for key, grown in found.items()}


def _histogram_gain(older: HistogramRow | None, newer: HistogramRow) -> tuple[float, Buckets]:
    since = None if older is None else subtract(newer.buckets, older.buckets)
    if older is None or since is None or newer.sum < older.sum:
        return newer.sum, newer.buckets
    return newer.sum - older.sum, since


def _pool_gain(
    grown: Mapping[str, tuple[float, Buckets]], seconds: float
) -> tuple[Gain, Buckets, Buckets]:
    time, xact = grown.get("xact", (0.0, NOTHING))
    waited, wait = grown.get("wait", (0.0, NOTHING))
    count = _count(xact)
    return Gain(seconds, count, time - waited, waited), xact, wait


def _count(buckets: Iterable[tuple[int, int]]) -> int:
    return sum(count for _, count in buckets)
