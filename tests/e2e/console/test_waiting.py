"""PAUSE and WAIT_CLOSE wait; whoever waits can go on, leave, or be told that it is pointless."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgmux.wire import build
from tests.e2e.pools.clients import (
    Connect,
    Connection,
    answer,
    is_answered,
    send,
    server_count,
    value,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient
from tests.fixtures.waiting import wait_until

CANCELED = "canceling statement due to user request"


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(databases={"db": "dbname=postgres", "other": "dbname=postgres"})


@pytest.fixture
def busy(shared: Pooler, connect: Connect) -> Iterator[Connection]:
    """A client in a transaction."""
    client = connect(shared, "db")
    assert value(client, "BEGIN") == ""
    assert value(client, "SELECT 1") == "1"
    yield client


@pytest.fixture
def console(shared: Pooler, connect: Connect) -> Connection:
    return connect(shared, "pgbouncer")


def ask(pooler: Pooler, console: Connection, command: str) -> None:
    """Send a command that waits; return when it does."""
    logged = "{} '{}'".format(*command.split()) if " " in command else command
    before = pooler.log().count(f"{logged} command issued")
    send(console, command)
    wait_until(lambda: pooler.log().count(f"{logged} command issued") > before)
    assert not is_answered(console)


def is_paused(pooler: Pooler) -> bool:
    (row,) = (row for row in pooler.console("SHOW STATE") if row["key"] == "paused")
    return bool(row["value"] == "yes")


def test_wait_close_waits_for_the_servers_that_reconnect_has_marked(
    shared: Pooler, busy: Connection, console: Connection
) -> None:
    value(console, "RECONNECT db")
    (server,) = (row for row in shared.console("SHOW SERVERS") if row["database"] == "db")
    assert (server["state"], server["close_needed"]) == ("active", 1)
    ask(shared, console, "WAIT_CLOSE db")
    value(busy, "COMMIT")
    assert answer(console) == ""
    assert server_count(shared, "db") == 0


def test_wait_close_can_be_cancelled_and_what_is_marked_stays_so(
    shared: Pooler, busy: Connection, console: Connection
) -> None:
    value(console, "RECONNECT")
    ask(shared, console, "WAIT_CLOSE")
    console.cancel()
    assert CANCELED in answer(console)
    assert value(console, "SHOW VERSION") == "PgBouncer 1.25.2"
    (server,) = (row for row in shared.console("SHOW SERVERS") if row["database"] == "db")
    assert server["close_needed"] == 1


def test_a_console_that_leaves_while_it_waits_leaves_the_others(
    shared: Pooler, busy: Connection, connect: Connect
) -> None:
    value(connect(shared, "pgbouncer"), "RECONNECT db")
    leaving, staying = connect(shared, "pgbouncer"), connect(shared, "pgbouncer")
    for console in (leaving, staying):
        ask(shared, console, "WAIT_CLOSE db")
    leaving.close()
    assert shared.console("SHOW VERSION") and not is_answered(staying)
    value(busy, "COMMIT")
    assert answer(staying) == ""


def test_a_pause_of_one_database_can_be_cancelled(
    shared: Pooler, busy: Connection, console: Connection, connect: Connect
) -> None:
    ask(shared, console, "PAUSE db")
    console.cancel()
    assert CANCELED in answer(console)
    assert "database db is not paused" in value(console, "RESUME db")
    assert value(connect(shared, "db"), "SELECT 'served'") == "served"


def test_a_pause_that_another_console_resumes_says_so(
    shared: Pooler, busy: Connection, console: Connection, connect: Connect
) -> None:
    ask(shared, console, "PAUSE")
    assert is_paused(shared)
    value(connect(shared, "pgbouncer"), "RESUME")
    assert "PAUSE was ended by RESUME" in answer(console)
    assert value(busy, "SELECT 1") == "1"
    assert not is_paused(shared)


def test_commands_behind_one_that_waits_have_their_turn(shared: Pooler, busy: Connection) -> None:
    with RawClient(shared).start("pgbouncer") as console:
        console.send(*map(build.build_query, ("PAUSE db", "RESUME db", "SHOW VERSION")))
        wait_until(lambda: any(row["paused"] for row in shared.console("SHOW DATABASES")))
        value(busy, "COMMIT")
        tags = [
            body.rstrip(b"\0").decode()
            for _ in range(3)
            for kind, body in console.read_until()
            if kind == "C"
        ]
    assert tags == ["PAUSE", "RESUME", "SHOW"]


def test_a_cancel_request_for_a_console_that_does_not_wait_changes_nothing(
    shared: Pooler, console: Connection
) -> None:
    console.cancel()
    assert value(console, "SHOW VERSION") == "PgBouncer 1.25.2"
    assert not is_paused(shared)
