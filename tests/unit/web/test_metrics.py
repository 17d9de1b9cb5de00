"""From SHOW's rows to metric families: names, units, labels, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from pgmux.monitor.console import Row
from pgmux.web.exposition import Exposition
from pgmux.web.metrics.histograms import BOUNDS
from pgmux.web.metrics.pgbouncer import MAX_CLIENT_SERIES
from pgmux.web.metrics.scrape import read
from tests.fixtures.web import value
from tests.unit.web.rows import DATABASE, POOL, STATS, TABLES, FakeConsole

Metrics = Mapping[str, Metric]
# Of prometheus-community/pgbouncer_exporter 0.12; before 0.11 the prefix was pgbouncer_stats_.
DASHBOARD_STATS = (
    "queries_pooled_total",
    "queries_duration_seconds_total",
    "received_bytes_total",
    "sent_bytes_total",
    "client_wait_seconds_total",
    "sql_transactions_pooled_total",
    "server_in_transaction_seconds_total",
)
APP: Row = {
    "database": "db",
    "user": "app",
    "application_name": 'we"b',
    "cl_active": "2",
    "cl_waiting": "1",
    "sv_active": "1",
    "sv_idle_in_xact": "1",
    "xact_count": "10",
    "query_count": "11",
    "bytes_received": "12",
    "bytes_sent": "13",
    "wait_time": "1500000",
    "server_time": "2500000",
    "idle_xact_time": "500000",
    "wait_caused_time": "250000",
    "max_xact_time": "125000",
    "open_xact_time": "1000000",
    "error_count": "4",
}


def scrape(tables: Mapping[str, Sequence[Row]], *, is_gone: bool = False) -> Metrics:
    """What a Prometheus that speaks OpenMetrics would see; its parser refuses what is double."""
    scraped = asyncio.run(read(FakeConsole(tables, is_gone=is_gone)))
    body = Exposition(scraped).body(openmetrics=True, zipped=False)
    return {m.name: m for m in parse_openmetrics(body.decode())}


@pytest.mark.parametrize("prefix", ["pgbouncer_stats_", "pgbouncer_stats_totals_"])
@pytest.mark.parametrize("name", DASHBOARD_STATS)
def test_counters_have_the_names_of_old_and_new_exporters(prefix: str, name: str) -> None:
    assert value(scrape(TABLES), prefix + name, database="db") > 0


def test_times_are_in_seconds() -> None:
    metrics = scrape(TABLES)
    name = "pgbouncer_stats_totals_server_in_transaction_seconds_total"
    assert value(metrics, name, database="db") == 5.0
    for name in ("client_maxwait_seconds", "maxwait"):
        assert value(metrics, f"pgbouncer_pools_{name}", database="db", user="app") == 2.5


def test_pools_have_the_exporters_names_and_the_raw_ones() -> None:
    metrics = scrape(TABLES)
    for name, expected in (
        ("client_active_connections", 3),
        ("cl_active", 3),
        ("client_waiting_connections", 1),
        ("cl_waiting", 1),
        ("server_active_connections", 2),
        ("sv_active", 2),
        ("server_idle_connections", 4),
        ("sv_idle", 4),
        ("server_login_connections", 1),
        ("sv_login", 1),
    ):
        assert value(metrics, f"pgbouncer_pools_{name}", database="db", user="app") == expected


def test_databases_lists_and_settings() -> None:
    metrics = scrape(TABLES)
    labels = {"name": "db", "host": "", "port": "5432", "database": "postgres"}
    for name, expected in (
        ("pool_size", 20),
        ("reserve_pool", 5),
        ("reserve_pool_size", 5),
        ("max_connections", 30),
        ("current_connections", 7),
        ("paused", 0),
        ("disabled", 1),
    ):
        assert value(metrics, f"pgbouncer_databases_{name}", **labels) == expected
    assert value(metrics, "pgbouncer_databases") == 2
    assert value(metrics, "pgbouncer_config_max_client_connections") == 77
    assert value(metrics, "pgbouncer_version_info", version="PgBouncer 1.25.2") == 1
    assert value(metrics, "pgbouncer_up") == 1


def test_an_older_pgbouncers_name_of_the_reserve_is_understood() -> None:
    old = {name: text for name, text in DATABASE.items() if name != "reserve_pool_size"}
    metrics = scrape(TABLES | {"DATABASES": [old | {"reserve_pool": "3"}]})
    assert value(metrics, "pgbouncer_databases_reserve_pool", name="db") == 3


def test_missing_columns_and_new_ones_harm_nothing() -> None:
    row = {"database": "db", "user": "app", "cl_active": "1", "news": "x"}
    metrics = scrape(TABLES | {"POOLS": [row], "STATS_TOTALS": [{"database": "db"}]})
    assert value(metrics, "pgbouncer_pools_cl_active", database="db") == 1
    assert "pgbouncer_pools_sv_idle" not in metrics


def test_of_two_rows_with_the_same_labels_one_counts() -> None:
    metrics = scrape(TABLES | {"POOLS": [POOL, POOL | {"cl_active": "9"}]})
    assert value(metrics, "pgbouncer_pools_cl_active", database="db", user="app") == 3


def test_of_a_console_that_has_gone_only_its_absence_is_told() -> None:
    metrics = scrape(TABLES, is_gone=True)
    assert value(metrics, "pgbouncer_up") == 0
    assert list(metrics) == ["pgbouncer_up"]


def test_what_every_pooler_has_and_this_one_refuses_is_told_by_up() -> None:
    metrics = scrape({name: rows for name, rows in TABLES.items() if name != "POOLS"})
    assert value(metrics, "pgbouncer_up") == 0
    assert value(metrics, "pgbouncer_databases") == 2


# Applications


def test_clients_are_counted_by_application_where_the_pooler_does_not() -> None:
    clients: list[Row] = [
        {"database": "db", "user": "app", "application_name": name, "state": state}
        for name, state in (("a", "active"), ("a", "active"), ("a", "waiting"), (None, "active"))
    ]
    metrics = scrape(TABLES | {"CLIENTS": clients})
    name = "pgbouncer_client_connections"
    assert value(metrics, name, application_name="a", state="active") == 2
    assert value(metrics, name, application_name="a", state="waiting") == 1
    assert value(metrics, name, application_name="", state="active") == 1


def test_a_new_name_with_each_connection_does_not_make_a_new_series_each() -> None:
    clients: list[Row] = [
        {"database": "db", "user": "app", "application_name": f"a{i}", "state": "active"}
        for i in range(5000)
    ]
    metrics = scrape(TABLES | {"CLIENTS": clients})
    samples = metrics["pgbouncer_client_connections"].samples
    assert len(samples) == MAX_CLIENT_SERIES + 1
    assert sum(sample.value for sample in samples) == 5000
    assert value(metrics, "pgbouncer_client_connections", application_name="other") == 4500


def test_a_name_that_a_terminal_would_obey_or_that_is_endless_is_tamed() -> None:
    clients: list[Row] = [
        {"database": "db", "user": "app", "application_name": name, "state": "active"}
        for name in ("\x1b[2Jx\n", "y" * 1_000_000)
    ]
    samples = scrape(TABLES | {"CLIENTS": clients})["pgbouncer_client_connections"].samples
    assert {s.labels["application_name"] for s in samples} == {"?[2Jx?", "y" * 63}


def test_applications_are_told_with_what_they_hold_and_cause() -> None:
    metrics = scrape(TABLES | {"APPS": [APP]})
    who = {"database": "db", "user": "app", "application_name": 'we"b'}
    for name, expected in (
        ("transactions_total", 10),
        ("queries_total", 11),
        ("received_bytes_total", 12),
        ("sent_bytes_total", 13),
        ("wait_seconds_total", 1.5),
        ("server_seconds_total", 2.5),
        ("idle_in_transaction_seconds_total", 0.5),
        ("wait_caused_seconds_total", 0.25),
        ("errors_total", 4),
        ("longest_transaction_seconds", 0.125),
        ("open_transaction_seconds", 1),
    ):
        assert value(metrics, f"pgmux_app_{name}", **who) == expected
    assert value(metrics, "pgmux_app_clients", state="active", **who) == 2
    assert value(metrics, "pgmux_app_clients", state="waiting", **who) == 1
    assert value(metrics, "pgmux_app_servers", state="idle_in_transaction", **who) == 1
    assert value(metrics, "pgbouncer_client_connections", state="waiting", **who) == 1


def test_clients_are_not_listed_where_the_pooler_counts_applications() -> None:
    console = FakeConsole(TABLES | {"APPS": [APP], "CLIENTS": []})
    asyncio.run(read(console))
    assert "SHOW CLIENTS" not in console.asked


# What else pgmux tells


def test_histograms_are_cumulative_and_in_seconds() -> None:
    row: Row = {
        "database": "db",
        "user": "app",
        "histogram": "wait",
        "count": "126",
        "sum": "3000000",
        "buckets": "0:120,96:3,1024:1,65536:1,120000000:1",
    }
    metrics = scrape(TABLES | {"HISTOGRAMS": [row]})
    name = "pgmux_wait_seconds"
    for le, expected in (("0.0001", 123), ("0.001", 123), ("0.0025", 124), ("0.1", 125)):
        assert bucket(metrics, name, le) == expected
    assert bucket(metrics, name, "60.0") == 125
    assert bucket(metrics, name, "+Inf") == 126
    samples = {s.name: s.value for s in metrics[name].samples if "le" not in s.labels}
    assert samples == {f"{name}_count": 126, f"{name}_sum": 3.0}
    assert len(metrics[name].samples) == len(BOUNDS) + 3


def bucket(metrics: Metrics, name: str, le: str) -> float:
    (found,) = (s.value for s in metrics[name].samples if s.labels.get("le") == le)
    return float(found)


@pytest.mark.parametrize("buckets", ["x:1", "8", "8:1,,:"])
def test_buckets_that_cannot_be_read_leave_out_their_row_alone(buckets: str) -> None:
    bad: Row = {"database": "a", "user": "u", "histogram": "xact", "sum": "1", "buckets": buckets}
    good: Row = bad | {"database": "b", "buckets": "8:1"}
    metrics = scrape(TABLES | {"HISTOGRAMS": [bad, good]})
    found = {s.labels["database"] for s in metrics["pgmux_transaction_seconds"].samples}
    assert found == {"b"}


def test_errors_go_by_our_names_and_by_that_of_pgbouncers_alerts() -> None:
    full = "no more connections allowed (max_client_conn)"
    rows: list[Row] = [
        {"database": d, "source": s, "sqlstate": c, "error": e, "count": n}
        for d, s, c, e, n in (
            ("db", "pooler", "53300", full, "2"),
            ("other", "pooler", "53300", full, "3"),
            ("db", "server", "23505", "unique_violation", "7"),
        )
    ]
    metrics = scrape(TABLES | {"ERRORS": rows})
    assert value(metrics, "pgmux_errors_total", database="other", error=full) == 3
    assert value(metrics, "pgmux_errors_total", sqlstate="23505", source="server") == 7
    assert value(metrics, "pgbouncer_errors_count", errmsg=full) == 5
    assert len(metrics["pgbouncer_errors_count"].samples) == 1


def test_connects_readiness_hosts_and_starts() -> None:
    connects: list[Row] = [
        {"database": "db", "side": "client", "event": event, "reason": "r", "count": count}
        for event, count in (("connect", "5"), ("disconnect", "4"))
    ]
    host: Row = {"host": "h", "port": "5432", "max_connections": None, "server_connections": "3"}
    metrics = scrape(
        TABLES
        | {
            "CONNECTS": connects,
            "READINESS": [{"check": "database", "name": "db", "ready": "1", "reason": ""}],
            "HOSTS": [host],
            "WEB": [{"pid": "1", "starts": "2"}],
        }
    )
    assert value(metrics, "pgmux_connects_total", database="db", side="client") == 5
    assert value(metrics, "pgmux_disconnects_total", database="db", reason="r") == 4
    assert value(metrics, "pgmux_ready", check="database", name="db") == 1
    assert value(metrics, "pgmux_host_server_connections", host="h", port="5432") == 3
    assert "pgmux_host_max_connections" not in metrics  # PostgreSQL hasn't been asked yet
    assert value(metrics, "pgmux_web_starts_total") == 2


def test_stats_of_an_unknown_login_counter_are_only_there_where_the_pooler_counts_them() -> None:
    assert "pgbouncer_stats_client_logins" not in scrape(TABLES)
    metrics = scrape(TABLES | {"STATS_TOTALS": [STATS | {"client_login_count": "6"}]})
    assert value(metrics, "pgbouncer_stats_client_logins_total", database="db") == 6
