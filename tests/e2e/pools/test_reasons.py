"""SHOW ERRORS, CONNECTS and WAITERS, and the lines of what takes long: each provoked for real."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import (
    Connect,
    answer,
    kill_backend,
    pid,
    send,
    value,
    wait_for_log,
    wait_for_pool,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

Key = tuple[str, str, str, str]

SETTINGS = {"query_wait_timeout": 1, "idle_transaction_timeout": 0, "max_client_conn": 30}


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(
        databases={
            "db": "dbname=postgres",
            "one": "dbname=postgres pool_size=1",
            "idle": "dbname=postgres",
            "missing": "dbname=missing",
            "down": "host=127.0.0.1 port=1",
            "few": "dbname=postgres max_db_client_connections=1",
            "hurried": "dbname=postgres",
        },
        settings=SETTINGS | {"auth_type": "scram-sha-256"},
        users={"eve": "secret"},
    )


def errors(pooler: Pooler) -> dict[Key, int]:
    rows = pooler.console("SHOW ERRORS")
    names = ("database", "source", "sqlstate", "error")
    return {tuple(row[name] for name in names): int(row["count"]) for row in rows}  # type: ignore[misc]


def connects(pooler: Pooler, database: str) -> dict[tuple[str, str, str], int]:
    rows = [row for row in pooler.console("SHOW CONNECTS") if row["database"] == database]
    return {(row["side"], row["event"], row["reason"]): int(row["count"]) for row in rows}


def refused(pooler: Pooler, db: str, *args: Any, **kwargs: Any) -> None:
    """A login that comes to nothing, or whose first query does."""
    with (
        pytest.raises(psycopg.Error),
        closing(psycopg.connect(pooler.dsn(db, *args, **kwargs), autocommit=True)) as connection,
    ):
        connection.execute("SELECT 1")


# Errors


SQL = {
    "SELEC 1": ("42601", "syntax_error"),
    "SELECT * FROM nowhere": ("42P01", "undefined_table"),
    "SELECT 1/0": ("22012", "division_by_zero"),
    "SELECT 'x'::int": ("22P02", "invalid_text_representation"),
    "DO $$ BEGIN RAISE unique_violation; END $$": ("23505", "unique_violation"),
    "DO $$ BEGIN RAISE 'x'; END $$": ("P0001", "raise_exception"),
    "DO $$ BEGIN RAISE SQLSTATE '23XYZ'; END $$": ("23000", "integrity_constraint_violation"),
    "DO $$ BEGIN RAISE SQLSTATE 'MY666'; END $$": ("", "other"),
}


@pytest.mark.parametrize("sql", SQL)
def test_an_error_of_postgresql_counts(shared: Pooler, connect: Connect, sql: str) -> None:
    key = ("db", "server", *SQL[sql])
    before = errors(shared).get(key, 0)
    connection = connect(shared, "db")
    for _ in range(2):
        value(connection, sql)
    assert errors(shared)[key] == before + 2


def test_an_error_of_a_prepared_statement_counts(shared: Pooler, connect: Connect) -> None:
    key = ("db", "server", "22012", "division_by_zero")
    before = errors(shared).get(key, 0)
    connection = connect(shared, "db")
    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/%s", [0], prepare=True)
    assert errors(shared)[key] == before + 3


REFUSED: dict[str, tuple[Callable[[Pooler], None], Key]] = {
    "no such database": (
        lambda pooler: refused(pooler, "no\nwhere"),
        ("", "pooler", "08P01", "no such database"),
    ),
    "wrong password": (
        lambda pooler: refused(pooler, "db", "eve", "wrong"),
        ("db", "pooler", "08P01", "SASL authentication failed"),
    ),
    "unknown user": (
        lambda pooler: refused(pooler, "db", "nobody", "x"),
        ("db", "pooler", "08P01", "SASL authentication failed"),
    ),
    "startup parameter": (
        lambda pooler: refused(pooler, "db", options="-c made.up=secret"),
        ("db", "pooler", "08P01", "unsupported startup parameter in options"),
    ),
    "server refuses": (
        lambda pooler: refused(pooler, "missing"),
        ("missing", "server", "3D000", "invalid_catalog_name"),
    ),
    "told of the refusal": (
        lambda pooler: refused(pooler, "missing"),
        ("missing", "pooler", "3D000", "server login failed"),
    ),
    "console": (
        lambda pooler: refused(pooler, "pgbouncer", "eve"),
        ("pgbouncer", "pooler", "08P01", "not allowed"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_who_is_refused_counts(shared: Pooler, what: str) -> None:
    refuse, key = REFUSED[what]
    before = errors(shared).get(key, 0)
    refuse(shared)
    assert errors(shared)[key] > before


def test_a_mistaken_console_command_counts_and_its_text_is_kept_nowhere(shared: Pooler) -> None:
    with pytest.raises(psycopg.Error):
        shared.console("SHOW hunter2")
    found = errors(shared)
    assert ("pgbouncer", "pooler", "08P01", "console command refused") in found
    assert "hunter2" not in str(found)


def test_one_client_too_many_counts(shared: Pooler, connect: Connect) -> None:
    connect(shared, "few")
    refused(shared, "few")
    key = ("few", "pooler", "08P01", "client connections exceeded (max_db_client_connections)")
    assert errors(shared)[key] == 1


def test_a_full_pooler_counts_whom_it_turns_away(pooler: MakePooler, connect: Connect) -> None:
    small = pooler(settings={"max_client_conn": 1})
    connect(small)
    refused(small, "postgres")
    key = ("", "pooler", "08P01", "no more connections allowed (max_client_conn)")
    named = ("postgres", *key[1:])
    found = errors(small)
    assert found.get(key, 0) + found.get(named, 0) == 1


def test_a_wait_that_takes_too_long_counts(shared: Pooler, connect: Connect) -> None:
    holder, waiter = connect(shared, "one"), connect(shared, "one")
    holder.execute("BEGIN")
    assert "query_wait_timeout" in value(waiter, "SELECT 1")
    holder.execute("ROLLBACK")
    assert errors(shared)[("one", "pooler", "08P01", "query_wait_timeout")] == 1
    assert connects(shared, "one")[("client", "disconnect", "query_wait_timeout")] == 1


def test_a_server_that_is_killed_counts_by_its_last_words(
    shared: Pooler, postgres: EmbeddedPostgres, connect: Connect
) -> None:
    client = connect(shared, "idle")
    client.execute("BEGIN")
    kill_backend(postgres, pid(client))
    value(client, "SELECT 1")
    wait_until(lambda: ("idle", "server", "57P01", "admin_shutdown") in errors(shared))
    found = connects(shared, "idle")
    assert found[("server", "disconnect", "server conn crashed?")] == 1


def test_a_canceled_query_counts_for_the_server(shared: Pooler, connect: Connect) -> None:
    client = connect(shared, "db")
    send(client, "SELECT pg_sleep(100)")
    wait_for_pool(shared, "db", sv_active=1)
    client.cancel()
    assert "canceling statement" in answer(client)
    wait_until(lambda: ("db", "server", "57014", "query_canceled") in errors(shared))
    assert ("client", "connect", "cancel request") in connects(shared, "")


def test_a_killed_client_counts(shared: Pooler, connect: Connect) -> None:
    client = connect(shared, "hurried", application_name="victim")
    value(client, "SELECT 1")
    rows = shared.console("SHOW CLIENTS")
    (victim,) = (row for row in rows if row["application_name"] == "victim")
    shared.console(f"KILL_CLIENT {victim['id']}")
    assert errors(shared)[("hurried", "pooler", "08P01", "admin forced disconnect")] == 1


def test_garbage_counts_for_nobody(shared: Pooler) -> None:
    key = ("", "pooler", "08P01", "bad packet header")
    before = errors(shared).get(key, 0)
    with socket.create_connection((shared.host, shared.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(1000):
            pass
    assert errors(shared)[key] == before + 1


def test_last_time_is_a_time(shared: Pooler, connect: Connect) -> None:
    value(connect(shared, "db"), "SELEC 1")
    (row,) = (
        row
        for row in shared.console("SHOW ERRORS")
        if (row["database"], row["error"]) == ("db", "syntax_error")
    )
    assert row["last_time"][:2] == "20" and len(row["last_time"].split()) == 3


# Connects


def test_clients_and_servers_that_come_and_go_count(pooler: MakePooler, connect: Connect) -> None:
    fresh = pooler(databases={"db": "dbname=postgres"})
    for _ in range(3):
        with closing(psycopg.connect(fresh.dsn("db"), autocommit=True)) as client:
            client.execute("SELECT 1")
    staying = connect(fresh, "db")
    value(staying, "SELECT 1")
    socket.create_connection((fresh.host, fresh.port)).close()  # a probe
    goodbye = ("client", "disconnect", "client close request")
    wait_until(lambda: connects(fresh, "db").get(goodbye) == 3)
    found = connects(fresh, "db")
    assert found == {
        ("client", "connect", "login"): 4,
        goodbye: 3,
        ("server", "connect", "login"): 1,
    }
    wait_until(lambda: ("client", "disconnect", "probe") in connects(fresh, ""))
    fresh.console("RECONNECT")
    wait_until(
        lambda: (
            connects(fresh, "db").get(("server", "disconnect", "database configuration changed"))
            == 1
        )
    )


def test_a_server_that_cannot_be_reached_counts(shared: Pooler) -> None:
    refused(shared, "down", connect_timeout=5)
    found = connects(shared, "down")
    assert found[("server", "disconnect", "connect failed")] >= 1
    assert found[("server", "connect", "login failed")] >= 1


def test_a_flood_of_made_up_names_makes_one_row(shared: Pooler) -> None:
    before = len(shared.console("SHOW ERRORS")), len(shared.console("SHOW CONNECTS"))
    for number in range(50):
        refused(shared, f"made_up_{number}")
    after = len(shared.console("SHOW ERRORS")), len(shared.console("SHOW CONNECTS"))
    assert after[0] - before[0] <= 1 and after[1] - before[1] <= 2


# Waiters


def test_waiters_and_holders_are_shown_with_what_they_do(
    pooler: MakePooler, connect: Connect
) -> None:
    tight = pooler(databases={"one": "dbname=postgres pool_size=1"})
    holder = connect(tight, "one", application_name="holder")
    holder.execute("BEGIN")
    backend = pid(holder)
    waiter = connect(tight, "one", application_name="waiter \t\x1b[31m")
    send(waiter, "SELECT 1")
    wait_for_pool(tight, "one", cl_waiting=1)
    waits, holds = tight.console("SHOW WAITERS")
    assert (waits["role"], waits["application_name"], waits["state"]) == (
        *("waiting", "waiter ??[31m"),
        "pool_size",
    )
    assert (holds["role"], holds["application_name"], holds["state"]) == (
        *("holding", "holder"),
        "idle in transaction",
    )
    assert (holds["server_pid"], waits["server_pid"]) == (backend, None)
    assert int(holds["duration"]) > int(waits["duration"]) > 0
    assert holds["addr"] == "127.0.0.1" and holds["port"] > 0
    tight.console(f"KILL_CLIENT {holds['client_id']}")
    waiter.pgconn.get_result()
    wait_until(lambda: tight.console("SHOW WAITERS") == [])


# What takes long


@pytest.fixture(scope="module")
def slow(module_pooler: MakePooler) -> Pooler:
    return module_pooler(
        databases={"one": "dbname=postgres pool_size=1"},
        pgmux={
            "log_min_transaction_duration": 0.2,
            "log_min_wait_duration": 0.1,
            "log_format": "json",
        },
    )


def said(pooler: Pooler, kind: str) -> list[dict[str, Any]]:
    """The log's objects whose message begins so."""
    found = [json.loads(line) for line in pooler.log().splitlines() if line.startswith("{")]
    return [line for line in found if line["message"].startswith(kind)]


