"""Who shares which servers: pool modes, (database, user), forced users, `*`, and sizes."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import (
    Connect,
    answer,
    is_answered,
    pid,
    pool_of,
    send,
    server_count,
    value,
    wait_for_pool,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

ROLES = ("pool_alice", "pool_bob", "pool_small", "pool_session")


@pytest.fixture(scope="module", autouse=True)
def roles(postgres: EmbeddedPostgres) -> None:
    for role in ROLES:
        postgres.psql(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")


@pytest.fixture(scope="module")
def many(module_pooler: MakePooler, postgres: EmbeddedPostgres, roles: None) -> Pooler:
    """A pooler with an entry for each thing to be seen here."""
    login = f"user=postgres password={postgres.password}"
    return module_pooler(
        databases={
            "session": "dbname=postgres pool_mode=session",
            "transaction": "dbname=postgres",
            "statement": "dbname=postgres pool_mode=statement",
            "forced": f"dbname=postgres {login}",
            "two": "dbname=postgres pool_size=2",
            "three": "dbname=postgres",
            "warm": "dbname=postgres min_pool_size=2",
            "forced_warm": f"dbname=postgres min_pool_size=3 {login}",
            "*": "",
        },
        settings={"default_pool_size": 3},
        users=dict.fromkeys(ROLES, "secret"),
    )


@pytest.fixture(scope="module", autouse=True)
def users_section(many: Pooler) -> None:
    """[users] has no place in the fixture: it is a file of its own, included."""
    path = many.directory / "users.ini"
    path.write_text("[users]\npool_small = pool_size=1\npool_session = pool_mode=session\n")
    path.chmod(0o644)
    (many.directory / "pgbouncer.ini").open("a").write(f"%include {path}\n")
    many.console("RELOAD")


def test_session_mode_keeps_the_server_from_login_to_logout(many: Pooler, connect: Connect) -> None:
    one, two = connect(many, "session"), connect(many, "session")
    pids = {pid(one), pid(two)}
    assert len(pids) == 2
    assert {pid(one), pid(two)} == pids
    value(one, "CREATE TEMP TABLE mine (i int)")
    assert value(one, "SELECT count(*) FROM mine") == "0"


def test_transaction_mode_keeps_the_server_for_a_transaction(
    many: Pooler, connect: Connect
) -> None:
    one, two = connect(many, "transaction"), connect(many, "transaction")
    assert pid(one) == pid(two)
    value(one, "BEGIN")
    assert pid(one) != pid(two)
    value(one, "COMMIT")
    assert pool_of(many, "transaction")["sv_active"] == 0


def test_statement_mode_ends_who_opens_a_transaction(many: Pooler, connect: Connect) -> None:
    one, two = connect(many, "statement"), connect(many, "statement")
    assert pid(one) == pid(two)
    text = "transaction blocks not allowed in statement pooling mode"
    assert text in value(one, "BEGIN")
    assert one.pgconn.status == psycopg.pq.ConnStatus.BAD
    assert f"closing because: {text} (age=" in many.log()
    assert pid(two) > 0


def test_a_pool_belongs_to_a_database_and_a_user(many: Pooler, connect: Connect) -> None:
    pids = {
        pid(connect(many, "transaction", "pool_alice")),
        pid(connect(many, "transaction", "pool_bob")),
        pid(connect(many, "three", "pool_alice")),
    }
    assert len(pids) == 3
    assert value(connect(many, "transaction", "pool_bob"), "SELECT current_user") == "pool_bob"


def test_a_forced_user_is_one_pool_for_everybody(many: Pooler, connect: Connect) -> None:
    alice, bob = connect(many, "forced", "pool_alice"), connect(many, "forced", "pool_bob")
    assert pid(alice) == pid(bob)
    assert value(alice, "SELECT current_user") == "postgres"
    users = [row["user"] for row in many.console("SHOW POOLS") if row["database"] == "forced"]
    assert users == ["postgres"]


def test_a_database_that_no_entry_names_is_served_by_the_fallback(
    many: Pooler, connect: Connect, create_database: Callable[..., str]
) -> None:
    name = create_database()
    assert value(connect(many, name), "SELECT current_database()") == name
    assert f"registered new auto-database: {name}" in many.log()
    assert name in [row["name"] for row in many.console("SHOW DATABASES")]


@pytest.mark.parametrize(
    ("database", "user", "size"),
    [("three", "postgres", 3), ("two", "postgres", 2), ("two", "pool_small", 1)],
    ids=["default_pool_size", "the database's", "the user's"],
)
def test_no_more_servers_than_the_pool_size_work_at_once(
    many: Pooler, connect: Connect, database: str, user: str, size: int
) -> None:
    clients = [connect(many, database, user) for _ in range(size + 2)]
    for client in clients:
        send(client, "SELECT pg_sleep(0.2), pg_backend_pid()")
    wait_for_pool(many, database, user, sv_active=size, cl_waiting=2, cl_active=size)
    assert [answer(client) for client in clients] == [""] * (size + 2)
    wait_for_pool(many, database, user, sv_active=0, sv_idle=size, cl_waiting=0)


def test_a_user_may_have_a_pool_mode_of_its_own(many: Pooler, connect: Connect) -> None:
    one = connect(many, "transaction", "pool_session")
    two = connect(many, "transaction", "pool_session")
    assert pid(one) != pid(two)
    assert pool_of(many, "transaction", "pool_session")["pool_mode"] == "session"


def test_min_pool_size_is_kept_once_there_is_a_client(many: Pooler, connect: Connect) -> None:
    assert server_count(many, "warm") == 0
    connect(many, "warm")
    wait_until(lambda: server_count(many, "warm") == 2)


def test_min_pool_size_with_a_forced_user_needs_no_client(many: Pooler) -> None:
    wait_until(lambda: server_count(many, "forced_warm") == 3)


def test_a_pool_size_changes_with_reload_both_ways(pooler: MakePooler, connect: Connect) -> None:
    resized = pooler(databases={"db": "dbname=postgres pool_size=1"})
    clients = [connect(resized, "db") for _ in range(3)]
    for client in clients:
        send(client, "SELECT pg_sleep(0.7)")
    wait_for_pool(resized, "db", sv_active=1, cl_waiting=2)
    resized.databases["db"] = resized.entry("dbname=postgres pool_size=3")
    resized.reload()
    wait_for_pool(resized, "db", sv_active=3, cl_waiting=0)
    assert [answer(client) for client in clients] == [""] * 3
    resized.databases["db"] = resized.entry("dbname=postgres pool_size=1")
    resized.reload()
    wait_until(lambda: server_count(resized, "db") == 1)
    assert resized.log().count("closing because: too many servers in the pool (age=") == 2


def test_pool_size_zero_is_no_limit(pooler: MakePooler, connect: Connect) -> None:
    unlimited = pooler(settings={"default_pool_size": 0})
    clients = [connect(unlimited) for _ in range(30)]
    for client in clients:
        send(client, "SELECT pg_sleep(0.5)")
    wait_for_pool(unlimited, "postgres", sv_active=30, cl_waiting=0)
    assert [answer(client) for client in clients] == [""] * 30


def test_clients_are_served_in_the_order_in_which_they_came(
    pooler: MakePooler, connect: Connect
) -> None:
    single = pooler(databases={"db": "dbname=postgres pool_size=1"})
    holder = connect(single, "db")
    clients = [connect(single, "db") for _ in range(5)]
    value(holder, "BEGIN")
    for number, client in enumerate(clients, 1):
        send(client, "SELECT clock_timestamp(), pg_sleep(0.01)")
        wait_for_pool(single, "db", cl_waiting=number)
    assert not any(is_answered(client) for client in clients)
    value(holder, "COMMIT")
    times = [answer(client) for client in clients]
    assert times == sorted(times)


@pytest.mark.parametrize(("round_robin", "distinct"), [(0, 1), (1, 3)], ids=["lifo", "round robin"])
def test_the_last_server_used_is_used_next_unless_they_take_turns(
    pooler: MakePooler, connect: Connect, round_robin: int, distinct: int
) -> None:
    turns = pooler(settings={"server_round_robin": round_robin})
    clients = [connect(turns) for _ in range(3)]
    for client in clients:
        value(client, "BEGIN")
    for client in clients:
        value(client, "COMMIT")
    assert len({pid(clients[0]) for _ in range(3)}) == distinct
