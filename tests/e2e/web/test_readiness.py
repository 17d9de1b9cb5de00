"""/readyz of real poolers: when it says no, and why."""

from __future__ import annotations

import psycopg
import pytest

from pgmux.ops.pooler import is_listening
from pgmux.ops.postgres import find_free_port
from tests.e2e.pools.clients import Connect
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until
from tests.fixtures.web import HOST, RunWeb, WebProcess, request, value


def dead_server() -> str:
    return f"host=127.0.0.1 port={find_free_port()}"


def fail_to_connect(pooler: Pooler, database: str) -> None:
    with pytest.raises(psycopg.Error):
        psycopg.connect(pooler.dsn(database), connect_timeout=10).close()


def is_ready(served: WebProcess, path: str = "/readyz") -> bool:
    answer = served.get(path)
    assert answer.status == (200 if answer.json["ready"] else 503)
    assert bool(answer.json["reason"]) != answer.json["ready"]
    return bool(answer.json["ready"])


def test_one_of_two_servers_down_is_for_the_strict_and_for_who_asks_about_it(
    pooler: MakePooler, web: RunWeb, connect: Connect
) -> None:
    running = pooler(
        databases={"good": "dbname=postgres", "bad": dead_server()},
        settings={"query_wait_timeout": 1, "server_login_retry": 60},
    )
    served = web("--console", running.dsn("pgbouncer"))
    connect(running, "good").execute("SELECT 1")
    assert is_ready(served, "/readyz?strict=1")
    fail_to_connect(running, "bad")
    assert is_ready(served)
    assert is_ready(served, "/readyz?database=good")
    for path in ("/readyz?strict=1", "/readyz?database=bad"):
        assert not is_ready(served, path)
        assert "database bad: " in served.get(path).json["reason"]
    assert not is_ready(served, "/readyz?database=none")
    metrics = served.metrics()
    assert value(metrics, "pgmux_ready", check="database", name="bad") == 0
    assert value(metrics, "pgmux_ready", check="database", name="good") == 1


def test_without_any_server_it_is_not_ready(pooler: MakePooler, web: RunWeb) -> None:
    running = pooler(
        databases={"bad": dead_server()},
        settings={"query_wait_timeout": 1, "server_login_retry": 60},
    )
    served = web("--console", running.dsn("pgbouncer"))
    fail_to_connect(running, "bad")
    assert not is_ready(served)
    assert "no database can have a server" in served.get("/readyz").json["reason"]
    assert served.get("/healthz").status == 200


def test_a_bad_configuration_leaves_the_one_before_in_force(
    pooler: MakePooler, web: RunWeb
) -> None:
    running = pooler(databases={"good": "dbname=postgres"})
    served = web("--console", running.dsn("pgbouncer"))
    running.settings["pool_mode"] = "nonsense"
    with pytest.raises(psycopg.Error):
        running.reload()
    assert is_ready(served)
    assert not is_ready(served, "/readyz?strict=1")
    assert "pool_mode" in served.get("/readyz?strict=1").json["reason"]


def test_the_poolers_own_web_process_serves_the_same(
    pooler: MakePooler, web: RunWeb, connect: Connect
) -> None:
    port = find_free_port()
    running = pooler(pgmux={"http_listen": f"127.0.0.1:{port}"})
    connect(running, "postgres", application_name="mine").execute("SELECT 1")
    wait_until(lambda: is_listening(HOST, port))
    metrics = request(port, "/metrics").families()
    assert value(metrics, "pgbouncer_up") == 1
    assert value(metrics, "pgmux_web_starts_total") == 1
    assert value(metrics, "pgmux_app_transactions_total", application_name="mine") == 1
    assert value(metrics, "pgmux_query_seconds_count", database="postgres") >= 1
    assert value(metrics, "pgmux_connects_total", database="postgres", side="client") >= 1
    by_hand = web("--console", running.dsn("pgbouncer")).metrics()
    assert by_hand.keys() == metrics.keys()