def test_a_long_transaction_and_who_waits_for_it_are_logged(slow: Pooler, connect: Connect) -> None:
    holder = connect(slow, "one", application_name="shop\n\x1b]0;owned\x07")
    waiter = connect(slow, "one", application_name="report")
    holder.execute("BEGIN")
    holder.execute("SELECT 'hunter2', 42 WHERE %s = 'hunter2'", ["hunter2"])
    send(waiter, "SELECT 1")
    wait_until(lambda: said(slow, "long transaction"))
    (running,) = said(slow, "long transaction")
    assert running["state"] == "idle in transaction"
    assert running["application_name"].startswith("shop")
    assert running["application_name"].isprintable()
    assert running["statement"] == "SELECT ?, ? WHERE $1 = ?"
    assert (running["pool_active"], running["pool_waiting"]) == (1, 1)
    holder.execute("COMMIT")
    waiter.pgconn.get_result()
    wait_until(lambda: len(said(slow, "long transaction")) == 2)
    over = said(slow, "long transaction")[1]
    assert (over["state"], over["statement"]) == ("over", "COMMIT")
    assert over["duration"] > running["duration"] >= 0.2
    (waited,) = said(slow, "long wait")
    assert (waited["application_name"], waited["database"], waited["side"]) == (
        *("report", "one"),
        "client",
    )
    assert "hunter2" not in slow.log()


