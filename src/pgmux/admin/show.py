"""What the console can SHOW: for each its columns, their types, and where their values come from.

Names, order and types are PgBouncer's to the byte (src/admin.c and src/stats.c, 1.25.2): there are
readers that give up at a number of columns that they don't know. What PgBouncer doesn't have is in
show_own.py.
Secrets are shown nowhere: rows hold none, and SHOW CONFIG hides those inside a setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from pgmux.admin.columns import pointer, size, usec, wait, whole
from pgmux.admin.pooler import AdminPooler
from pgmux.admin.show_own import OWN_TABLES
from pgmux.admin.table import Getter, Table, TableColumn, attributes, items
from pgmux.admin.values import Type
from pgmux.config.show import show_config

TEXT, INT4, INT8, NUMERIC = Type.TEXT, Type.INT4, Type.INT8, Type.NUMERIC

HELP = """
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW PEERS|PEER_POOLS
\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
\tSHOW DNS_HOSTS|DNS_ZONES
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSHOW APPS|HISTOGRAMS|ERRORS|CONNECTS|WAITERS
\tSHOW READINESS|HOSTS|WEB
\tSET key = arg
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS
\tWAIT_CLOSE [<db>]"""


# STATS: one counter in the five lists of columns that it is in


@dataclass(frozen=True, slots=True)
class _Counter:
    """Its attribute in rows, and its names: in SHOW STATS as total and average, in the two others
    for these, and (behind total_ or avg_) in SHOW TOTALS.
    """

    attribute: str
    total: str
    average: str
    totals: str
    averages: str
    overall: str

    def column(self, name: str, side: Getter = lambda row: row) -> TableColumn:
        """The column; `side` takes from a row what has the attribute. Times are in µs."""
        is_time = self.attribute.endswith("_time")
        get = usec(self.attribute) if is_time else attrgetter(self.attribute)
        return TableColumn(name, NUMERIC, lambda row: get(side(row)))


def _counter(name: str) -> _Counter:
    return _Counter(name, f"total_{name}", f"avg_{name}", name, name, name)


def _bytes(attribute: str, total: str, average: str) -> _Counter:
    name = f"bytes_{total}"
    return _Counter(attribute, f"total_{total}", f"avg_{average}", name, name, attribute)


def _prepared(name: str) -> _Counter:
    return _Counter(name, f"total_{name}", f"avg_{name}", name, f"avg_{name}", f"ps_{name}")


# PgBouncer's since 1.26.
_LOGINS = _Counter(
    "client_login_count",
    "total_client_login_count",
    "avg_client_login_count",
    "client_login_count",
    "avg_client_login_count",
    "client_login_count",
)
COUNTERS = (
    *map(_counter, ("server_assignment_count", "xact_count", "query_count")),
    _bytes("client_bytes", "received", "recv"),
    _bytes("server_bytes", "sent", "sent"),
    *map(_counter, ("xact_time", "query_time", "wait_time")),
    *map(_prepared, ("client_parse_count", "server_parse_count", "bind_count")),
    _LOGINS,
)


def _totals(row: Any) -> Any:
    return row[0]


def _averages(row: Any) -> Any:
    return row[1]


def _stats_rows(pooler: AdminPooler) -> Iterable[tuple[object, object]]:
    return zip(pooler.snapshot.stats(), pooler.snapshot.averages(), strict=True)


def _overall_rows(pooler: AdminPooler) -> Iterator[tuple[str, int]]:
    totals, averages = pooler.snapshot.overall()
    for prefix, row in (("total", totals), ("avg", averages)):
        for counter in COUNTERS:
            yield f"{prefix}_{counter.overall}", counter.column("value").get(row)


# Rows that aren't the snapshot's


def _config_rows(pooler: AdminPooler) -> list[tuple[str | None, ...]]:
    return list(show_config(pooler.config))


def _list_rows(pooler: AdminPooler) -> list[tuple[str, int]]:
    lists: Any = pooler.snapshot.lists()
    return [(field.name, getattr(lists, field.name)) for field in fields(lists)]


def _state_rows(pooler: AdminPooler) -> list[tuple[str, str]]:
    states = {"active": not pooler.is_paused, "paused": pooler.is_paused, "suspended": False}
    return [(key, "yes" if value else "no") for key, value in states.items()]


def _version_rows(pooler: AdminPooler) -> list[tuple[str]]:
    """One row, as PgBouncer; pgmux's own version is in -V and in `SELECT version()`."""
    return [(pooler.version_lines[0],)]


