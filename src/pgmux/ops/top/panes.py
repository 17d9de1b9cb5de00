"""The tables of `pgmux top`: for each what its columns are, and its rows out of a picture.

A pane whose table the console doesn't have is left out, and so are columns that need one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.rates import CounterKey, PoolRate, StatsRate
from pgmux.monitor.sample import Connections
from pgmux.monitor.tables import (
    AppRow,
    ConnectRow,
    DatabaseRow,
    ErrorRow,
    PoolRow,
    WaiterRow,
)
from pgmux.ops import figures
from pgmux.ops.top.table import Column, Table, application, make_row
from pgmux.ops.top.watch import Picture, PoolKey


@dataclass(frozen=True, slots=True)
class Pane:
    """A table under a title; `needs` is what the console must have for it."""

    name: str
    title: str
    table: Callable[[Picture], Table]
    needs: str | None = None

    def is_told(self, picture: Picture) -> bool:
        return self.needs not in picture.sample.not_told


# Pools


@dataclass(frozen=True, slots=True)
class _PoolItem:
    row: PoolRow
    size: int
    free: int
    rate: PoolRate | None


_POOLS = (
    Column("database", "row.database"),
    Column("user", "row.user"),
    Column("clients", "row.cl_active", figures.count),
    Column("waiting", "row.cl_waiting", figures.count, is_alarm=True),
    Column("max wait", "row.maxwait", figures.time, is_alarm=True),
    Column("servers", "row.sv_active", figures.count),
    Column("idle", "free", figures.count),
    Column("size", "size", figures.count),
    Column("tx/s", "rate.xact_rate", figures.rate, needs="HISTOGRAMS"),
    Column("query/s", "rate.query_rate", figures.rate, needs="HISTOGRAMS"),
    Column("wait p50", "rate.wait.p50", figures.time, needs="HISTOGRAMS"),
    Column("wait p99", "rate.wait.p99", figures.time, needs="HISTOGRAMS"),
    Column("tx p99", "rate.xact.p99", figures.time, needs="HISTOGRAMS"),
    Column("query p99", "rate.query.p99", figures.time, needs="HISTOGRAMS"),
    Column("login", "row.sv_login", figures.count),
    Column("mode", "row.pool_mode"),
)


def pools(picture: Picture) -> Table:
    """The pools, those with waiting clients first, then the busiest."""
    sample, rates = picture.sample, picture.rates.pools if picture.rates else {}
    columns = tuple(column for column in _POOLS if column.needs not in sample.not_told)
    sizes = sample.pool_sizes()
    ours = [pool for pool in sample.pools if pool.database != ADMIN_DATABASE]
    ours.sort(key=lambda pool: (-pool.cl_waiting, -pool.sv_active, -pool.cl_active, pool.key))
    items = [_PoolItem(row, sizes[row.key], _free(row), rates.get(row.key)) for row in ours]
    rows = [make_row(columns, item, *item.row.key, pool=item.row.key) for item in items]
    return Table(columns, rows, "No client has come yet.")


def _free(pool: PoolRow) -> int:
    return pool.sv_idle + pool.sv_used + pool.sv_tested


# Databases


@dataclass(frozen=True, slots=True)
class _DatabaseItem:
    row: DatabaseRow
    rate: StatsRate | None
    max_connections: int | None
    max_clients: int | None
    state: str


_DATABASES = (
    Column("database", "row.name"),
    Column("tx/s", "rate.xact_rate", figures.rate),
    Column("query/s", "rate.query_rate", figures.rate),
    Column("in/s", "rate.received_rate", figures.size),
    Column("out/s", "rate.sent_rate", figures.size),
    Column("tx time", "rate.xact_time", figures.time),
    Column("query time", "rate.query_time", figures.time),
    Column("wait time", "rate.wait_time", figures.time),
    Column("servers", "row.current_connections", figures.count),
    Column("of", "max_connections", figures.count),
    Column("clients", "row.current_client_connections", figures.count),
    Column("of", "max_clients", figures.count),
    Column("state", "state", is_alarm=True),
    Column("host", "row.host"),
    Column("port", "row.port", figures.plain),
    Column("dbname", "row.database"),
)


def databases(picture: Picture) -> Table:
    """The databases, the busiest first."""
    rates = picture.rates.databases if picture.rates else {}
    items = [
        _DatabaseItem(
            row,
            rates.get(row.name),
            row.max_connections or None,
            row.max_client_connections or None,
            "paused" if row.paused else "disabled" if row.disabled else "",
        )
        for row in picture.sample.databases
        if row.name != ADMIN_DATABASE
    ]
    items.sort(key=lambda item: (-(item.rate.xact_rate if item.rate else 0), item.row.name))
    return Table(_DATABASES, [make_row(_DATABASES, item, item.row.name) for item in items], "None.")


# Applications

_APPS = (
    Column("application", "row.application_name", application),
    Column("database", "row.database"),
    Column("user", "row.user"),
    Column("held", "servers_held", figures.rate),
    Column("share", "server_share", figures.share),
    Column("idle in tx", "servers_idle_in_xact", figures.rate),
    Column("caused", "waits_caused", figures.rate, is_alarm=True),
    Column("waits", "clients_waiting", figures.rate),
    Column("tx/s", "xact_rate", figures.rate),
    Column("query/s", "query_rate", figures.rate),
    Column("clients", "row.cl_active", figures.count),
    Column("waiting", "row.cl_waiting", figures.count, is_alarm=True),
    Column("servers", "row.sv_active", figures.count),
    Column("open tx", "row.open_xact_time", figures.time),
    Column("max tx", "row.max_xact_time", figures.time),
    Column("errors", "row.error_count", figures.count),
    Column("in/s", "received_rate", figures.size),
    Column("out/s", "sent_rate", figures.size),
)


@dataclass(frozen=True, slots=True)
class _Unrated:
    """An application of a first sample."""

    row: AppRow


def applications(picture: Picture) -> Table:
    """The applications by the server time that they held in the interval."""
    sample = picture.sample
    apps = picture.rates.apps if picture.rates else [_Unrated(row) for row in sample.apps]
    forced = sample.forced_users()
    rows = []
    for app in apps:
        database, user, _ = app.row.key
        pool = (database, forced.get(database, user))
        rows.append(make_row(_APPS, app, *app.row.key, pool=pool))
    return Table(_APPS, rows, "No client has come yet.")


# Who waits, and for whom

_WAITERS = (
    Column("database", "database"),
    Column("user", "user"),
    Column("role", "role"),
    Column("for", "duration", figures.time),
    Column("state", "state"),
    Column("application", "application_name", application),
    Column("address", "addr"),
    Column("port", "port", figures.plain),
    Column("client id", "client_id", figures.plain),
    Column("server pid", "server_pid", figures.plain),
    Column("since", "since"),
)
_NOBODY_WAITS = "Nobody waits."


def waiters(picture: Picture) -> Table:
    """Of each pool where somebody waits, its waiters and who holds its servers."""
    return _waiters_table(picture.sample.waiters, _WAITERS)


def waiters_of(picture: Picture, pool: PoolKey) -> Table:
    """The same of one pool."""
    ours = [row for row in picture.sample.waiters if (row.database, row.user) == pool]
    return _waiters_table(ours, _WAITERS[2:])


def _waiters_table(waiting: Iterable[WaiterRow], columns: tuple[Column, ...]) -> Table:
    rows = [
        make_row(columns, row, row.role, row.client_id, row.port, pool=(row.database, row.user))
        for row in waiting
    ]
    return Table(columns, rows, _NOBODY_WAITS)


# Errors, connects, hosts


@dataclass(frozen=True, slots=True)
class _Counted:
    row: ErrorRow | ConnectRow
    rate: float | None


_ERRORS = (
    Column("database", "row.database"),
    Column("source", "row.source"),
    Column("sqlstate", "row.sqlstate"),
    Column("per s", "rate", figures.rate, is_alarm=True),
    Column("count", "row.count", figures.count),
    Column("error", "row.error"),
    Column("last", "row.last_time"),
)
_CONNECTS = (
    Column("database", "row.database"),
    Column("side", "row.side"),
    Column("event", "row.event"),
    Column("per s", "rate", figures.rate),
    Column("count", "row.count", figures.count),
    Column("reason", "row.reason"),
)


def errors(picture: Picture) -> Table:
    """Errors by kind, those that come now first, then the most frequent."""
    gained = picture.rates.errors if picture.rates else None
    items = _counted(picture, picture.sample.errors, gained)
    return Table(
        _ERRORS, [make_row(_ERRORS, item, *item.row.key) for item in items], "No errors yet."
    )


def connects(picture: Picture) -> Table:
    """Connects and disconnects by reason, in the same order."""
    gained = picture.rates.connects if picture.rates else None
    items = _counted(picture, picture.sample.connects, gained)
    return Table(
        _CONNECTS, [make_row(_CONNECTS, item, *item.row.key) for item in items], "None yet."
    )


def _counted(
    picture: Picture,
    rows: Sequence[ErrorRow | ConnectRow],
    gained: Mapping[CounterKey, int] | None,
) -> list[_Counted]:
    if picture.rates is None or gained is None:
        items = [_Counted(row, None) for row in rows]
    else:
        seconds = picture.rates.seconds
        items = [_Counted(row, gained.get(row.key, 0) / seconds) for row in rows]
    return sorted(items, key=lambda item: (-(item.rate or 0), -item.row.count, item.row.key))


_HOSTS = (
    Column("host", "host"),
    Column("port", "port", figures.plain),
    Column("servers", "server_connections", figures.count),
    Column("max_connections", "max_connections", figures.count),
    Column("reserved", "reserved_connections", figures.count),
    Column("asked", "asked_time"),
)


def hosts(picture: Picture) -> Table:
    """PostgreSQL's own limits, and our connections there."""
    rows = [make_row(_HOSTS, row, row.host, row.port) for row in picture.sample.hosts]
    return Table(_HOSTS, rows, "No server has been connected to yet.")


