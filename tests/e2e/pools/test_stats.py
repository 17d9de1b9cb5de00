"""SHOW STATS counts what clients did: transactions, queries, bytes, times, waits, statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from pgmux.ops.pooler import PGMUX
from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import Connect, answer, send, value, wait_for_pool
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.tools import require_tool
from tests.fixtures.waiting import wait_until

LINE = re.compile(
    r"LOG stats: \d+ xacts/s, \d+ queries/s, \d+ client parses/s, \d+ server parses/s, \d+ binds/s,"
    r" in \d+ B/s, out \d+ B/s, xact \d+ us, query \d+ us, wait \d+ us$",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(
        databases={
            "db": "dbname=postgres",
            "one": "dbname=postgres pool_size=1",
            "session": "dbname=postgres pool_mode=session",
        },
        settings={"stats_period": 1},
    )


def stats(pooler: Pooler, database: str) -> dict[str, int]:
    """The row of SHOW STATS, `total_` cut off, without averages; empty before the first client."""
    rows = pooler.console("SHOW STATS")
    row = next((row for row in rows if row["database"] == database), {})
    prefix = "total_"
    return {k.removeprefix(prefix): int(v) for k, v in row.items() if k.startswith(prefix)}


class Counted:
    """What a block has added to a database's counters, in `added`."""

    def __init__(self, pooler: Pooler, database: str) -> None:
        self._where = (pooler, database)

    def __enter__(self) -> dict[str, int]:
        self._before = stats(*self._where)
        self.added: dict[str, int] = {}
        return self.added

    def __exit__(self, *exc: object) -> None:
        after = stats(*self._where)
        self.added.update({name: after[name] - self._before.get(name, 0) for name in after})


@pytest.fixture
def client(shared: Pooler, connect: Connect) -> Iterator[psycopg.Connection[Any]]:
    client = connect(shared, "db")
    value(client, "SELECT 1")
    yield client


def test_transactions_and_queries(shared: Pooler, client: psycopg.Connection[Any]) -> None:
    with Counted(shared, "db") as added:
        value(client, "SELECT 1")
        value(client, "BEGIN")
        value(client, "SELECT 2")
        value(client, "COMMIT")
        value(client, "SELECT 1/0")
        value(client, "")
    assert (added["query_count"], added["xact_count"]) == (6, 4)
    assert added["server_assignment_count"] == 4


def test_bytes_both_ways(shared: Pooler, client: psycopg.Connection[Any]) -> None:
    with Counted(shared, "db") as added:
        value(client, f"SELECT length('{'x' * 100_000}')")
        value(client, "SELECT repeat('x', 200000)")
    assert 100_000 < added["received"] < 100_500
    assert 200_000 < added["sent"] < 200_500


def test_times(shared: Pooler, client: psycopg.Connection[Any]) -> None:
    with Counted(shared, "db") as added:
        value(client, "BEGIN")
        value(client, "SELECT pg_sleep(0.2)")
        value(client, "SELECT 1")
        value(client, "COMMIT")
    assert 200_000 <= added["query_time"] <= added["xact_time"] < 1_000_000


def test_the_wait_for_a_server(shared: Pooler, connect: Connect) -> None:
    holder, waiting = connect(shared, "one"), connect(shared, "one")
    with Counted(shared, "one") as added:
        value(holder, "BEGIN")
        send(waiting, "SELECT 1")
        wait_for_pool(shared, "one", cl_waiting=1)
        value(holder, "SELECT pg_sleep(0.2)")
        value(holder, "COMMIT")
        assert answer(waiting) == "1"
    assert 200_000 <= added["wait_time"] < 1_000_000


def test_a_session_is_one_assignment(shared: Pooler, connect: Connect) -> None:
    value(connect(shared, "session"), "SELECT 1")
    with Counted(shared, "session") as added:
        client = connect(shared, "session")
        for _ in range(3):
            value(client, "SELECT 1")
        client.close()
        wait_for_pool(shared, "session", cl_active=1)
    assert added["server_assignment_count"] == 1
    assert (added["query_count"], added["xact_count"]) == (3, 3)  # Terminate is neither


