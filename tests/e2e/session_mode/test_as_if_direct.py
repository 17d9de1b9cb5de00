"""What a client in session mode sees: of a direct connection, and of one through the pooler. The
same tests, the same answers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import asyncpg
import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire.messages import MessageReader
from pgmux.wire.parse import parse_error_response
from tests.e2e.pools.clients import Connection, answer, pid, send, value
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

Open = Callable[..., Connection]


@pytest.fixture(scope="module")
def pooler(module_pooler: MakePooler) -> Pooler:
    return module_pooler(settings={"pool_mode": "session"})


@pytest.fixture(params=["direct", "pooled"])
def dsn(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, pooler: Pooler
) -> Callable[..., str]:
    return postgres.dsn if request.param == "direct" else pooler.dsn


@pytest.fixture
def open_(dsn: Callable[..., str]) -> Iterator[Open]:
    """Opens a connection in autocommit; it ends with the test."""
    with ExitStack() as stack:
        yield lambda **parameters: stack.enter_context(
            closing(psycopg.connect(dsn(), autocommit=True, **parameters))
        )


# Who is who


def test_the_process_id_is_the_servers(open_: Open) -> None:
    client = open_()
    assert client.info.backend_pid == pid(client)
    asked = "SELECT count(*) FROM pg_stat_activity WHERE pid = " + str(client.info.backend_pid)
    assert value(open_(), asked) == "1"


def test_asyncpg_knows_it_too(dsn: Callable[..., str]) -> None:
    async def compare() -> bool:
        client = await asyncpg.connect(dsn())
        known: int = client.get_server_pid()
        asked = await client.fetchval("SELECT pg_backend_pid()")
        await client.close()
        return known == asked

    assert asyncio.run(compare())


def test_a_client_is_in_pg_stat_activity_before_its_first_query(open_: Open) -> None:
    client = open_(application_name="quiet", client_encoding="latin1")
    found = value(open_(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'quiet'")
    assert int(found) == client.info.backend_pid
    assert client.info.parameter_status("application_name") == "quiet"
    assert client.info.parameter_status("client_encoding") == "LATIN1"
    assert value(client, "SHOW client_encoding") == "LATIN1"


def test_a_value_that_the_server_refuses_ends_the_login_in_its_words(
    dsn: Callable[..., str],
) -> None:
    with pytest.raises(psycopg.OperationalError, match='invalid value for parameter "TimeZone"'):
        psycopg.connect(dsn(), options="-c TimeZone=nowhere")


# The end


def test_an_idle_client_that_is_terminated_is_told_so_and_no_more(open_: Open) -> None:
    client, other = open_(), open_()
    assert value(other, f"SELECT pg_terminate_backend({client.info.backend_pid})") == "t"
    with socket.socket(fileno=os.dup(client.fileno())) as sock:
        sock.settimeout(10)
        data = b"".join(iter(lambda: sock.recv(4096), b""))
    ((kind, body),) = MessageReader(1 << 20, "server").feed(data)
    assert chr(kind) == "E"
    assert parse_error_response(body).sqlstate == "57P01"


def test_a_query_is_cancelled(open_: Open) -> None:
    client, other = open_(), open_()
    send(client, "SELECT pg_sleep(60)")
    running = f"SELECT state = 'active' FROM pg_stat_activity WHERE pid = {client.info.backend_pid}"
    wait_until(lambda: value(other, running) == "t")
    client.cancel_safe()
    assert "canceling statement due to user request" in answer(client)
    assert value(client, "SELECT 1") == "1"


def test_locks_and_temporary_tables_end_with_their_client(open_: Open) -> None:
    client, other = open_(), open_()
    client.execute("SELECT pg_advisory_lock(4711)")
    client.execute("CREATE TEMP TABLE mine (a int)")
    assert value(other, "SELECT pg_try_advisory_lock(4711)") == "f"
    client.close()
    wait_until(lambda: value(other, "SELECT pg_try_advisory_lock(4711)") == "t")
    found = "SELECT count(*) FROM pg_class WHERE relname = 'mine'"
    wait_until(lambda: value(other, found) == "0")
    other.execute("SELECT pg_advisory_unlock_all()")


# What a session keeps


def test_notifications_say_whose_they_are(open_: Open) -> None:
    listener, other = open_(), open_()
    listener.execute("LISTEN told")
    other.execute("NOTIFY told, 'hello'")
    (got,) = listener.notifies(timeout=10, stop_after=1)
    assert (got.payload, got.pid) == ("hello", other.info.backend_pid)
    assert got.pid == pid(other)


def test_another_role_is_the_sessions_own(open_: Open) -> None:
    client = open_()
    assert client.info.parameter_status("session_authorization") == "postgres"
    client.execute("SET SESSION AUTHORIZATION pg_monitor")
    assert value(client, "SELECT session_user") == "pg_monitor"
    assert client.info.parameter_status("is_superuser") == "off"
    client.execute("RESET SESSION AUTHORIZATION")
    assert client.info.parameter_status("is_superuser") == "on"
    client.execute("SET SESSION AUTHORIZATION pg_monitor")
    client.close()
    assert open_().info.parameter_status("is_superuser") == "on"


def test_named_statements_and_cursors_stay(open_: Open) -> None:
    client = open_()
    client.execute("PREPARE one AS SELECT 1")
    assert value(client, "EXECUTE one") == "1"
    assert client.execute("SELECT 2", prepare=True).fetchone() == (2,)
    assert value(client, "SELECT count(*) FROM pg_prepared_statements") == "2"
    client.execute("DEALLOCATE one")
    assert "does not exist" in value(client, "EXECUTE one")
    client.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
    assert [value(client, "FETCH kept") for _ in range(4)] == ["1", "2", "3", ""]


def test_psql_knows_it(dsn: Callable[..., str]) -> None:
    script = "SELECT pg_backend_pid() AS pid \\gset\nLISTEN a;\nNOTIFY a;\n\\echo :pid\n"
    command = ["psql", "-XAtq", dsn()]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    notified, pid_ = done.stdout.split("\n")[:2]
    assert notified.endswith(f"from server process with PID {pid_}.")
