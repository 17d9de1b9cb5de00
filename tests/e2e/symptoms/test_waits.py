"""Symptoms of waiting: troubleshooting.md, "Waiting, and limits"."""

from __future__ import annotations

from contextlib import ExitStack, closing

import psycopg
import pytest
import sqlalchemy as sa

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import Connect, answer, send, value, wait_for_log, wait_for_pool
from tests.e2e.symptoms.conftest import Seen, Shop
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until


@pytest.mark.symptom("`query_wait_timeout`")
def test_a_transaction_that_is_left_open_keeps_others_waiting(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1")
    holder = connect(pooler, "shop", "app", application_name="billing")
    waits = connect(pooler, "shop", "app", application_name="web")
    value(holder, "BEGIN")
    send(waits, "SELECT 1")
    wait_for_pool(pooler, "shop", "app", cl_waiting=1)
    symptom.told(pooler)
    pooler.console("SET query_wait_timeout = '0.1'")
    symptom.seen(answer(waits))
    value(holder, "COMMIT")
    assert value(connect(pooler, "shop", "app"), "SELECT 'served'") == "served"


@pytest.mark.symptom("`maxwait` is high, `cl_waiting` is above 0")
def test_a_pool_that_is_too_small_for_what_is_asked_at_a_time(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1")
    with ExitStack() as stack:
        dsn = pooler.dsn("shop", "app")
        holder = stack.enter_context(closing(psycopg.connect(pooler.server.dsn(), autocommit=True)))
        holder.execute("SELECT pg_advisory_lock(815)")  # the queries last until this ends
        clients = [
            stack.enter_context(closing(psycopg.connect(dsn, autocommit=True))) for _ in range(3)
        ]
        for client in clients:
            send(client, "SELECT pg_advisory_xact_lock(815)")
        wait_for_pool(pooler, "shop", "app", cl_waiting=2)
        wait_until(lambda: row(pooler)["maxwait"] >= 1)
        symptom.seen(row(pooler))
        symptom.told(pooler)
        pooler.databases["shop"] = pooler.entry("dbname=postgres pool_size=3")
        pooler.reload()
        wait_for_pool(pooler, "shop", "app", cl_waiting=0, sv_active=3)
        holder.close()
        for client in clients:
            answer(client)


def row(pooler: Pooler) -> dict[str, int]:
    return next(each for each in pooler.console("SHOW POOLS") if each["database"] == "shop")


@pytest.mark.symptom("SQLAlchemy: `QueuePool limit of size … overflow … reached`")
def test_an_applications_own_pool_is_empty(symptom: Seen, shop: Shop) -> None:
    url = shop().dsn("shop", "app").replace("postgresql://", "postgresql+psycopg://")
    for overflow in (0, 1):
        engine = sa.create_engine(url, pool_size=1, max_overflow=overflow, pool_timeout=0.1)
        with engine.connect():
            if overflow:
                engine.connect().close()
            else:
                with pytest.raises(sa.exc.TimeoutError) as caught:
                    engine.connect()
                symptom.seen(caught.value)
        engine.dispose()


@pytest.mark.symptom("`taking connection from reserve_pool`")
def test_a_client_that_has_waited_gets_one_of_the_reserve(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1 reserve_pool_size=1", reserve_pool_timeout=0.1)
    clients = [connect(pooler, "shop", "app") for _ in range(2)]
    for client in clients:
        assert "ERROR" not in value(client, "BEGIN")
    symptom.seen(pooler.log())
    count = pooler.log().count("taking connection")
    for client in clients:
        value(client, "COMMIT")
    pooler.databases["shop"] = pooler.entry("dbname=postgres pool_size=2")
    pooler.reload()
    for client in clients:
        value(client, "BEGIN")
    assert pooler.log().count("taking connection") == count


@pytest.mark.symptom("`evicted`")
def test_pools_that_take_places_from_each_other(
    symptom: Seen, pooler: MakePooler, connect: Connect
) -> None:
    entries = dict.fromkeys(("shop",), "dbname=postgres max_db_connections=1")
    narrow = pooler(databases=entries, users={"app": "secret"})
    users = ("app", "postgres")
    clients = [connect(narrow, "shop", user) for user in users]
    for client in clients:
        value(client, "SELECT 1")
    symptom.seen(narrow.log())
    narrow.databases["shop"] = narrow.entry("dbname=postgres max_db_connections=2")
    narrow.reload()
    for client in clients:
        value(client, "SELECT 1")
    count = narrow.log().count("evicted")
    for client in clients * 3:
        value(client, "SELECT 1")
    assert narrow.log().count("evicted") == count


# Who is slow


@pytest.mark.symptom("`idle in transaction`")
def test_who_leaves_a_transaction_open_is_named_and_ended(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1")
    holder = connect(pooler, "shop", "app", application_name="billing")
    value(holder, "BEGIN")
    waits = connect(pooler, "shop", "app", application_name="web")
    send(waits, "SELECT 'served'")
    wait_for_pool(pooler, "shop", "app", cl_waiting=1)
    symptom.seen(pooler.console("SHOW WAITERS"))
    symptom.told(pooler)
    pooler.console("SET idle_transaction_timeout = '0.1'")
    assert answer(waits) == "served"


@pytest.mark.symptom("`query timeout`, `transaction timeout`, `idle transaction timeout`")
def test_the_poolers_limits_end_who_takes_too_long(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop()
    for setting, first, second in (
        ("query_timeout", "", "SELECT pg_sleep(5)"),
        ("transaction_timeout", "BEGIN", "SELECT pg_sleep(5)"),
        ("idle_transaction_timeout", "BEGIN", ""),
    ):
        pooler.console(f"SET {setting} = '0.1'")
        client = connect(pooler, "shop", "app")
        if first:
            value(client, first)
        if not second:
            wait_for_log(pooler, setting.replace("_", " "))
        symptom.seen(value(client, second or "SELECT 1"))
        pooler.console(f"SET {setting} = '0'")
    client = connect(pooler, "shop", "app")
    value(client, "BEGIN")
    assert value(client, "SELECT pg_sleep(0.2)") == ""
    symptom.told(pooler)


@pytest.mark.symptom(
    "PostgreSQL: `canceling statement due to statement timeout`, `due to lock timeout`"
)
def test_postgresqls_timeouts_and_who_has_set_them(
    symptom: Seen, shop: Shop, connect: Connect, postgres: EmbeddedPostgres
) -> None:
    pooler = shop()
    postgres.psql("ALTER ROLE app SET statement_timeout = '100ms'")
    client = connect(pooler, "shop", "app")
    symptom.seen(value(client, "SELECT pg_sleep(5)"))
    symptom.told(pooler)
    mine = connect(pooler, "shop", "app", options="-c statement_timeout=5s -c lock_timeout=50ms")
    assert value(mine, "SELECT pg_sleep(0.2)") == ""
    postgres.psql("ALTER ROLE app RESET statement_timeout")
    pooler.console("RECONNECT")
    holder = connect(pooler, "shop", "app")
    value(holder, "BEGIN; SELECT pg_advisory_xact_lock(77)")
    symptom.seen(value(mine, "SELECT pg_advisory_xact_lock(77)"))
    value(holder, "COMMIT")
    assert "ERROR" not in value(mine, "SELECT pg_advisory_xact_lock(77)")


@pytest.mark.symptom("PostgreSQL: `terminating connection due to idle-in-transaction timeout`")
def test_postgresql_ends_an_idle_transaction(symptom: Seen, shop: Shop, connect: Connect) -> None:
    pooler = shop()
    name = "idle_in_transaction_session_timeout"
    client = connect(pooler, "shop", "app", options=f"-c {name}=50ms")
    value(client, "BEGIN")
    wait_for_log(pooler, "server conn crashed?")
    symptom.seen(value(client, "SELECT 1"))
    symptom.told(pooler)
    patient = connect(pooler, "shop", "app", options=f"-c {name}=0")
    value(patient, "BEGIN")
    assert value(patient, "SELECT pg_sleep(0.2)") == ""
    assert value(patient, "SELECT 'here'") == "here"
