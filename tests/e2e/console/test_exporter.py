"""prometheus-pgbouncer-exporter, as Prometheus scrapes it, against what SHOW says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from pgmux.ops.postgres import find_free_port
from tests.e2e.pools.clients import Connect, answer, send, value, wait_for_pool
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

DIRECTORY = Path(sys.prefix) / "exporter"  # where the Makefile installs it

Labels = dict[str, str]


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(
        databases={"db": "dbname=postgres pool_size=2", "other": "dbname=template1"},
        settings={
            "max_client_conn": 77,
            "max_user_connections": 33,
            "stats_users": "scraper",
            "auth_type": "scram-sha-256",
        },
        users={"scraper": "p@ss"},
    )


@pytest.fixture(scope="module")
def exporter(shared: Pooler, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    if not DIRECTORY.is_dir():
        pytest.fail(f"{DIRECTORY} is missing: `make test` installs it")
    directory, port = tmp_path_factory.mktemp("exporter"), find_free_port()
    config = {
        "exporter_host": "127.0.0.1",
        "exporter_port": port,
        "pgbouncers": [{"dsn": shared.dsn("pgbouncer", "scraper", application_name="scraper")}],
    }
    (directory / "config.yml").write_text(yaml.safe_dump(config))
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "prometheus_pgbouncer_exporter.cli"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(DIRECTORY)},
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        wait_until(lambda: process.poll() is not None or is_up(url))
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.kill()
        process.wait()


def is_up(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except URLError:
        return False


def scrape(url: str) -> dict[str, Metric]:
    """What Prometheus would see, by name."""
    with urlopen(url, timeout=10) as response:
        return {m.name: m for m in text_string_to_metric_families(response.read().decode())}


def sample(metrics: dict[str, Metric], name: str, labels: Labels) -> float:
    (found,) = (s.value for s in metrics[name].samples if s.labels == labels)
    return float(found)


def test_a_scrape_succeeds_as_a_stats_user(exporter: str) -> None:
    assert sample(scrape(exporter), "pgbouncer_up", {}) == 1


def test_pools_are_what_show_pools_says(shared: Pooler, exporter: str, connect: Connect) -> None:
    clients = [connect(shared, "db") for _ in range(3)]
    for client in clients:
        send(client, "SELECT pg_advisory_lock(1), pg_sleep(0.2), pg_advisory_unlock(1)")
    wait_for_pool(shared, "db", cl_active=2, cl_waiting=1, sv_active=2)
    metrics = scrape(exporter)
    (row,) = (r for r in shared.console("SHOW POOLS") if r["database"] == "db")
    labels = {"database": "db", "user": "postgres"}
    for name, column in (
        ("client_active_connections", "cl_active"),
        ("client_waiting_connections", "cl_waiting"),
        ("server_active_connections", "sv_active"),
        ("server_idle_connections", "sv_idle"),
        ("server_used_connections", "sv_used"),
        ("server_testing_connections", "sv_tested"),
        ("server_login_connections", "sv_login"),
    ):
        assert sample(metrics, f"pgbouncer_pools_{name}", labels) == row[column], name
    maxwait = sample(metrics, "pgbouncer_pools_client_maxwait_seconds", labels)
    assert 0 < maxwait <= row["maxwait"] + row["maxwait_us"] / 1e6
    for client in clients:
        answer(client)


def test_stats_are_what_show_stats_says(shared: Pooler, exporter: str, connect: Connect) -> None:
    client = connect(shared, "other")
    value(client, "SELECT repeat('x', 1000)")
    metrics = scrape(exporter)
    (row,) = (r for r in shared.console("SHOW STATS") if r["database"] == "other")
    for name, column in (
        ("transactions", "total_xact_count"),
        ("queries", "total_query_count"),
        ("transactions_duration_microseconds", "total_xact_time"),
        ("queries_duration_microseconds", "total_query_time"),
        ("waiting_duration_microseconds", "total_wait_time"),
        ("received_bytes", "total_received"),
        ("sent_bytes", "total_sent"),
    ):
        shown = sample(metrics, f"pgbouncer_stats_{name}", {"database": "other"})
        assert shown == row[column], name
    assert row["total_sent"] > 1000


def test_databases_and_configuration(shared: Pooler, exporter: str) -> None:
    metrics = scrape(exporter)
    labels = {"database": "db", "backend_database": "postgres"}
    assert sample(metrics, "pgbouncer_databases_database_pool_size", labels) == 2
    assert sample(metrics, "pgbouncer_databases_database_max_connections", labels) == 0
    assert sample(metrics, "pgbouncer_config_max_client_conn", {}) == 77
    assert sample(metrics, "pgbouncer_config_max_user_connections", {}) == 33


def test_a_scraper_that_may_not_look_is_told_so(shared: Pooler) -> None:
    shared.users["stranger"] = "secret"
    shared.reload()
    with (
        pytest.raises(psycopg.OperationalError, match="not allowed"),
        closing(psycopg.connect(shared.dsn("pgbouncer", "stranger"))),
    ):
        pass
