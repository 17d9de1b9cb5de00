"""SHOW SOCKETS and ACTIVE_SOCKETS: every stage of a connection, and the bytes on their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgmux.wire import build
from tests.e2e.pools.clients import Connect, send, value, wait_for_pool
from tests.fixtures.ends import FakeServer, FakeSession, HostileClient
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

Row = dict[str, Any]
QUIET = dict.fromkeys(
    ("recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain", "pkt_avail", "send_avail"), 0
)


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(
        databases={
            "db": "dbname=postgres",
            "one": "dbname=postgres pool_size=1",
            "message": "dbname=postgres",
            "slow": "dbname=postgres",
        }
    )


def sockets(pooler: Pooler, what: str = "SOCKETS", **columns: object) -> list[Row]:
    """The rows with these values."""
    rows = pooler.console(f"SHOW {what}")
    return [row for row in rows if columns.items() <= row.items()]


def states(pooler: Pooler, database: str) -> list[str]:
    return [row["state"] for row in sockets(pooler, database=database)]


@contextmanager
def hostile(pooler: Pooler, **options: Any) -> Iterator[HostileClient]:
    with HostileClient((pooler.host, pooler.port), **options) as client:
        yield client


def test_linked_idle_and_waiting(shared: Pooler, connect: Connect) -> None:
    value(connect(shared, "db"), "SELECT 1")
    assert states(shared, "db") == ["cl_active", "sv_idle"]
    holder, waiting = connect(shared, "one"), connect(shared, "one")
    value(holder, "BEGIN")
    send(waiting, "SELECT 1")
    wait_for_pool(shared, "one", cl_waiting=1)
    assert states(shared, "one") == ["cl_active", "cl_waiting", "sv_active"]
    client, _, server = sockets(shared, database="one")
    assert (client["link"], server["link"]) == (server["ptr"], client["ptr"])
    assert QUIET.items() <= server.items()
    assert sockets(shared, "ACTIVE_SOCKETS", database="one", state="sv_active") == []
    (console,) = sockets(shared, database="pgbouncer")
    assert (console["state"], console["type"]) == ("cl_active", "C")


def test_a_client_that_logs_in(shared: Pooler) -> None:
    with hostile(shared) as client:
        packet = build.build_startup_message({"user": "postgres", "database": "db"})
        client.send(packet[:11])
        (row,) = wait_until(lambda: sockets(shared, "ACTIVE_SOCKETS", state="cl_login"))
        assert (row["user"], row["database"], row["type"]) == ("(nouser)", "(nodb)", "C")
        assert (row["pkt_avail"], row["recv_pos"], row["pkt_pos"]) == (11, 11, 0)
        assert row in sockets(shared)
        lists = {row["list"]: row["items"] for row in shared.console("SHOW LISTS")}
        assert lists["login_clients"] == 1


def test_a_message_half_of_which_has_been_passed_on(shared: Pooler) -> None:
    with hostile(shared) as client:
        client.login("postgres", "message")
        query = build.build_query("SELECT 1 --" + "x" * 1000)
        client.send(query[:100])
        (row,) = wait_until(lambda: sockets(shared, "ACTIVE_SOCKETS", database="message"))
        assert (row["state"], row["pkt_remain"]) == ("cl_active", len(query) - 100)
        client.send(query[100:])
        assert client.read_until(ord("Z"))
        assert sockets(shared, "ACTIVE_SOCKETS", database="message") == []


def test_a_client_that_does_not_read(shared: Pooler) -> None:
    with hostile(shared, receive_buffer=4096) as client:
        client.login("postgres", "slow")
        client.send(build.build_query("SELECT repeat('x', 100000) FROM generate_series(1, 500)"))
        found = wait_until(
            lambda: [row for row in sockets(shared, database="slow") if row["send_avail"] > 0]
        )
        assert [row["state"] for row in found] == ["sv_active"]


def hang(session: FakeSession) -> None:
    """The script of a server that says nothing."""
    session.drain()


def test_a_server_in_the_making(pooler: MakePooler) -> None:
    with FakeServer(hang) as server:
        waiting = pooler(databases={"db": f"host=127.0.0.1 port={server.port} dbname=x"})
        with hostile(waiting) as client:
            client.start("postgres", "db")
            (row,) = wait_until(lambda: sockets(waiting, state="sv_login"))
            assert (row["database"], row["user"]) == ("db", "postgres")
            wait_until(lambda: sockets(waiting, state="sv_login", port=server.port))
            (shown,) = waiting.console("SHOW SERVERS")
            assert (shown["state"], shown["id"], shown["link"]) == ("new", row["id"], "")
            assert states(waiting, "db") == ["cl_waiting", "sv_login"]
            (pool,) = (r for r in waiting.console("SHOW POOLS") if r["database"] == "db")
            assert pool["sv_login"] == 1


def test_a_cancel_request_on_its_way(pooler: MakePooler) -> None:
    def script(session: FakeSession) -> None:
        if len(server.sessions) > 1:  # the cancel request: never done with
            session.drain()
        session.login()
        session.read_query()
        session.drain()

    with FakeServer(script) as server:
        slow = pooler(databases={"db": f"host=127.0.0.1 port={server.port} dbname=x"})
        with hostile(slow) as client:
            client.login("postgres", "db")
            client.send(build.build_query("SELECT 1"))
            wait_for_pool(slow, "db", sv_active=1)
            with hostile(slow) as canceling:
                canceling.send(build.build_cancel_request(client.pid, client.key))
                wait_for_pool(slow, "db", cl_active_cancel_req=1, sv_active_cancel=1)


def test_a_cancel_request_that_cannot_reach_the_server_says_why_in_the_log(
    pooler: MakePooler,
) -> None:
    def script(session: FakeSession) -> None:
        session.login()
        session.read_query()
        session.drain()

    with FakeServer(script) as server:
        gone = pooler(databases={"db": f"host=127.0.0.1 port={server.port} dbname=x"})
        with hostile(gone) as client:
            client.login("postgres", "db")
            client.send(build.build_query("SELECT 1"))
            wait_for_pool(gone, "db", sv_active=1)
            server.stop_listening()
            client.cancel()
    place = f"127.0.0.1:{server.port}"
    assert f"closing because: cannot connect to {place}: Connection refused" in gone.log()
    assert "successfully sent cancel request" not in gone.log()