def test_megabytes_of_a_statement_leave_a_line_of_bounded_length(
    slow: Pooler, connect: Connect
) -> None:
    before = len(said(slow, "long transaction"))
    client = connect(slow, "one")
    value(client, "SELECT length('" + "hunter2" * 500_000 + "'), pg_sleep(0.8)")
    wait_until(lambda: len(said(slow, "long transaction")) >= before + 2)
    for line in said(slow, "long transaction")[before:]:
        assert line["statement"].startswith("SELECT length(?")
        assert len(line["message"]) < 2048
    assert "hunter2" not in slow.log()


def test_thresholds_are_switched_by_set(pooler: MakePooler, connect: Connect) -> None:
    quiet = pooler()
    client = connect(quiet)
    value(client, "SELECT pg_sleep(0.4)")
    assert "long transaction" not in quiet.log()
    quiet.console("SET log_min_transaction_duration = '0.1'")
    quiet.console("SET log_statement_literals = '1'")
    value(client, "SELECT pg_sleep(0.6), 'shown'")
    wait_for_log(quiet, "long transaction", 2)
    assert ": SELECT pg_sleep(0.6), 'shown'" in quiet.log()
    rows = {row["key"]: row["value"] for row in quiet.console("SHOW CONFIG")}
    assert rows["log_min_transaction_duration"] == "0.1"
