"""Symptoms of session state in a transaction pool: troubleshooting.md, "State that is lost"."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

from tests.e2e.pools.clients import Connect, Connection, value
from tests.e2e.symptoms.conftest import Seen, Shop
from tests.fixtures.pooler import MakePooler, Pooler


@pytest.fixture
def shop_and_session(pooler: MakePooler) -> Pooler:
    """`shop` in transaction mode, and `shop_session`, an entry of its own in session mode."""
    entry = "dbname=postgres pool_size=2"
    return pooler(
        databases={"shop": entry, "shop_session": f"{entry} pool_mode=session"},
        users={"app": "secret"},
        settings={"server_round_robin": 1},
    )


def use_both_servers(pooler: Pooler, connect: Connect) -> None:
    """The pool has two servers from now on, which take turns."""
    clients = [connect(pooler, "shop", "app") for _ in range(2)]
    for sql in ("BEGIN", "ROLLBACK"):
        for client in clients:
            value(client, sql)


@pytest.mark.symptom("`prepared statement … already exists`, `prepared statement … does not exist`")
def test_prepared_statements_that_nobody_tracks(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1", max_prepared_statements=0, server_round_robin=1)
    one, two = (connect(pooler, "shop", "app") for _ in range(2))
    symptom.seen(prepare_and_use(one, two))
    pooler.databases["shop"] = pooler.entry("dbname=postgres pool_size=2")
    pooler.reload()
    use_both_servers(pooler, connect)
    symptom.seen(use_elsewhere(pooler, connect))
    symptom.told(pooler)
    pooler.settings["max_prepared_statements"] = 200
    pooler.reload()
    pooler.console("RECONNECT")
    use_both_servers(pooler, connect)
    one, two = (connect(pooler, "shop", "app") for _ in range(2))
    assert prepare_and_use(one, two) == ""
    assert use_elsewhere(pooler, connect) == ""


def prepare_and_use(*clients: Connection) -> str:
    """What psycopg is told while each prepares its first statement and uses it; "" if nothing."""
    for client in clients:
        client.prepare_threshold = 0
    try:
        for _ in range(3):
            for client in clients:
                client.execute("SELECT %s::int", (1,))
    except psycopg.errors.DuplicatePreparedStatement as error:
        return str(error)
    return ""


def use_elsewhere(pooler: Pooler, connect: Connect) -> str:
    """The same of a client that executes its statement on both servers."""
    client = connect(pooler, "shop", "app")
    client.pgconn.prepare(b"mine", b"SELECT 1")
    results = [client.pgconn.exec_prepared(b"mine", []) for _ in range(2)]
    return "".join(each.error_message.decode() for each in results)


@pytest.mark.symptom("PostgreSQL: `relation … does not exist`, in a transaction pool")
def test_temporary_tables_and_search_path_stay_with_the_server(
    symptom: Seen, shop_and_session: Pooler, connect: Connect
) -> None:
    pooler = shop_and_session
    use_both_servers(pooler, connect)
    client = connect(pooler, "shop", "app")
    value(client, "CREATE TEMP TABLE basket (item text)")
    symptom.seen(value(client, "SELECT count(*) FROM basket"))  # another server's turn
    session = connect(pooler, "shop_session", "app")
    value(session, "CREATE TEMP TABLE basket (item text)")
    assert value(session, "SELECT count(*) FROM basket") == "0"
    value(client, "BEGIN; CREATE TEMP TABLE cart (item text) ON COMMIT DROP")
    assert value(client, "SELECT count(*) FROM cart") == "0"
    value(client, "COMMIT")


@pytest.mark.symptom("After a `pg_dump`: `relation … does not exist`")
def test_a_dump_through_a_transaction_pool_leaves_its_search_path(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=2", server_round_robin=1)
    query = "SELECT count(*) FROM goods"
    use_both_servers(pooler, connect)
    with psycopg.connect(pooler.server.dsn("postgres"), autocommit=True) as owner:
        owner.execute("CREATE TABLE public.goods (); GRANT SELECT ON public.goods TO app")
    assert value(connect(pooler, "shop", "app"), query) == "0"
    dump = (pooler.server.tool("pg_dump"), "--table=goods", pooler.dsn("shop", "app"))
    done = subprocess.run(dump, capture_output=True, text=True)
    symptom.seen("pg_dump" if "search_path" in done.stdout else done)
    client = connect(pooler, "shop", "app")
    symptom.seen([value(client, query) for _ in range(2)])
    own = connect(pooler, "shop", "app", options="-c search_path=public")
    assert [value(own, query) for _ in range(2)] == ["0", "0"]
    pooler.console("RECONNECT")
    assert [value(client, query) for _ in range(2)] == ["0", "0"]
    pooler.server.psql("DROP TABLE public.goods")


@pytest.mark.symptom("A setting is lost, or is another client's")
def test_a_set_is_the_servers_in_a_transaction_pool(
    symptom: Seen, shop: Shop, connect: Connect
) -> None:
    pooler = shop("pool_size=1")
    one, two = connect(pooler, "shop", "app"), connect(pooler, "shop", "app")
    value(one, "SET work_mem = '8MB'")
    assert value(two, "SHOW work_mem") == "8MB"
    symptom.told(pooler)
    pooler.console("RECONNECT")
    value(one, "BEGIN; SET LOCAL work_mem = '8MB'")
    assert value(one, "SHOW work_mem") == "8MB"
    value(one, "COMMIT")
    assert value(two, "SHOW work_mem") == "4MB"
    pooler.pgmux["startup_parameters"] = "work_mem"
    pooler.reload()
    own = connect(pooler, "shop", "app", options="-c work_mem=16MB")
    assert (value(own, "SHOW work_mem"), value(two, "SHOW work_mem")) == ("16MB", "4MB")


@pytest.mark.symptom("PostgreSQL: `you don't own a lock of type ExclusiveLock`")
def test_an_advisory_lock_stays_with_the_server(
    symptom: Seen, shop_and_session: Pooler, connect: Connect
) -> None:
    pooler = shop_and_session
    use_both_servers(pooler, connect)
    client = connect(pooler, "shop", "app")
    notices: list[str] = []
    client.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    value(client, "SELECT pg_advisory_lock(5)")
    assert value(client, "SELECT pg_advisory_unlock(5)") == "f"  # another server's turn
    symptom.seen(notices)
    symptom.told(pooler)
    session = connect(pooler, "shop_session", "app")
    value(session, "SELECT pg_advisory_lock(6)")
    assert value(session, "SELECT pg_advisory_unlock(6)") == "t"
    for _ in range(2):  # on both servers: nothing is left of it
        assert value(client, "SELECT pg_try_advisory_xact_lock(7)") == "t"


@pytest.mark.symptom("Notifications never come")
def test_a_listener_of_a_transaction_pool_hears_nothing(
    symptom: Seen, shop_and_session: Pooler, connect: Connect
) -> None:
    pooler = shop_and_session
    speaker = connect(pooler, "shop", "app")
    heard = {}
    for database in ("shop", "shop_session"):
        listener = connect(pooler, database, "app")
        value(listener, "LISTEN news")
        value(speaker, "NOTIFY news, 'hello'")
        timeout = 5 if database == "shop_session" else 0.2
        heard[database] = [
            each.payload for each in listener.notifies(timeout=timeout, stop_after=1)
        ]
    assert heard == {"shop": [], "shop_session": ["hello"]}


@pytest.mark.symptom("PostgreSQL: `cursor … does not exist`")
def test_a_cursor_with_hold_stays_with_the_server(
    symptom: Seen, shop_and_session: Pooler, connect: Connect
) -> None:
    pooler = shop_and_session
    use_both_servers(pooler, connect)
    client = connect(pooler, "shop", "app")
    declare = "DECLARE rows CURSOR WITH HOLD FOR SELECT 7"
    value(client, declare)
    symptom.seen(value(client, "FETCH rows"))
    value(client, "BEGIN; DECLARE more CURSOR FOR SELECT 8")
    assert value(client, "FETCH more") == "8"
    value(client, "COMMIT")
    session = connect(pooler, "shop_session", "app")
    value(session, declare)
    assert value(session, "FETCH rows") == "7"
