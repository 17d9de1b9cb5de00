"""A real PostgreSQL that is killed, restarted or shut down under its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build, codes
from pgmux.wire.messages import MessageReader
from tests.e2e.hostile.conftest import busy_pools
from tests.fixtures.ends import ConnectionClosed, HostileClient
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

POOL_SIZE = 3


@pytest.fixture(scope="module")
def mortal() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(auth_method="trust", max_connections=20) as server:
        yield server


@pytest.fixture(scope="module")
def front(module_pooler: MakePooler, mortal: EmbeddedPostgres) -> Pooler:
    return module_pooler(
        postgres=mortal,
        settings={
            "default_pool_size": POOL_SIZE,
            "server_login_retry": 0.2,
            "query_wait_timeout": 20,
        },
    )


def connect(pooler: Pooler) -> HostileClient:
    client = HostileClient((pooler.host, pooler.port))
    client.login("postgres", "postgres")
    return client


def check_recovery(pooler: Pooler) -> None:
    """All places of the pool are to be had again, and nobody is left in them."""

    def is_served() -> bool:
        try:
            with connect(pooler) as client:
                return client.query("select 1") == [["1"]]
        except (AssertionError, ConnectionClosed):
            return False

    wait_until(is_served)
    clients = [connect(pooler) for _ in range(POOL_SIZE)]
    for client in clients:
        client.query("begin")
    for client in clients:
        client.close()
    wait_until(lambda: not busy_pools(pooler, "postgres"))


def active_count(pooler: Pooler) -> int:
    return sum(int(str(row["sv_active"])) for row in busy_pools(pooler, "postgres"))


# PostgreSQL's own where it had the time, else ours
REASONS = (b"Mterminating connection due to administrator command\0", b"Mserver conn crashed?\0")
ENDS: dict[str, Callable[[EmbeddedPostgres], None]] = {
    "kill -9": EmbeddedPostgres.kill,
    "fast": EmbeddedPostgres.stop,
    "immediate": lambda server: server.stop("immediate"),
}

BUSY_WITH = {
    "a query": build.build_query("select pg_sleep(60)"),
    "rows": build.build_query("select generate_series(1, 1000000000)"),
    "COPY in": build.build_query("copy pg_temp.t from stdin"),
    "COPY out": build.build_query("copy (select generate_series(1, 1000000000)) to stdout"),
    "nothing, in a transaction": b"",
}


@pytest.mark.parametrize("way", ENDS)
def test_everybody_is_told_when_the_server_dies_and_served_when_it_is_back(
    way: str, front: Pooler, mortal: EmbeddedPostgres
) -> None:
    for group in (list(BUSY_WITH)[:POOL_SIZE], list(BUSY_WITH)[POOL_SIZE:]):
        size = len(group)
        clients = {name: connect(front) for name in group}
        idle, waiting = connect(front), connect(front)
        for name, client in clients.items():
            client.query("begin; create temp table t (c text)")
            client.send(BUSY_WITH[name])
        wait_until(lambda expected=size: active_count(front) == expected)
        ENDS[way](mortal)
        waiting.send(build.build_query("select 'waited'"))
        for name, client in clients.items():
            # Within a message nothing can be told: it would be taken for the rest of that.
            reader = MessageReader(2**31, "server")
            *_, (_, last) = reader.feed(client.drain())
            assert reader.rest() or any(reason in last for reason in REASONS), name
        mortal.start()
        waiting.read_until(codes.READY_FOR_QUERY)
        assert idle.query("select 'idle'") == [["idle"]]
        for client in (idle, waiting):
            client.close()
        check_recovery(front)


def test_a_restart_costs_an_idle_client_nothing(front: Pooler, mortal: EmbeddedPostgres) -> None:
    with connect(front) as client:
        client.query("select 1")
        mortal.restart()
        assert client.query("select 2") == [["2"]]
    check_recovery(front)


def test_a_restart_ends_idle_sessions_in_its_words_and_others_log_in(
    module_pooler: MakePooler, mortal: EmbeddedPostgres
) -> None:
    sessions = module_pooler(
        postgres=mortal, settings={"pool_mode": "session", "server_login_retry": 0.2}
    )
    clients = [connect(sessions) for _ in range(POOL_SIZE)]
    mortal.stop()
    for client in clients:
        assert REASONS[0] in client.drain()
    mortal.start()
    check_recovery(sessions)


def test_a_terminated_backend_takes_one_client_along(front: Pooler) -> None:
    with connect(front) as victim, connect(front) as other:
        victim.query("begin")
        [[pid]] = victim.query("select pg_backend_pid()")
        assert other.query(f"select pg_terminate_backend({pid})") == [["t"]]
        # What the server said, and nothing of the pooler's own.
        assert victim.read_fatal() == "57P01 terminating connection due to administrator command"
        assert other.query("select 'here'") == [["here"]]
    check_recovery(front)


def test_a_terminated_idle_server_is_missed_by_nobody(front: Pooler) -> None:
    with connect(front) as client, connect(front) as other:
        [[pid]] = client.query("select pg_backend_pid()")
        other.query("begin")
        other.query("select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle'")
        gone = (
            f"select count(*) from pg_stat_activity where pid = {pid} and pid <> pg_backend_pid()"
        )
        wait_until(lambda: other.query(gone) == [["0"]])
        other.query("commit")
        for _ in range(10):
            assert client.query("select 'here'") == [["here"]]
    check_recovery(front)
