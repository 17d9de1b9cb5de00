"""What a server goes through between two clients, at its login, and when it has to go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import (
    Connect,
    answer,
    kill_backend,
    pid,
    pool_of,
    send,
    server_count,
    value,
    wait_for_log,
    wait_for_pool,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

SERIAL = "SELECT count(*) FROM pool_events WHERE what = '{}'"


@pytest.fixture(scope="module")
def served(module_pooler: MakePooler) -> Pooler:
    """One pooler, its settings changed by SET."""
    return module_pooler(
        databases={
            "*": "",
            "session": "dbname=postgres pool_mode=session pool_size=1",
            "other": "dbname=postgres pool_mode=session pool_size=1 application_name=other",
            "one": "dbname=postgres pool_size=1",
            "greeted": "dbname=postgres connect_query='SET work_mem = ''7MB'''",
            "rude": "dbname=postgres connect_query='SELECT 1/0'",
        }
    )


@contextlib.contextmanager
def changed(pooler: Pooler, **settings: object) -> Iterator[None]:
    """SET, until the end of the block."""
    for name, text in settings.items():
        quoted = str(text).replace("'", "''")
        pooler.console(f"SET {name} = '{quoted}'")
    try:
        yield
    finally:
        pooler.console("RELOAD")
        pooler.console("RECONNECT")


def test_a_session_ends_with_the_reset_query(served: Pooler, connect: Connect) -> None:
    one = connect(served, "session")
    value(one, "SET work_mem = '3MB'; CREATE TEMP TABLE mine (i int)")
    backend = pid(one)
    one.close()
    two = connect(served, "session")
    assert pid(two) == backend
    assert value(two, "SHOW work_mem") != "3MB"
    assert value(two, "SELECT to_regclass('pg_temp.mine')") == ""


def test_the_reset_query_is_the_operators(served: Pooler, connect: Connect) -> None:
    with changed(served, server_reset_query="SET work_mem = '5MB'"):
        one = connect(served, "session")
        pid(one)
        one.close()
        assert value(connect(served, "session"), "SHOW work_mem") == "5MB"


def test_a_transaction_ends_without_the_reset_query_unless_always(
    served: Pooler, connect: Connect
) -> None:
    client = connect(served, "one")
    value(client, "SET work_mem = '3MB'")
    assert value(client, "SHOW work_mem") == "3MB"
    with changed(served, server_reset_query_always=1):
        backend = pid(client)
        assert value(client, "SHOW work_mem") != "3MB"
        assert pid(client) == backend


def test_a_reset_query_that_fails_ends_the_server(served: Pooler, connect: Connect) -> None:
    with changed(served, server_reset_query="SELECT 1/0"):
        one = connect(served, "session")
        backend = pid(one)
        one.close()
        wait_for_log(served, "closing because: reset query failed (age=")
        assert pid(connect(served, "session")) != backend


def test_a_client_that_leaves_in_a_transaction_takes_its_server_with_it(
    served: Pooler, connect: Connect
) -> None:
    client = connect(served, "one")
    backend = pid(client)
    value(client, "BEGIN; SET LOCAL work_mem = '3MB'")
    client.close()
    wait_for_log(served, "closing because: client disconnect while server was not ready (age=")
    assert pid(connect(served, "one")) != backend


def test_a_dead_server_is_found_by_the_check_query_and_nobody_sees_it(
    served: Pooler, connect: Connect, postgres: EmbeddedPostgres
) -> None:
    with changed(served, server_check_delay=0):
        client = connect(served, "one")
        first = pid(client)
        assert pool_of(served, "one")["sv_used"] == 1
        assert pid(client) == first
        kill_backend(postgres, first)
        assert pid(client) != first


def test_a_server_that_was_idle_for_the_delay_is_checked(
    served: Pooler, connect: Connect, postgres: EmbeddedPostgres
) -> None:
    with changed(served, server_check_delay=0.2, server_check_query="SELECT 'checked'"):
        client = connect(served, "one")
        first = pid(client)
        wait_for_pool(served, "one", sv_used=1, sv_idle=0)
        assert pid(client) == first
        seen = "SELECT query FROM pg_stat_activity WHERE pid = {}"
        wait_for_pool(served, "one", sv_used=1)
        send(client, "SELECT 1")
        answer(client)
        assert "checked" not in postgres.psql(seen.format(first))


def test_a_check_query_that_fails_ends_the_server_not_the_client(
    served: Pooler, connect: Connect
) -> None:
    client = connect(served, "one")
    first = pid(client)
    with changed(served, server_check_delay=0.1, server_check_query="SELECT 1/0"):
        wait_for_pool(served, "one", sv_used=1)
        assert pid(client) != first
        assert "closing because: test query failed (age=" in served.log()


def test_no_check_query_no_check(served: Pooler, connect: Connect) -> None:
    with changed(served, server_check_delay=0, server_check_query=""):
        client = connect(served, "one")
        pid(client)
        assert pool_of(served, "one")["sv_idle"] == 1


def test_connect_query_runs_at_each_login(served: Pooler, connect: Connect) -> None:
    assert value(connect(served, "greeted"), "SHOW work_mem") == "7MB"


def test_a_connect_query_that_fails_is_logged_and_ignored(served: Pooler, connect: Connect) -> None:
    assert value(connect(served, "rude"), "SELECT 'in'") == "in"
    said = next(line for line in served.log().splitlines() if "exec_on_query" in line)
    assert " ERROR S-0x" in said
    assert said.endswith("S: error while executing exec_on_query: ERROR: division by zero")


def test_reconnect_closes_servers_as_they_become_free(served: Pooler, connect: Connect) -> None:
    busy, idle = connect(served), connect(served)
    value(busy, "BEGIN")
    kept, gone = pid(busy), pid(idle)
    served.console("RECONNECT")
    assert pid(idle) not in (kept, gone)
    assert pid(busy) == kept
    value(busy, "COMMIT")
    assert pid(busy) != kept
    assert "closing because: close_needed (age=" in served.log()


@pytest.mark.parametrize("fast", [0, 1])
def test_server_fast_close_does_not_wait_for_the_session_to_end(
    served: Pooler, connect: Connect, fast: int
) -> None:
    with changed(served, server_fast_close=fast):
        client = connect(served, "session")
        value(client, "BEGIN")
        served.console("RECONNECT session")
        assert value(client, "SELECT 'still here'") == "still here"
        value(client, "COMMIT")
        if fast:
            wait_until(lambda: server_count(served, "session") == 0)
            assert "database configuration changed" in value(client, "SELECT 1")
        else:
            assert value(client, "SELECT 'still here'") == "still here"


def test_the_servers_own_refusal_reaches_the_client_with_its_sqlstate(
    pooler: MakePooler, postgres: EmbeddedPostgres
) -> None:
    refused = pooler(
        databases={
            "missing": "dbname=there_is_no_such",
            "wrong": "dbname=postgres user=postgres password=wrong",
        },
        settings={"server_login_retry": 60},
    )
    for _ in range(2):  # the second one is not answered from a cache with another SQLSTATE
        with pytest.raises(psycopg.OperationalError) as error:
            psycopg.connect(refused.dsn("missing"))
        assert 'FATAL:  database "there_is_no_such" does not exist' in str(error.value)
        with pytest.raises(psycopg.OperationalError) as error:
            psycopg.connect(refused.dsn("wrong"))
        assert "password authentication failed" in str(error.value)
    log = refused.log()
    assert 'server login failed: FATAL database "there_is_no_such" does not exist' in log
    text = 'closing because: database "there_is_no_such" does not exist (age='
    assert f"missing/postgres@127.0.0.1:{postgres.port} {text}" in log


def test_a_connection_has_one_name_from_its_first_line_in_the_log_to_its_last(
    served: Pooler, connect: Connect
) -> None:
    before = len(served.log())
    client = connect(served, "other")
    pid(client)
    (row,) = (row for row in served.console("SHOW CLIENTS") if row["database"] == "other")
    (server,) = (row for row in served.console("SHOW SERVERS") if row["database"] == "other")
    assert (row["link"], server["link"]) == (server["ptr"], row["ptr"])
    client.close()
    wait_for_pool(served, "other", cl_active=0, sv_idle=1)
    served.console("RECONNECT other")
    wait_until(lambda: server_count(served, "other") == 0)
    lines = served.log()[before:].splitlines()
    name = f"C-{row['ptr']}: other/postgres@127.0.0.1:{row['port']}"
    assert [line.partition(name)[2][:20] for line in lines if name in line] == [
        " login attempt: db=o",
        " closing because: cl",
    ]
    name = f"S-{server['ptr']}: other/postgres@127.0.0.1:{server['port']}"
    origin = f" new connection to server (from 127.0.0.1:{server['local_port']})"
    mine = [line.partition(name)[2] for line in lines if name in line]
    assert mine[0] == origin
    assert mine[-1].startswith(" closing because: database configuration changed (age=")
