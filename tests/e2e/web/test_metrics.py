"""What a Prometheus gets of a real pooler, pgmux's or PgBouncer's."""

from __future__ import annotations

import gzip
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from pgmux.ops.pooler import PGMUX, PoolerProcess, is_listening
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.e2e.pools.clients import Connect
from tests.fixtures.pooler import MakePooler
from tests.fixtures.tools import require_pgbouncer, require_tool
from tests.fixtures.waiting import wait_until
from tests.fixtures.web import HOST, RunWeb, request, value

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
# Everything that prometheus-community/pgbouncer_exporter 0.12 exports of a PgBouncer since 1.18.
EXPORTER = """
up version_info databases users pools free_clients used_clients login_clients free_servers
used_servers cached_dns_names cached_dns_zones in_flight_dns_queries config_max_client_connections
config_max_user_connections client_connections databases_pool_size databases_reserve_pool
databases_max_connections databases_current_connections databases_paused databases_disabled
pools_client_active_connections pools_client_waiting_connections
pools_client_active_cancel_connections pools_client_waiting_cancel_connections
pools_server_active_connections pools_server_idle_connections pools_server_used_connections
pools_server_testing_connections pools_server_login_connections
pools_server_active_cancel_connections pools_server_being_canceled_connections
pools_client_maxwait_seconds
"""
EXPORTER_STATS = """
queries_pooled_total queries_duration_seconds_total received_bytes_total sent_bytes_total
client_wait_seconds_total sql_transactions_pooled_total server_in_transaction_seconds_total
"""
RUNBOOKS = """
pools_cl_active pools_cl_waiting pools_sv_active pools_sv_idle pools_maxwait
databases_current_connections databases_pool_size
"""


def pgbouncer() -> str:
    return require_pgbouncer()