PANES = (
    Pane("pools", "Pools", pools),
    Pane("databases", "Databases", databases),
    Pane("applications", "Applications", applications, "APPS"),
    Pane("waiters", "Waiters", waiters, "WAITERS"),
    Pane("errors", "Errors", errors, "ERRORS"),
    Pane("connects", "Connects", connects, "CONNECTS"),
    Pane("hosts", "Hosts", hosts, "HOSTS"),
)


# The connections of an opened pool

_CLIENTS = (
    Column("state", "state"),
    Column("application", "application_name", application),
    Column("wait", "wait", figures.time),
    Column("address", "addr"),
    Column("port", "port", figures.plain),
    Column("connected", "connect_time"),
    Column("last request", "request_time"),
    Column("id", "id", figures.plain),
    Column("tls", "tls"),
)
_SERVERS = (
    Column("state", "state"),
    Column("pid", "remote_pid", figures.plain),
    Column("application", "application_name", application),
    Column("address", "addr"),
    Column("port", "port", figures.plain),
    Column("connected", "connect_time"),
    Column("last request", "request_time"),
    Column("prepared", "prepared_statements", figures.count),
    Column("tls", "tls"),
)


def clients_of(connections: Connections) -> Table:
    """The clients of a pool: who waits first, then who works."""
    order = ("waiting", "active")
    rows = sorted(
        connections.clients,
        key=lambda row: (order.index(row.state) if row.state in order else len(order), -row.wait),
    )
    return Table(_CLIENTS, [make_row(_CLIENTS, row, row.ptr) for row in rows], "No clients.")


def servers_of(connections: Connections) -> Table:
    """The servers of a pool, those that work first."""
    rows = sorted(connections.servers, key=lambda row: (row.state != "active", row.state))
    return Table(_SERVERS, [make_row(_SERVERS, row, row.ptr) for row in rows], "No servers.")