_CONNECTION = (
    *attributes(TEXT, "type user database replication state addr"),
    *attributes(INT4, "port"),
    *attributes(TEXT, "local_addr"),
    *attributes(INT4, "local_port"),
    *attributes(TEXT, "connect_time request_time"),
    *wait("wait"),
    whole("close_needed"),
    pointer("ptr"),
    pointer("link"),
    *attributes(INT4, "remote_pid"),
    *attributes(TEXT, "tls application_name"),
    *attributes(INT4, "prepared_statements id"),
)

_SOCKET = (
    *_CONNECTION,
    *attributes(INT4, "recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail"),
)


def _zero(name: str) -> TableColumn:
    return TableColumn(name, INT4, lambda _: 0)


TABLES: Mapping[str, Table] = {
    **OWN_TABLES,
    "active_sockets": Table(
        _SOCKET,
        lambda pooler: (row if row.is_active else None for row in pooler.snapshot.sockets()),
    ),
    "clients": Table(_CONNECTION, lambda pooler: pooler.snapshot.clients()),
    "config": Table(items(TEXT, "key", "value", "default", "changeable"), _config_rows),
    "databases": Table(
        (
            *attributes(TEXT, "name host"),
            *attributes(INT4, "port"),
            *attributes(TEXT, "database force_user"),
            *attributes(INT4, "pool_size min_pool_size reserve_pool_size"),
            whole("server_lifetime"),
            *attributes(TEXT, "pool_mode load_balance_hosts"),
            *attributes(INT4, "max_connections current_connections"),
            *attributes(INT4, "max_client_connections current_client_connections"),
            whole("paused"),
            whole("disabled"),
        ),
        lambda pooler: pooler.snapshot.databases(),
    ),
    "dns_hosts": Table(
        (*attributes(TEXT, "hostname"), *attributes(INT8, "ttl"), *attributes(TEXT, "addrs")),
        lambda pooler: pooler.snapshot.dns_hosts(),
    ),
    "dns_zones": Table(
        (*attributes(TEXT, "zonename"), *attributes(INT8, "serial"), *attributes(INT4, "count")),
        lambda pooler: pooler.snapshot.dns_zones(),
    ),
    "lists": Table((*items(TEXT, "list"), *items(INT4, "items", at=1)), _list_rows),
    "mem": Table(
        (
            *attributes(TEXT, "name"),
            _zero("size"),
            *attributes(INT4, "used"),
            *map(_zero, ("free", "memtotal")),
        ),
        lambda pooler: pooler.snapshot.mem(),
    ),
    "peer_pools": Table(
        attributes(
            INT4,
            "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
        ),
        lambda pooler: pooler.snapshot.peer_pools(),
    ),
    "peers": Table(
        (
            *attributes(INT4, "peer_id"),
            *attributes(TEXT, "host"),
            *attributes(INT4, "port pool_size"),
        ),
        lambda pooler: pooler.snapshot.peers(),
    ),
    "pools": Table(
        (
            *attributes(TEXT, "database user"),
            *attributes(INT4, "cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req"),
            *attributes(INT4, "sv_active sv_active_cancel sv_being_canceled"),
            *attributes(INT4, "sv_idle sv_used sv_tested sv_login"),
            *wait("maxwait"),
            *attributes(TEXT, "pool_mode load_balance_hosts"),
        ),
        lambda pooler: pooler.snapshot.pools(),
    ),
    "servers": Table(_CONNECTION, lambda pooler: pooler.snapshot.servers()),
    "sockets": Table(_SOCKET, lambda pooler: pooler.snapshot.sockets()),
    "state": Table(items(TEXT, "key", "value"), _state_rows),
    "stats": Table(
        (
            TableColumn("database", TEXT, lambda row: _totals(row).database),
            *(counter.column(counter.total, _totals) for counter in COUNTERS),
            *(counter.column(counter.average, _averages) for counter in COUNTERS),
        ),
        _stats_rows,
    ),
    "stats_averages": Table(
        (
            *attributes(TEXT, "database"),
            *(counter.column(counter.averages) for counter in COUNTERS),
        ),
        lambda pooler: pooler.snapshot.averages(),
    ),
    "stats_totals": Table(
        (
            *attributes(TEXT, "database"),
            *(counter.column(counter.totals) for counter in COUNTERS),
        ),
        lambda pooler: pooler.snapshot.stats(),
    ),
    "totals": Table((*items(TEXT, "name"), *items(NUMERIC, "value", at=1)), _overall_rows),
    "users": Table(
        (
            *attributes(TEXT, "name"),
            size("pool_size"),
            size("reserve_pool_size"),
            *attributes(TEXT, "pool_mode"),
            *attributes(INT4, "max_user_connections current_connections"),
            *attributes(INT4, "max_user_client_connections current_client_connections"),
        ),
        lambda pooler: pooler.snapshot.users(),
    ),
    "version": Table(items(TEXT, "version"), _version_rows),
}
