"""What a client begins with is what RESET, SET … TO DEFAULT and DISCARD ALL return to, whatever the
server behind it began with.
"""

from __future__ import annotations

import psycopg
import pytest

from tests.e2e.pools.clients import Connect, Connection, value
from tests.fixtures.pooler import MakePooler, Pooler

STARTUP = "-c TimeZone=Asia/Tokyo -c statement_timeout=1234 -c lock_timeout=4321"


@pytest.fixture(scope="module", params=["login", "query"])
def pooler(module_pooler: MakePooler, request: pytest.FixtureRequest) -> Pooler:
    return module_pooler(
        settings={"pool_mode": "session", "default_pool_size": 1},
        pgmux={"session_link": request.param},
    )


@pytest.fixture(scope="module")
def at_login(module_pooler: MakePooler) -> Pooler:
    return module_pooler(settings={"pool_mode": "session"})


@pytest.fixture
def client(pooler: Pooler, connect: Connect) -> Connection:
    connection = connect(pooler, options=STARTUP)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET statement_timeout = 5000")
    connection.execute("SET lock_timeout = 6000")
    return connection


def shown(client: Connection) -> tuple[str, str, str]:
    names = ("TimeZone", "statement_timeout", "lock_timeout")
    zone, *timeouts = (value(client, f"SHOW {name}") for name in names)
    assert zone == client.info.parameter_status("TimeZone")
    return (zone, *timeouts)  # type: ignore[return-value]


@pytest.mark.parametrize("sql", ["RESET ALL", "DISCARD ALL"])
def test_all_return_at_once(client: Connection, sql: str) -> None:
    client.execute(sql.encode())
    assert shown(client) == ("Asia/Tokyo", "1234ms", "4321ms")


@pytest.mark.parametrize(
    "sql",
    [
        "RESET statement_timeout",
        "/* it */ reset Statement_Timeout;",
        "SET statement_timeout TO DEFAULT",
        "set session statement_timeout = default ;",
    ],
)
def test_one_returns_and_others_stay(client: Connection, sql: str) -> None:
    client.execute(sql.encode())
    assert shown(client) == ("UTC", "1234ms", "6s")


@pytest.mark.parametrize(
    "sql", ["RESET TimeZone", "RESET TIME ZONE", "SET TimeZone TO DEFAULT", "SET TIME ZONE DEFAULT"]
)
def test_a_reported_one_returns(client: Connection, sql: str) -> None:
    client.execute(sql.encode())
    assert shown(client) == ("Asia/Tokyo", "5s", "6s")


@pytest.mark.parametrize(
    "sql", ["RESET statement_timeout; SELECT 1", "SELECT 1; RESET statement_timeout"]
)
def test_one_of_several_statements_returns_and_others_stay(client: Connection, sql: str) -> None:
    client.execute(sql.encode())
    assert shown(client) == ("UTC", "1234ms", "6s")


def test_several_in_one_string_all_return(client: Connection) -> None:
    client.execute("SELECT 1; RESET ALL")
    assert shown(client) == ("Asia/Tokyo", "1234ms", "4321ms")


def test_those_of_a_pipeline_return(client: Connection) -> None:
    client.execute("SET idle_session_timeout = 9000")
    with client.pipeline():
        client.execute("SET statement_timeout TO DEFAULT")
        client.execute("SET lock_timeout TO DEFAULT")
        client.execute("SET idle_in_transaction_session_timeout TO DEFAULT")
    assert shown(client) == ("UTC", "1234ms", "4321ms")
    assert value(client, "SHOW idle_session_timeout") == "9s"


def test_a_prepared_statement_does_it_too(client: Connection) -> None:
    client.execute("RESET statement_timeout", prepare=True)
    client.execute("RESET TimeZone", prepare=True)
    assert shown(client) == ("Asia/Tokyo", "1234ms", "6s")


def test_so_does_what_nobody_follows(at_login: Pooler, connect: Connect) -> None:
    client = connect(at_login, options="-c work_mem=7MB -c geqo=off")
    client.execute("SET work_mem = '8MB'")
    client.execute("SET geqo = on")
    client.execute("RESET work_mem")
    assert (value(client, "SHOW work_mem"), value(client, "SHOW geqo")) == ("7MB", "on")
    client.execute("DISCARD ALL")
    assert (value(client, "SHOW work_mem"), value(client, "SHOW geqo")) == ("7MB", "off")


def test_what_is_rolled_back_has_not_been_reset(client: Connection) -> None:
    with client.transaction(force_rollback=True):
        client.execute("RESET TimeZone")
        client.execute("SET statement_timeout TO DEFAULT")
        assert shown(client) == ("Asia/Tokyo", "1234ms", "6s")
    assert shown(client) == ("UTC", "5s", "6s")


def test_what_an_aborted_transaction_refuses_has_not_been_reset(client: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), client.transaction():
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.execute("SELECT 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            client.execute("SET TimeZone TO DEFAULT")
        raise psycopg.errors.DivisionByZero
    client.execute("SET work_mem = '5MB'")
    assert shown(client) == ("UTC", "5s", "6s")


def test_what_failed_has_not_been_reset(client: Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject):
        client.execute("SET nothing_of_the_kind TO DEFAULT")
    client.execute("SET work_mem = '5MB'")
    assert shown(client) == ("UTC", "5s", "6s")
