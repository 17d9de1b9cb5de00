"""Clients that go away without a word: nobody else gets what was meant for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from pgmux.auth.scram import MECHANISM
from pgmux.wire import build, codes
from tests.e2e.hostile.conftest import busy_pools
from tests.fixtures.ends import FakeServer, FakeSession, HostileClient, rows_of
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

Leave = Callable[[HostileClient], None]
LEAVE: dict[str, Leave] = {
    "FIN": HostileClient.close,
    "RST": HostileClient.reset,
    "Terminate": lambda client: (client.send(build.build_terminate()), client.close())[1],
}


@pytest.fixture(scope="module")
def single(module_pooler: MakePooler) -> Pooler:
    """One server, so that whoever comes next gets the one before's."""
    return module_pooler(settings={"default_pool_size": 1, "query_wait_timeout": 8})


@pytest.fixture(params=LEAVE)
def leave(request: pytest.FixtureRequest) -> Leave:
    return LEAVE[request.param]


@pytest.fixture
def leaver(single: Pooler) -> Iterator[HostileClient]:
    """A client that is about to leave; its pool is itself again after the test."""
    with connect(single) as client:
        yield client
    wait_until(lambda: not busy_pools(single, "postgres"))
    assert pools_clients(single) == 0


def connect(pooler: Pooler) -> HostileClient:
    client = HostileClient((pooler.host, pooler.port))
    client.login("postgres", "postgres")
    return client


def pools_clients(pooler: Pooler) -> int:
    rows = [row for row in pooler.console("SHOW POOLS") if row["database"] == "postgres"]
    return sum(row["cl_active"] + row["cl_waiting"] for row in rows)


def is_active(pooler: Pooler) -> bool:
    return any(row["sv_active"] for row in busy_pools(pooler, "postgres"))


def waiting_count(pooler: Pooler) -> int:
    return sum(int(str(row["cl_waiting"])) for row in busy_pools(pooler, "postgres"))


QUERY = build.build_query("select 'not yours', pg_sleep(0.3)")
EXTENDED = (
    build.build_parse("mine", "select 'not yours', pg_sleep(0.3)")
    + build.build_bind("", "mine", [])
    + build.build_execute()
    + build.build_sync()
)
UNFINISHED = {
    "a query": QUERY,
    "an extended query": EXTENDED,
    "an extended query without Sync": EXTENDED[:-5] + build.build_flush(),
    "a pipeline": QUERY * 3 + EXTENDED * 3,
    "half a query": QUERY[:-10],
    "half a Parse": build.build_query("begin") + EXTENDED[:20],
    "a transaction": build.build_query("begin; create table leftover ()"),
    "a failed transaction": build.build_query("begin; select 1/0"),
    "COPY in": build.build_query("copy (select 1) to stdout; create temp table c (t text)")
    + build.build_query("copy c from stdin")
    + build.build_copy_data(b"half a li"),
    "COPY out": build.build_query("copy (select generate_series(1, 3000000)) to stdout"),
    "a large answer": build.build_query("select repeat('not yours ', 5000000)"),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_the_next_client_never_sees_a_leavers_answer(
    name: str, leave: Leave, leaver: HostileClient, single: Pooler
) -> None:
    leaver.send(UNFINISHED[name])
    wait_until(lambda: is_active(single))
    with connect(single) as following:
        following.send(build.build_query("select 'mine'"))
        leave(leaver)
        assert rows_of(following.read_until(codes.READY_FOR_QUERY)) == [["mine"]]
        assert following.query("select to_regclass('leftover')") == [[None]]


def test_a_waiting_client_that_leaves_is_passed_over(
    leave: Leave, leaver: HostileClient, single: Pooler
) -> None:
    with connect(single) as first, connect(single) as last:
        first.query("begin")
        leaver.send(build.build_query("create table leftover ()"))
        wait_until(lambda: waiting_count(single) == 1)
        last.send(build.build_query("select to_regclass('leftover')"))
        wait_until(lambda: waiting_count(single) == 2)
        leave(leaver)
        wait_until(lambda: waiting_count(single) == 1)
        first.query("commit")
        assert rows_of(last.read_until(codes.READY_FOR_QUERY)) == [[None]]


def test_whoever_waits_longest_is_served_first(single: Pooler) -> None:
    """Each takes the next number of a sequence: the numbers are the order."""
    clients = [connect(single) for _ in range(10)]
    with connect(single) as holder:
        holder.query("begin")
        holder.query("create sequence turns")
        for place, client in enumerate(clients, 1):
            client.send(build.build_query("select nextval('turns')"))
            wait_until(lambda expected=place: waiting_count(single) == expected)
        holder.query("commit")
        turns = [rows_of(client.read_until(codes.READY_FOR_QUERY))[0][0] for client in clients]
        assert turns == [str(place) for place in range(1, 11)]
        holder.query("drop sequence turns")
    for client in clients:
        client.close()


# ---- during a login


def test_a_client_that_leaves_while_a_server_logs_in_for_it_takes_nothing_along(
    pooler: MakePooler, leave: Leave
) -> None:
    may_go_on = threading.Event()

    def slow(session: FakeSession) -> None:
        session.read_startup()
        may_go_on.wait(10)
        session.send(session.welcome(), build.build_ready_for_query())
        session.serve()

    with FakeServer(slow) as server:
        made = pooler(
            databases={"fake": f"host=127.0.0.1 port={server.port}"},
            settings={"default_pool_size": 1},
        )
        with HostileClient((made.host, made.port)) as client:
            client.start("postgres", "fake")
            wait_until(lambda: server.sessions)
            leave(client)
            with HostileClient((made.host, made.port)) as following:
                following.start("postgres", "fake")
                may_go_on.set()
                following.finish_login()
                assert following.query("mine") == [["mine"]]
        wait_until(lambda: not busy_pools(made, "fake"))
        [pool] = [row for row in made.console("SHOW POOLS") if row["database"] == "fake"]
        assert (pool["sv_idle"], pool["cl_active"]) == (1, 0)


def test_clients_that_leave_while_keys_are_derived_are_in_nobodys_way(pooler: MakePooler) -> None:
    made = pooler(settings={"auth_type": "scram-sha-256", "scram_iterations": 200_000})
    for leave in LEAVE.values():
        for _ in range(5):
            client = HostileClient((made.host, made.port))
            client.start("postgres", "postgres")
            client.read()
            first = b"n,,n=,r=clientsnonce"
            client.send(build.build_sasl_initial_response(MECHANISM, first))
            leave(client)
    with HostileClient((made.host, made.port)) as client:
        client.login("postgres", "postgres", "postgres")
        assert client.query("select 'mine'") == [["mine"]]
    lists = {row["list"]: row["items"] for row in made.console("SHOW LISTS")}
    assert lists["login_clients"] == 0
