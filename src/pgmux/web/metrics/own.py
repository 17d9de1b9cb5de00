"""pgmux's families: of tables that PgBouncer doesn't have. See docs/web.md for what each means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pgmux.monitor.console import Row
from pgmux.web.metrics.histograms import histogram_families
from pgmux.web.metrics.rows import MICROSECONDS, Column, Labelled, families, labelled, samples
from pgmux.web.metrics.scrape import Scrape
from pgmux.web.metrics.text import Family, Kind, labels, number, whole

APP_LABELS = ("database", "user", "application_name")

_APP_COUNTERS = (
    Column("xact_count", "transactions_total", "Transactions of the application"),
    Column("query_count", "queries_total", "Queries of the application"),
    Column("bytes_received", "received_bytes_total", "Bytes that the application has sent"),
    Column("bytes_sent", "sent_bytes_total", "Bytes that the application was sent"),
    Column("wait_time", "wait_seconds_total", "Time it has waited for servers", MICROSECONDS),
    Column("server_time", "server_seconds_total", "Time it has held servers", MICROSECONDS),
    Column(
        "idle_xact_time",
        "idle_in_transaction_seconds_total",
        "Time it has held servers and was idle in a transaction",
        MICROSECONDS,
    ),
    Column(
        "wait_caused_time",
        "wait_caused_seconds_total",
        "Its share of the time that others waited while it held servers",
        MICROSECONDS,
    ),
    Column("error_count", "errors_total", "Errors that it was told"),
)
_APP_GAUGES = (
    Column("max_xact_time", "longest_transaction_seconds", "Its longest transaction", MICROSECONDS),
    Column(
        "open_xact_time",
        "open_transaction_seconds",
        "Age of its oldest open transaction",
        MICROSECONDS,
    ),
)
# state to column
_APP_CLIENTS = {"active": "cl_active", "waiting": "cl_waiting"}
_APP_SERVERS = {"active": "sv_active", "idle_in_transaction": "sv_idle_in_xact"}

_HOSTS = (
    Column("max_connections", "max_connections", "max_connections of the PostgreSQL"),
    Column(
        "reserved_connections",
        "reserved_connections",
        "Of these, those that only superusers and pg_use_reserved_connections get",
    ),
    Column("server_connections", "server_connections", "Servers that the pooler has there"),
)


def own_families(scrape: Scrape) -> Iterator[Family]:
    """Those whose tables the console has."""
    yield from histogram_families(scrape.rows("HISTOGRAMS"))
    yield from _apps(labelled(scrape.rows("APPS"), APP_LABELS))
    yield from _errors(scrape.rows("ERRORS"))
    yield from _connects(scrape.rows("CONNECTS"))
    ready = labelled(scrape.rows("READINESS"), ("check", "name"))
    help_ = "1 where the check of SHOW READINESS is passed"
    yield Family("pgmux_ready", Kind.GAUGE, help_, samples(ready, "ready"))
    hosts = labelled(scrape.rows("HOSTS"), ("host", "port"))
    yield from families(hosts, Kind.GAUGE, "pgmux_host_", _HOSTS)
    starts = [value for row in scrape.rows("WEB") if (value := number(row.get("starts")))]
    help_ = "Starts of the web process by the pooler"
    yield Family("pgmux_web_starts_total", Kind.COUNTER, help_, [("", v) for v in starts[:1]])


def _apps(rows: Labelled) -> Iterator[Family]:
    yield _by_state(rows, "pgmux_app_clients", _APP_CLIENTS, "Clients of the application")
    yield _by_state(rows, "pgmux_app_servers", _APP_SERVERS, "Servers that the application holds")
    yield from families(rows, Kind.COUNTER, "pgmux_app_", _APP_COUNTERS)
    yield from families(rows, Kind.GAUGE, "pgmux_app_", _APP_GAUGES)


def _by_state(rows: Labelled, name: str, states: dict[str, str], help_: str) -> Family:
    found = [
        (f'{head[:-1]},state="{state}"}}', value)
        for state, column in states.items()
        for head, value in samples(rows, column)
    ]
    return Family(name, Kind.GAUGE, help_, found)


def _errors(rows: Sequence[Row]) -> Iterator[Family]:
    """By what they say; the pooler's own also by the name that alerts of PgBouncer's users have."""
    found = labelled(rows, ("database", "source", "sqlstate", "error"))
    help_ = "Errors, the pooler's and the servers'"
    yield Family("pgmux_errors_total", Kind.COUNTER, help_, samples(found, "count"))
    by_message: Counter[str] = Counter()
    for row in rows:
        if row.get("source") == "pooler":
            by_message[row.get("error") or ""] += whole(row.get("count"))
    counts = [(labels({"errmsg": text}), str(count)) for text, count in by_message.items()]
    # A counter by its meaning; the name that it has everywhere lacks what counters end with.
    help_ = "Errors of the pooler by their text"
    yield Family("pgbouncer_errors_count", Kind.UNKNOWN, help_, counts)


def _connects(rows: Sequence[Row]) -> Iterator[Family]:
    for event, name in (
        ("connect", "pgmux_connects_total"),
        ("disconnect", "pgmux_disconnects_total"),
    ):
        found = labelled(
            (row for row in rows if row.get("event") == event), ("database", "side", "reason")
        )
        help_ = f"{event.capitalize()}s of clients and servers by reason"
        yield Family(name, Kind.COUNTER, help_, samples(found, "count"))