def test_a_login_is_counted_once_it_has_succeeded(shared: Pooler, connect: Connect) -> None:
    with Counted(shared, "db") as added:
        connect(shared, "db")
        connect(shared, "db")
        with pytest.raises(psycopg.OperationalError):
            connect(shared, "db", user="nobody_at_all")
    assert added["client_login_count"] == 2


def test_the_consoles_logins_are_in_the_totals(shared: Pooler) -> None:
    def logins() -> int:
        totals = {row["name"]: row["value"] for row in shared.console("SHOW TOTALS")}
        return int(totals["total_client_login_count"])

    assert logins() + 1 == logins()  # each of these is one


def test_prepared_statements(shared: Pooler, connect: Connect) -> None:
    one, two = connect(shared, "db"), connect(shared, "db")
    with Counted(shared, "db") as added:
        for client in (one, two):
            for number in range(3):
                client.execute("SELECT %s::int AS counted", (number,), prepare=True)
    assert added["client_parse_count"] == 2
    assert added["server_parse_count"] == 1  # the second one's is answered from the cache
    assert added["bind_count"] == 6


def test_totals_are_the_sum_and_averages_come_with_the_period(
    shared: Pooler, client: psycopg.Connection[Any]
) -> None:
    for _ in range(20):
        value(client, "SELECT 1")
    rows = shared.console("SHOW STATS_TOTALS")
    totals = {row["name"]: row["value"] for row in shared.console("SHOW TOTALS")}
    consoles = 1  # SHOW TOTALS is a query itself
    assert totals["total_query_count"] == sum(row["query_count"] for row in rows) + consoles

    def average() -> int:
        (row,) = (row for row in shared.console("SHOW STATS_AVERAGES") if row["database"] == "db")
        return int(row["query_count"])

    wait_until(lambda: value(client, "SELECT 1") and average() > 0)


def test_the_stats_line_is_logged_each_period(shared: Pooler) -> None:
    wait_until(lambda: len(LINE.findall(shared.log())) >= 2)


def script(pooler: Pooler) -> None:
    """Some of everything, whose counts don't depend on time."""
    with closing(psycopg.connect(pooler.dsn("one"), autocommit=True)) as client:
        for sql in ("SELECT 1", "BEGIN", "SELECT 2", "COMMIT", "SELECT 1/0", "", "SELECT 3"):
            value(client, sql)
        for number in range(5):
            client.execute("SELECT %s::int", (number,), prepare=False)
        with client.pipeline():
            for number in range(5):
                client.execute("SELECT %s::text", (str(number),), prepare=False)
        client.execute("CREATE TEMP TABLE counted (i int)")
        with client.cursor().copy("COPY counted FROM STDIN") as copy:
            for number in range(100):
                copy.write_row([number])
        with client.cursor().copy("COPY counted TO STDOUT") as copy:
            assert len(list(copy.rows())) == 100
        client.execute("DROP TABLE counted")


def test_pgbouncer_counts_the_same(postgres: EmbeddedPostgres) -> None:
    counted = []
    for command in (PGMUX, (str(require_tool("pgbouncer")),)):
        pooler = Pooler(postgres, {"one": "dbname=postgres pool_size=1"}, {}, {}, {})
        pooler._command = command
        with pooler:
            script(pooler)
            wait_for_pool(pooler, "one", cl_active=0)
            counted.append(stats(pooler, "one"))
    ours, theirs = counted
    assert ours["query_count"] == theirs["query_count"]
    assert ours["xact_count"] == theirs["xact_count"]
    # We count Terminate's bytes as well, and our answer to set_config isn't their answer to SET.
    # psycopg's pipeline may send a Flush more, as its answers come.
    assert abs(ours["received"] - theirs["received"]) <= 10
    assert abs(ours["sent"] - theirs["sent"]) <= 300
