"""The families that PgBouncer's dashboards query, by all the names that they go by.

Names: prometheus-community/pgbouncer_exporter's, whose `pgbouncer_stats_…` became
`pgbouncer_stats_totals_…` with its version 0.11, here both; and the raw columns of SHOW, as many
runbooks have them (`pgbouncer_pools_cl_active`). Times are in seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pgmux.monitor.console import Row
from pgmux.web.metrics.rows import MICROSECONDS, Column, Labelled, families, labelled, samples
from pgmux.web.metrics.scrape import INSTEAD_OF_APPS, Scrape
from pgmux.web.metrics.text import Family, Kind, labels, number, whole

POOL_LABELS = ("database", "user")
DATABASE_LABELS = ("name", "host", "port", "database", "force_user", "pool_mode")
STATS_PREFIXES = ("pgbouncer_stats_totals_", "pgbouncer_stats_")
MAX_CLIENT_SERIES = 500
OTHER = "other"
MAX_NAME = 63  # characters of an application's name

# column of SHOW POOLS, the exporter's name, meaning
_POOLS = (
    ("cl_active", "client_active_connections", "Clients that have a server, or no query"),
    ("cl_waiting", "client_waiting_connections", "Clients that wait for a server"),
    (
        "cl_active_cancel_req",
        "client_active_cancel_connections",
        "Cancel requests that have been passed on to a server",
    ),
    (
        "cl_waiting_cancel_req",
        "client_waiting_cancel_connections",
        "Cancel requests that are still to be passed on",
    ),
    ("sv_active", "server_active_connections", "Servers that a client has"),
    (
        "sv_active_cancel",
        "server_active_cancel_connections",
        "Server connections that carry a cancel request",
    ),
    (
        "sv_being_canceled",
        "server_being_canceled_connections",
        "Servers that wait for a cancel request to end",
    ),
    ("sv_idle", "server_idle_connections", "Servers that may be used at once"),
    ("sv_used", "server_used_connections", "Servers to be checked before they are used again"),
    ("sv_tested", "server_testing_connections", "Servers that are reset or checked"),
    ("sv_login", "server_login_connections", "Servers that are logging in"),
)
_MAXWAIT = ("client_maxwait_seconds", "maxwait")
_MAXWAIT_HELP = "How long the first client in the queue has waited"

_DATABASES = (
    Column("pool_size", "pool_size", "Servers that a pool may have"),
    Column("min_pool_size", "min_pool_size", "Servers that a pool keeps"),
    Column("reserve_pool_size", "reserve_pool_size", "Servers that a pool may have beyond"),
    Column("reserve_pool_size", "reserve_pool", "Servers that a pool may have beyond"),
    Column("max_connections", "max_connections", "Servers that the database may have, 0: any"),
    Column("current_connections", "current_connections", "Servers that the database has"),
    Column(
        "max_client_connections",
        "max_client_connections",
        "Clients that the database may have, 0: any",
    ),
    Column(
        "current_client_connections",
        "current_client_connections",
        "Clients that the database has",
    ),
    Column("paused", "paused", "1 where the database is paused"),
    Column("disabled", "disabled", "1 where the database takes no new clients"),
)

_STATS = (
    Column("xact_count", "sql_transactions_pooled_total", "Transactions"),
    Column("query_count", "queries_pooled_total", "Queries"),
    Column("bytes_received", "received_bytes_total", "Bytes that clients have sent"),
    Column("bytes_sent", "sent_bytes_total", "Bytes that servers have sent"),
    Column(
        "xact_time",
        "server_in_transaction_seconds_total",
        "Time in transactions, idle in them included",
        MICROSECONDS,
    ),
    Column(
        "query_time", "queries_duration_seconds_total", "Time that queries have taken", MICROSECONDS
    ),
    Column(
        "wait_time",
        "client_wait_seconds_total",
        "Time that clients have waited for a server",
        MICROSECONDS,
    ),
    Column("client_parse_count", "client_parses_total", "Statements that clients have prepared"),
    Column("server_parse_count", "server_parses_total", "Statements prepared on servers"),
    Column("bind_count", "binds_total", "Prepared statements that were bound"),
    Column("server_assignment_count", "server_assignments_total", "Servers given to clients"),
    Column("client_login_count", "client_logins_total", "Clients that have logged in"),
)

_LISTS = {
    "databases": "databases",
    "users": "users",
    "pools": "pools",
    "free_clients": "free_clients",
    "used_clients": "used_clients",
    "login_clients": "login_clients",
    "free_servers": "free_servers",
    "used_servers": "used_servers",
    "dns_names": "cached_dns_names",
    "dns_zones": "cached_dns_zones",
    "dns_queries": "in_flight_dns_queries",
}

_CONFIG = {
    "max_client_conn": ("max_client_connections", "max_client_conn"),
    "max_user_connections": ("max_user_connections",),
    "max_db_connections": ("max_db_connections",),
    "default_pool_size": ("default_pool_size",),
    "reserve_pool_size": ("reserve_pool_size",),
}


def pgbouncer_families(scrape: Scrape) -> Iterator[Family]:
    """All of them, of whichever pooler it is."""
    up = number("1" if scrape.is_up else "0") or "0"
    yield Family("pgbouncer_up", Kind.GAUGE, "1 where the console answers", [("", up)])
    version = labelled(scrape.rows("VERSION"), ("version",))
    yield Family(
        "pgbouncer_version_info",
        Kind.INFO,
        "What the console says that it is",
        [(head, "1") for head, _ in version],
    )
    yield from _lists(scrape.rows("LISTS"))
    yield from _config(scrape.rows("CONFIG"))
    databases = labelled(map(_with_reserve, scrape.rows("DATABASES")), DATABASE_LABELS)
    yield from families(databases, Kind.GAUGE, "pgbouncer_databases_", _DATABASES)
    yield from _pools(labelled(scrape.rows("POOLS"), POOL_LABELS))
    stats = labelled(scrape.rows("STATS_TOTALS"), ("database",))
    for prefix in STATS_PREFIXES:
        yield from families(stats, Kind.COUNTER, prefix, _STATS)
    yield _client_connections(scrape)


def _lists(rows: Iterable[Row]) -> Iterator[Family]:
    for row in rows:
        name, value = _LISTS.get(row.get("list") or ""), number(row.get("items"))
        if name is not None and value is not None:
            help_ = f"{row['list']} of SHOW LISTS"
            yield Family(f"pgbouncer_{name}", Kind.GAUGE, help_, [("", value)])


def _config(rows: Iterable[Row]) -> Iterator[Family]:
    for row in rows:
        value = number(row.get("value"))
        for name in _CONFIG.get(row.get("key") or "", ()):
            if value is not None:
                help_ = f"The setting {row['key']}"
                yield Family(f"pgbouncer_config_{name}", Kind.GAUGE, help_, [("", value)])


def _with_reserve(row: Row) -> Row:
    """SHOW DATABASES called it reserve_pool before 1.24."""
    if "reserve_pool" in row:
        row.setdefault("reserve_pool_size", row["reserve_pool"])
    return row


def _pools(rows: Labelled) -> Iterator[Family]:
    for column, name, help_ in _POOLS:
        found = samples(rows, column)
        for each in (name, column):
            yield Family(f"pgbouncer_pools_{each}", Kind.GAUGE, help_, found)
    waits = [(head, wait) for head, row in rows if (wait := _maxwait(row)) is not None]
    for each in _MAXWAIT:
        yield Family(f"pgbouncer_pools_{each}", Kind.GAUGE, _MAXWAIT_HELP, waits)


def _maxwait(row: Row) -> str | None:
    """Both columns as seconds."""
    try:
        return repr(int(row["maxwait"] or 0) + int(row.get("maxwait_us") or 0) / MICROSECONDS)
    except (KeyError, ValueError):
        return None


# Clients by application


def _client_connections(scrape: Scrape) -> Family:
    """Counted by the pooler where it does that, else here, of its clients."""
    if "APPS" in scrape.tables:
        counts = _count_apps(scrape.rows("APPS"))
    else:
        counts = _count_clients(scrape.rows(INSTEAD_OF_APPS))
    names = ("database", "user", "application_name", "state")
    found = [
        (labels(dict(zip(names, key, strict=True))), str(count)) for key, count in counts.items()
    ]
    help_ = "Clients by database, user, application_name and state"
    return Family("pgbouncer_client_connections", Kind.GAUGE, help_, found)


Key = tuple[str, str, str, str]


def _count_apps(rows: Iterable[Row]) -> Counter[Key]:
    counts: Counter[Key] = Counter()
    for row in rows:
        for state in ("active", "waiting"):
            count = whole(row.get(f"cl_{state}"))
            if count:
                who = (row.get("database") or "", row.get("user") or "")
                counts[(*who, row.get("application_name") or "", state)] += count
    return bound(counts)


def _count_clients(rows: Sequence[Row]) -> Counter[Key]:
    counts: Counter[Key] = Counter()
    for row in rows:
        database, user, state = (row.get(name) or "" for name in ("database", "user", "state"))
        counts[database, user, printable(row.get("application_name") or ""), state] += 1
    return bound(counts)


def bound(counts: Counter[Key]) -> Counter[Key]:
    """The most frequent under their names, what is beyond MAX_CLIENT_SERIES as OTHER."""
    if len(counts) <= MAX_CLIENT_SERIES:
        return counts
    kept: Counter[Key] = Counter()
    for rank, ((database, user, name, state), count) in enumerate(counts.most_common()):
        kept[database, user, name if rank < MAX_CLIENT_SERIES else OTHER, state] += count
    return kept


def printable(name: str) -> str:
    """An application's name without what a terminal would obey, cut where it is too long."""
    if len(name) > MAX_NAME:
        name = name[:MAX_NAME]
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)
