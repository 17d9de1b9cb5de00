"""Who is connected to a real PostgreSQL, as it tells by groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from pgmux.ops import activity
from pgmux.ops.activity import Activity, Connected, read_activity
from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.ops.server_connection import ServerConnection
from tests.fixtures.postgres import Role
from tests.fixtures.waiting import wait_until

Connect = Callable[..., Connection[tuple[object, ...]]]


@pytest.fixture
def server(postgres: EmbeddedPostgres) -> Iterator[ServerConnection]:
    with ServerConnection(parameters(postgres)) as connection:
        yield connection


def parameters(postgres: EmbeddedPostgres) -> dict[str, str]:
    return {
        "host": postgres.host,
        "port": str(postgres.port),
        "user": postgres.superuser,
        "password": postgres.password,
        "dbname": "postgres",
    }


@pytest.fixture
def connect(postgres: EmbeddedPostgres, create_database: Callable[..., str]) -> Iterator[Connect]:
    """`connect(name)`: a connection to a database of its own, as a superuser unless told."""
    database = create_database()
    with ExitStack() as stack:

        def made(name: str, **more: str) -> Connection[tuple[object, ...]]:
            wanted = parameters(postgres) | {"dbname": database, "application_name": name} | more
            connection = psycopg.connect(make_conninfo("", **wanted), autocommit=True)
            stack.callback(connection.close)
            return connection

        yield made


def of(found: Activity, name: str) -> list[Connected]:
    return [group for group in found.groups if group.application_name == name]


def test_connections_are_counted_by_what_they_share(
    server: ServerConnection, connect: Connect
) -> None:
    crowd = [connect("crowd") for _ in range(3)]
    crowd[0].execute("BEGIN")
    connect("crowd", options="-c jit=off")
    [group] = of(read_activity(server), "crowd")
    assert (group.connections, group.idle, group.idle_in_transaction) == (4, 3, 1)
    assert group.is_superuser
    assert not group.is_pooler
    assert group.address == "127.0.0.1"
    assert group.database == crowd[0].info.dbname
    assert group.longest_idle >= 0
    assert group.longest_transaction >= group.longest_idle_in_transaction >= 0


def test_the_unix_socket_has_no_address(
    server: ServerConnection, postgres: EmbeddedPostgres, connect: Connect
) -> None:
    connect("beside", host=str(postgres.socket_dir))
    [group] = of(read_activity(server), "beside")
    assert group.address is None


def test_the_poolers_connections_are_known_by_their_pids(
    server: ServerConnection, connect: Connect
) -> None:
    first, _ = connect("both"), connect("both")
    found = read_activity(server, [first.info.backend_pid, 2**32 - 1])
    assert sorted((group.is_pooler, group.connections) for group in of(found, "both")) == [
        (False, 1),
        (True, 1),
    ]
    assert found.pooler_connections == 1


def test_our_own_connection_and_what_no_client_is_arent_counted(
    server: ServerConnection, connect: Connect
) -> None:
    worker = connect("parallel")
    worker.execute(
        "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0;"
        "SET min_parallel_table_scan_size = 0; SET parallel_tuple_cost = 0;"
        "CREATE TABLE t AS SELECT generate_series(1, 10000) AS x;"
        "ALTER TABLE t SET (parallel_workers = 2); ANALYZE t"
    )
    connect("maker").execute(
        "CREATE FUNCTION slowly(x int) RETURNS int PARALLEL SAFE LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.002); RETURN x; END'"
    )
    worker.pgconn.send_query(b"SELECT count(slowly(x)) FROM t")
    workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'"
    wait_until(lambda: server.one(workers) == 2)
    found = read_activity(server)
    worker.cancel_safe()
    assert of(found, "pgmux") == []
    [group] = of(found, "parallel")
    assert (group.connections, group.active) == (1, 1)
    assert found.background > 2
    assert found.walsenders == 0
    assert found.connections == sum(group.connections for group in found.groups)


def test_limits_are_those_of_the_server(server: ServerConnection) -> None:
    found = read_activity(server)
    assert (found.max_connections, found.reserved) == (200, 3)
    assert not found.is_partial


def test_a_role_without_rights_counts_all_and_says_that_it_sees_less(
    postgres: EmbeddedPostgres, connect: Connect, create_role: Callable[..., Role]
) -> None:
    connect("hidden"), connect("hidden")
    user, password = create_role()
    own = {"user": user, "password": password}
    with ServerConnection(parameters(postgres) | own) as small:
        found = read_activity(small)
    [group] = of(found, "hidden")
    assert found.is_partial
    assert (group.connections, group.hidden, group.idle) == (2, 2, 0)
    assert group.is_superuser
    assert group.address is None
    postgres.psql(f"GRANT pg_read_all_stats TO {user}")
    with ServerConnection(parameters(postgres) | own) as small:
        found = read_activity(small)
    assert not found.is_partial
    assert of(found, "hidden")[0].idle == 2


def test_the_answer_stays_small_where_every_connection_has_a_name_of_its_own(
    server: ServerConnection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        connect(f"name {number}")
    limit = f"LIMIT {activity.MOST_GROUPS}"
    monkeypatch.setattr(activity, "_GROUPS", activity._GROUPS.replace(limit, "LIMIT 2"))
    found = read_activity(server)
    assert len(found.groups) == 2
    assert found.connections == found.ungrouped + sum(group.connections for group in found.groups)
    assert found.ungrouped >= 2