@pytest.fixture(params=["pgmux", "PgBouncer"])
def either(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    """A pooler of either kind with a stats user `looker`, that has had a client."""
    command = PGMUX if request.param == "pgmux" else (pgbouncer(),)
    pooler = PoolerProcess(
        port=find_free_port(),
        databases={"db": f"host={postgres.host} port={postgres.port} dbname=postgres"},
        users={postgres.superuser: postgres.password, "looker": "p w"},
        settings={
            "auth_type": "scram-sha-256",
            "stats_users": "looker",
            "pool_mode": "transaction",
            "max_client_conn": 77,
        },
        command=command,
    )
    with pooler:
        yield pooler


def conninfo(pooler: PoolerProcess, user: str = "looker", dbname: str = "pgbouncer") -> str:
    return psycopg.conninfo.make_conninfo(
        host=pooler.host,
        port=pooler.port,
        user=user,
        password=pooler.users[user],
        dbname=dbname,
        application_name='we"b\\',
    )


def test_every_name_that_dashboards_query_is_there_and_promtool_finds_no_fault(
    either: PoolerProcess, web: RunWeb
) -> None:
    with psycopg.connect(conninfo(either, "postgres", "db"), autocommit=True) as client:
        client.execute("SELECT 1", prepare=False)
        answer = web("--console", conninfo(either)).get("/metrics")
    text = answer.text
    missing = [
        name for name in (EXPORTER + RUNBOOKS).split() if f"\npgbouncer_{name}" not in f"\n{text}"
    ]
    for prefix in ("pgbouncer_stats_", "pgbouncer_stats_totals_"):
        missing += [
            prefix + name for name in EXPORTER_STATS.split() if f"\n{prefix}{name}{{" not in text
        ]
    assert missing == []
    metrics = answer.families()
    labels = {"database": "db", "user": "postgres"}
    assert value(metrics, "pgbouncer_pools_cl_active", **labels) == 1
    assert value(metrics, "pgbouncer_pools_sv_idle", **labels) == 1
    assert value(metrics, "pgbouncer_config_max_client_connections") == 77
    assert value(metrics, "pgbouncer_stats_queries_pooled_total", database="db") == 1
    assert value(metrics, "pgbouncer_client_connections", database="db", application_name='we"b\\')
    promtool = require_tool("promtool")
    check = subprocess.run([promtool, "check", "metrics"], input=answer.body, capture_output=True)
    found = [line for line in (check.stdout + check.stderr).decode().splitlines() if line]
    # The name that alerts of PgBouncer's users have isn't one that promtool would give.
    assert [line for line in found if not line.startswith("pgbouncer_errors_count ")] == []


def test_a_scrape_comes_in_the_format_and_the_size_that_is_asked_for(
    pooler: MakePooler, web: RunWeb
) -> None:
    served = web("--console", pooler().dsn("pgbouncer"))
    plain = served.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    other = served.get("/metrics", Accept=OPENMETRICS, Accept_Encoding="br, gzip;q=1.0")
    assert other.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert other.headers["Content-Encoding"] == "gzip"
    found = {family.name for family in parse_openmetrics(gzip.decompress(other.body).decode())}
    assert {"pgbouncer_up", "pgbouncer_stats_queries_pooled"} <= found


def test_scrapes_at_the_same_time_share_one_reading(pooler: MakePooler, web: RunWeb) -> None:
    running = pooler()
    served = web("--console", running.dsn("pgbouncer"))

    def readings(_: object) -> float:
        return value(served.metrics(), "pgbouncer_stats_queries_pooled_total", database="pgbouncer")

    readings(None)
    with ThreadPoolExecutor(20) as threads:
        seen = list(threads.map(readings, range(60)))
    assert len(set(seen)) < len(seen), "no two scrapes had the same reading"


def test_a_wrong_address_is_said_once_and_everything_else_goes_on(web: RunWeb) -> None:
    port = find_free_port()
    served = web("--console", f"host=127.0.0.1 port={port} user=x password=sekrit")
    wait_until(lambda: "trying again" in served.log())
    for _ in range(3):
        assert served.get("/healthz").status == 200
        ready = served.get("/readyz")
        assert ready.status == 503 and f"127.0.0.1:{port}" in ready.json["reason"]
        answer = served.get("/metrics")
        assert (answer.status, answer.families().keys()) == (200, {"pgbouncer_up"})
        assert value(answer.families(), "pgbouncer_up") == 0
    assert served.log().count(f"no connection to the console at 127.0.0.1:{port}") == 1
    assert "sekrit" not in served.log() + ready.text + answer.text


def test_a_pooler_that_comes_up_later_or_again_is_found(either: PoolerProcess, web: RunWeb) -> None:
    either.close()
    served = web("--console", conninfo(either))
    assert value(served.metrics(), "pgbouncer_up") == 0
    either.start()
    wait_until(lambda: value(served.metrics(), "pgbouncer_up") == 1)
    assert served.get("/readyz").status == 200
    either.close()
    assert value(served.metrics(), "pgbouncer_up") == 0
    either.start()
    wait_until(lambda: value(served.metrics(), "pgbouncer_up") == 1)
    assert len(re.findall("reading the console", served.log())) == 2


def test_reload_pause_and_shutdown_leave_no_scrape_without_an_answer(
    pooler: MakePooler, web: RunWeb, connect: Connect
) -> None:
    running = pooler()
    served = web("--console", running.dsn("pgbouncer"))
    client = connect(running, "postgres")
    client.execute("BEGIN")
    with ThreadPoolExecutor(1) as threads:
        pause = threads.submit(running.console, "PAUSE postgres")
        wait_until(lambda: running.console("SHOW DATABASES")[-1]["paused"])
        metrics = served.metrics()
        assert value(metrics, "pgbouncer_databases_paused", name="postgres") == 1
        running.reload()
        assert value(served.metrics(), "pgbouncer_up") == 1
        client.execute("COMMIT")
        pause.result(10)
    running.console("RESUME postgres")
    running.close()
    assert value(served.metrics(), "pgbouncer_up") == 0


@pytest.mark.parametrize("is_own", [False, True], ids=["by hand", "the pooler's own"])
def test_a_pooler_that_keeps_silent_is_down_until_it_speaks_again(
    pooler: MakePooler, web: RunWeb, is_own: bool
) -> None:
    port = find_free_port()
    running = pooler(pgmux={"http_listen": f"127.0.0.1:{port}"} if is_own else {})
    if not is_own:
        port = web("--console", running.dsn("pgbouncer")).port

    def is_up() -> bool:
        timeout = {"X_Prometheus_Scrape_Timeout_Seconds": "0.5"}
        answer = request(port, "/metrics", **timeout)
        assert answer.status == 200
        return value(answer.families(), "pgbouncer_up") == 1

    wait_until(lambda: is_listening(HOST, port))
    wait_until(is_up)
    running.send_signal(signal.SIGSTOP)
    try:
        assert not is_up()
        ready = request(port, "/readyz")
        assert ready.status == 503 and "has not answered" in ready.json["reason"]
    finally:
        running.send_signal(signal.SIGCONT)
    wait_until(is_up)


def test_hostile_application_names_stay_values_of_a_label(
    pooler: MakePooler, web: RunWeb, connect: Connect
) -> None:
    running = pooler()
    names = ['"} 1\npgbouncer_up 7', "\x1b[2J", "\\", "x" * 5000, "é\u2028"]
    for name in names:
        connect(running, "postgres", application_name=name).execute("SELECT 1")
    served = web("--console", running.dsn("pgbouncer"))
    answer = served.get("/metrics", Accept=OPENMETRICS)
    families = {family.name: family for family in parse_openmetrics(answer.text)}
    assert value(families, "pgbouncer_up") == 1
    clients = [
        s.labels["application_name"]
        for s in families["pgbouncer_client_connections"].samples
        if s.labels["database"] == "postgres"
    ]
    assert "\\" in clients and "\x1b" not in answer.text
    assert max(map(len, clients)) <= 64
