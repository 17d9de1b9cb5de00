"""Limits over several pools, with a real PostgreSQL: who gets in, who waits, who gives way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import (
    Connect,
    answer,
    is_answered,
    pid,
    send,
    server_count,
    value,
    wait_for_log,
    wait_for_pool,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

USERS = ("limit_alice", "limit_bob")
ALICE, BOB = USERS


@pytest.fixture(scope="module", autouse=True)
def roles(postgres: EmbeddedPostgres) -> None:
    for role in USERS:
        postgres.psql(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")


@pytest.fixture
def limited(pooler: MakePooler) -> MakePooler:
    """`limited(max_db_connections=1)`: databases `app` and `crm`, which are one on the server."""

    def make(**settings: object) -> Pooler:
        entries = dict.fromkeys(("app", "crm"), "dbname=postgres")
        return pooler(databases=entries, settings=settings, users=dict.fromkeys(USERS, "secret"))

    return make


def shown(pooler: Pooler, command: str, name: str) -> dict[str, int]:
    return next(row for row in pooler.console(command) if row["name"] == name)


# Clients


def test_a_client_beyond_the_databases_limit_is_told_so(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(max_db_client_connections=2)
    first = connect(pooler, "app", ALICE)
    connect(pooler, "app", BOB)
    text = r"client connections exceeded \(max_db_client_connections\)"
    with pytest.raises(psycopg.OperationalError, match=text):
        connect(pooler, "app", ALICE)
    row = shown(pooler, "SHOW DATABASES", "app")
    assert (row["max_client_connections"], row["current_client_connections"]) == (2, 2)
    first.close()
    wait_until(lambda: shown(pooler, "SHOW DATABASES", "app")["current_client_connections"] == 1)
    connect(pooler, "app", ALICE)


def test_a_client_beyond_the_users_limit_is_told_so_whatever_the_database(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(max_user_client_connections=2)
    for database in ("app", "crm"):
        connect(pooler, database, ALICE)
    text = r"client connections exceeded \(max_user_client_connections\)"
    with pytest.raises(psycopg.OperationalError, match=text):
        connect(pooler, "app", ALICE)
    connect(pooler, "app", BOB)
    row = shown(pooler, "SHOW USERS", ALICE)
    assert (row["max_user_client_connections"], row["current_client_connections"]) == (2, 2)
    assert "pooler error: client connections exceeded (max_user_client_connections)" in pooler.log()


def test_who_has_not_authenticated_takes_no_clients_place(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(max_db_client_connections=1, auth_type="scram-sha-256")
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            connect(pooler, "app", ALICE, password="wrong")
    connect(pooler, "app", ALICE)


def test_who_may_only_look_at_the_console_has_the_databases_limit_and_an_admin_has_none(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(max_db_client_connections=1, stats_users=ALICE)
    connect(pooler, "pgbouncer", ALICE)
    with pytest.raises(psycopg.OperationalError, match="max_db_client_connections"):
        connect(pooler, "pgbouncer", ALICE)
    connect(pooler, "pgbouncer", "postgres")
    assert shown(pooler, "SHOW DATABASES", "pgbouncer")["current_client_connections"] == 3


# Servers


@pytest.mark.parametrize(
    ("setting", "other"),
    [("max_db_connections", ("app", BOB)), ("max_user_connections", ("crm", ALICE))],
)
def test_an_unused_server_makes_room(
    limited: MakePooler, connect: Connect, setting: str, other: tuple[str, str]
) -> None:
    pooler = limited(**{setting: 1})
    first, second = connect(pooler, "app", ALICE), connect(pooler, *other)
    assert pid(first) != pid(second)
    assert "closing because: evicted (age=" in pooler.log()
    assert value(first, "SELECT current_user") == ALICE
    assert value(second, "SELECT current_user") == other[1]


@pytest.mark.parametrize(
    ("setting", "other"),
    [("max_db_connections", ("app", BOB)), ("max_user_connections", ("crm", ALICE))],
)
def test_who_finds_all_servers_at_work_waits_for_one(
    limited: MakePooler, connect: Connect, setting: str, other: tuple[str, str]
) -> None:
    pooler = limited(**{setting: 2})
    waits = connect(pooler, *other)
    clients = [connect(pooler, "app", ALICE) for _ in range(2)]
    for client in clients:
        value(client, "BEGIN")
    send(waits, "SELECT 'served'")
    wait_for_pool(pooler, *other, cl_waiting=1, sv_active=0)
    assert not is_answered(waits)
    value(clients[0], "COMMIT")
    assert answer(waits) == "served"
    what, name = ("DATABASES", "app") if "db" in setting else ("USERS", ALICE)
    assert shown(pooler, f"SHOW {what}", name)["current_connections"] == 2


def test_min_pool_size_stops_at_the_limit_and_closes_nothing(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(max_db_connections=2, min_pool_size=5)
    connect(pooler, "app", ALICE)
    wait_until(lambda: server_count(pooler, "app") == 2)
    connect(pooler, "crm", ALICE)
    wait_until(lambda: server_count(pooler, "crm") == 2)  # several rounds of the janitor later
    assert server_count(pooler, "app") == 2
    assert "evicted" not in pooler.log()


def test_a_limit_may_be_raised_and_lowered_while_clients_wait(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(max_db_connections=1)
    alice = connect(pooler, "app", ALICE)
    value(alice, "BEGIN")
    bob = psycopg_async_query(pooler, BOB, "SELECT 'served'")
    wait_for_pool(pooler, "app", BOB, cl_waiting=1)
    pooler.console("SET max_db_connections = 2")
    assert next(bob) == "served"
    pooler.console("SET max_db_connections = 1")
    wait_until(lambda: server_count(pooler, "app") == 1)
    assert value(alice, "COMMIT") == ""


def psycopg_async_query(pooler: Pooler, user: str, sql: str) -> Iterator[str]:
    """Begin to log in and ask in a thread of its own; the next value is the answer."""
    answers: list[str] = []

    def ask() -> None:
        with psycopg.connect(pooler.dsn("app", user), autocommit=True) as connection:
            answers.append(str(connection.execute(sql.encode()).fetchall()[0][0]))

    thread = threading.Thread(target=ask)
    thread.start()

    def wait() -> Iterator[str]:
        thread.join(15)
        yield from answers

    return wait()


# The reserve


def test_the_reserve_serves_who_has_waited_long_enough(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=0.2)
    clients = [connect(pooler, "app", ALICE) for _ in range(3)]
    for number, client in enumerate(clients[:2], 1):  # one after the other: they are served so
        send(client, "BEGIN")
        wait_for_pool(pooler, "app", ALICE, sv_active=number)
    send(clients[2], "BEGIN")
    wait_for_pool(pooler, "app", ALICE, sv_active=2, cl_waiting=1)
    assert [answer(client) for client in clients[:2]] == ["", ""]
    assert not is_answered(clients[2])
    assert pooler.log().count("taking connection from reserve_pool") == 1


# Fairness


@contextmanager
def busy(pooler: Pooler, users: tuple[str, ...], clients: int) -> Iterator[Counter[str]]:
    """Clients of each user ask without a pause; counts their answers."""
    answers: Counter[str] = Counter()
    over = threading.Event()

    def ask(user: str) -> None:
        with psycopg.connect(pooler.dsn("app", user), autocommit=True) as connection:
            while not over.is_set():
                connection.execute("SELECT 1")
                answers[user] += 1

    threads = [threading.Thread(target=ask, args=(u,)) for u in users for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join(15)


@pytest.mark.parametrize(("places", "clients"), [(1, 1), (1, 4), (2, 6)])
def test_pools_that_are_always_busy_all_get_on(
    limited: MakePooler, places: int, clients: int
) -> None:
    pooler = limited(max_db_connections=places, default_pool_size=10)
    with busy(pooler, USERS, clients) as answers:
        for _ in range(3):  # each again and again, not once
            goal = {user: answers[user] + 20 for user in USERS}
            wait_until(lambda goal=goal: all(answers[user] > goal[user] for user in USERS))
    assert shown(pooler, "SHOW DATABASES", "app")["current_connections"] <= places


# Pools that nobody uses


def test_a_pool_that_nobody_uses_goes_and_its_numbers_stay(
    limited: MakePooler, connect: Connect
) -> None:
    pooler = limited(server_idle_timeout=0.1, pool_idle_timeout=0.1)
    connection = connect(pooler, "app", ALICE)
    value(connection, "SELECT 1")
    before = stats(pooler)
    connection.close()
    wait_for_log(
        pooler, f"cleaning up idle pool for user {ALICE} on db app because: pool idle timeout"
    )
    assert "app" not in [row["database"] for row in pooler.console("SHOW POOLS")]
    assert stats(pooler) == before


def stats(pooler: Pooler) -> tuple[int, int]:
    row = next(row for row in pooler.console("SHOW STATS") if row["database"] == "app")
    return int(row["total_xact_count"]), int(row["total_server_assignment_count"])
