"""SHOW APPS and SHOW HISTOGRAMS with a real PostgreSQL: who fills the pool is told by name."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.e2e.pools.clients import Connect, answer, send, value, wait_for_pool
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

HOSTILE = "evil\x1b[31m\r\n\u202e<script>" + "x" * 5000


@pytest.fixture
def one_server(pooler: MakePooler) -> Pooler:
    return pooler(databases={"app": "dbname=postgres"}, settings={"default_pool_size": 1})


def apps(pooler: Pooler, database: str = "app") -> dict[str, dict[str, Any]]:
    rows = pooler.console("SHOW APPS")
    return {row["application_name"]: row for row in rows if row["database"] == database}


def histograms(pooler: Pooler) -> dict[str, dict[str, Any]]:
    rows = pooler.console("SHOW HISTOGRAMS")
    return {row["histogram"]: row for row in rows if row["database"] == "app"}


def test_who_holds_the_server_in_an_open_transaction_is_named_and_so_is_who_waits(
    one_server: Pooler, connect: Connect
) -> None:
    hog = connect(one_server, "app", application_name="nightly-report")
    waiter = connect(one_server, "app", application_name="web")
    value(hog, "BEGIN")
    send(waiter, "SELECT 1")
    wait_for_pool(one_server, "app", cl_waiting=1)
    wait_until(lambda: apps(one_server)["nightly-report"]["wait_caused_time"] > 0)
    rows = apps(one_server)
    report, web = rows["nightly-report"], rows["web"]
    assert (report["sv_active"], report["sv_idle_in_xact"], report["cl_active"]) == (1, 1, 1)
    assert report["open_xact_time"] >= report["idle_xact_time"] > 0
    assert (web["cl_waiting"], web["sv_active"], web["wait_caused_time"]) == (1, 0, 0)
    assert web["wait_time"] > 0
    value(hog, "COMMIT")
    assert answer(waiter) == "1"
    later = apps(one_server)
    assert later["nightly-report"]["open_xact_time"] == 0
    assert later["nightly-report"]["max_xact_time"] >= report["open_xact_time"]
    assert later["nightly-report"]["server_time"] >= report["server_time"]
    assert later["web"]["wait_time"] >= web["wait_time"]


def test_drivers_say_who_they_are_at_login_or_by_set(one_server: Pooler) -> None:
    async def by_asyncpg() -> None:
        dsn = one_server.dsn("app")
        connection = await asyncpg.connect(dsn, server_settings={"application_name": "fastapi"})
        await connection.fetch("SELECT 1")
        await connection.close()

    asyncio.run(by_asyncpg())
    url = one_server.dsn("app", application_name="sqlalchemy").replace("://", "+psycopg://")
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    engine.dispose()
    with closing(psycopg.connect(one_server.dsn("app"), autocommit=True)) as plain:
        plain.execute("SET application_name = 'renamed'")
        plain.execute("SELECT 1")
        rows = apps(one_server)
    assert rows["renamed"]["cl_active"] == 1
    assert rows["renamed"]["query_count"] == 1
    assert {"fastapi", "sqlalchemy"} <= set(rows)
    assert rows["sqlalchemy"]["query_count"] >= 1


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_errors_and_times_are_counted_in_each_mode(pooler: MakePooler, mode: str) -> None:
    made = pooler(databases={"app": "dbname=postgres"}, settings={"pool_mode": mode})
    dsn = made.dsn("app", application_name="broken")
    with closing(psycopg.connect(dsn, autocommit=True)) as client:
        for _ in range(3):
            with pytest.raises(psycopg.errors.DivisionByZero):
                client.execute("SELECT 1/0")
        client.execute("SELECT pg_sleep(0.05)")
        row = apps(made)["broken"]
    assert row["error_count"] == 3
    assert row["max_xact_time"] >= 50_000
    assert row["server_time"] >= 50_000


def test_histograms_have_what_took_long(one_server: Pooler, connect: Connect) -> None:
    client = connect(one_server, "app")
    for _ in range(9):
        value(client, "SELECT 1")
    value(client, "SELECT pg_sleep(0.3)")
    rows = histograms(one_server)
    assert {rows[name]["count"] for name in ("wait", "xact", "query")} == {10}
    assert rows["query"]["max"] >= 300_000 > rows["query"]["p50"]
    assert rows["query"]["sum"] >= 300_000
    buckets = [pair.split(":") for pair in rows["query"]["buckets"].split(",")]
    assert sum(int(count) for _, count in buckets) == 10


def test_a_hostile_name_is_shown_printable_and_short(one_server: Pooler, connect: Connect) -> None:
    client = connect(one_server, "app", application_name=HOSTILE)
    assert value(client, "SELECT 1") == "1"
    for name in apps(one_server):
        assert len(name) <= 63
        assert name.isprintable()


def test_a_new_name_for_each_connection_leaves_a_bounded_table(pooler: MakePooler) -> None:
    made = pooler(databases={"app": "dbname=postgres"}, pgmux={"max_applications": 10})
    stays = psycopg.connect(made.dsn("app", application_name="stays"), autocommit=True)
    with closing(stays):
        for i in range(50):
            psycopg.connect(made.dsn("app", application_name=f"one of many {i}")).close()
        rows = apps(made)
        assert len(rows) <= 11
        assert rows["stays"]["cl_active"] == 1
        assert rows["other"]["bytes_received"] > 0
