"""Clients that don't block: a query is sent, and its answer read when the test wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

Connection = psycopg.Connection[Any]
Connect = Callable[..., Connection]

ANSWER_TIMEOUT = 15.0  # seconds
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)


def send(connection: Connection, sql: str) -> None:
    """Send a query and don't wait for its answer."""
    connection.pgconn.send_query(sql.encode())


def answer(connection: Connection) -> str:
    """The first value of the answer to what was sent, or its error; fails after ANSWER_TIMEOUT."""
    timer = threading.Timer(ANSWER_TIMEOUT, connection.cancel)
    timer.start()
    results = []
    try:
        while (result := connection.pgconn.get_result()) is not None:
            results.append(result)
    finally:
        timer.cancel()
    for result in results:
        if result.status not in _GOOD:
            return result.error_message.decode()
    return (results[0].get_value(0, 0) or b"").decode() if results[0].ntuples else ""


def is_answered(connection: Connection) -> bool:
    """Whether all of the answer is there."""
    connection.pgconn.consume_input()
    return not connection.pgconn.is_busy()


def value(connection: Connection, sql: str) -> str:
    """The first value of the answer to a query, or its error."""
    send(connection, sql)
    return answer(connection)


def pid(connection: Connection) -> int:
    """The process id of the server that runs the client's query."""
    return int(value(connection, "SELECT pg_backend_pid()"))


def pool_of(pooler: Pooler, database: str, user: str = "postgres") -> dict[str, Any]:
    """The row of SHOW POOLS."""
    (row,) = pools_of(pooler, database, user)
    return row


def pools_of(pooler: Pooler, database: str, user: str) -> list[dict[str, Any]]:
    """The same; none before its first client is in."""
    rows = pooler.console("SHOW POOLS")
    return [row for row in rows if (row["database"], row["user"]) == (database, user)]


def server_count(pooler: Pooler, database: str) -> int:
    """Logged-in servers of a database, by SHOW SERVERS."""
    return sum(row["database"] == database for row in pooler.console("SHOW SERVERS"))


def wait_for_pool(pooler: Pooler, database: str, user: str = "postgres", **columns: int) -> None:
    """Return once SHOW POOLS says so: `wait_for_pool(pooler, "db", cl_waiting=1)`."""
    wait_until(
        lambda: any(columns.items() <= row.items() for row in pools_of(pooler, database, user))
    )


def wait_for_log(pooler: Pooler, text: str, count: int = 1) -> None:
    """Return once the log has the text so often."""
    wait_until(lambda: pooler.log().count(text) >= count)


def kill_backend(postgres: EmbeddedPostgres, backend: int) -> None:
    """End a server's process; return when it is gone."""
    postgres.psql(f"SELECT pg_terminate_backend({backend}, 5000)")
