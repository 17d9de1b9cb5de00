"""Too much of everything: names, connections, requests. What is spent on it comes back."""

from __future__ import annotations

import contextlib
import threading
from contextlib import ExitStack

from pgmux.ops.pooler import PGMUX, PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux.wire import build, codes
from tests.e2e.hostile.conftest import Others, busy_pools
from tests.fixtures.ends import (
    ConnectionClosed,
    FakeServer,
    FakeSession,
    HostileClient,
    memory_bounded,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

MEGABYTE = 1 << 20


def connect(pooler: Pooler, database: str = "postgres") -> HostileClient:
    client = HostileClient((pooler.host, pooler.port))
    client.login("postgres", database)
    return client


def say_nothing(session: FakeSession) -> None:
    session.drain()


def test_databases_that_clients_have_made_up_are_forgotten(
    pooler: MakePooler, others_are_served: Others
) -> None:
    made = pooler(settings={"autodb_idle_timeout": 0.5, "server_idle_timeout": 0.5})
    with others_are_served(made):
        for number in range(200):
            with HostileClient((made.host, made.port)) as client:
                client.start("postgres", f"made_up_{number}")
                assert client.read_fatal() == f'3D000 database "made_up_{number}" does not exist'

        def made_up() -> list[object]:
            rows = made.console("SHOW DATABASES") + made.console("SHOW POOLS")
            names = {row.get("name") or row.get("database") for row in rows}
            return [name for name in names if str(name).startswith("made_up_")]

        wait_until(lambda: not made_up())
    # One that exists is back as soon as somebody wants it.
    wait_until(lambda: "postgres" not in {r["database"] for r in made.console("SHOW POOLS")})
    with connect(made) as client:
        assert client.query("select 'here'") == [["here"]]


def test_a_pooler_out_of_files_serves_whom_it_has_and_recovers(postgres: EmbeddedPostgres) -> None:
    few_files = ("sh", "-c", 'ulimit -n 60; exec "$@"', "sh", *PGMUX)
    with PoolerProcess(
        port=find_free_port(),
        databases={"postgres": f"host={postgres.host} port={postgres.port}"},
        users={"postgres": "postgres"},
        settings={"auth_type": "trust", "client_login_timeout": 60, "server_login_retry": 0.2},
        command=few_files,
    ) as made:
        address = (made.host, made.port)
        with HostileClient(address) as early, ExitStack() as stack:
            early.login("postgres", "postgres")
            early.query("select 1")
            for _ in range(100):
                with contextlib.suppress(ConnectionError):
                    stack.enter_context(HostileClient(address))
            for number in range(100):
                assert early.query(f"select {number}") == [[str(number)]]
        with HostileClient(address) as late:
            late.login("postgres", "postgres")
            assert late.query("select 'late'") == [["late"]]


def test_a_storm_of_cancel_requests_does_not_storm_the_server(pooler: MakePooler) -> None:
    goes_on = threading.Event()

    def script(session: FakeSession) -> None:
        """Cancel requests are never closed, and the query ends in spite of them."""
        session.login()
        session.read_query()
        goes_on.wait(10)
        session.answer("done")
        session.serve()

    with FakeServer(script) as server:
        made = pooler(
            databases={"fake": f"host=127.0.0.1 port={server.port} pool_size=1"},
            settings={"cancel_wait_timeout": 1},
        )
        with connect(made, "fake") as client, ExitStack() as stack:
            client.send(build.build_query("slow"))
            wait_until(lambda: any(r["sv_active"] for r in busy_pools(made, "fake")))
            server.script = say_nothing
            for _ in range(100):
                other = stack.enter_context(HostileClient((made.host, made.port)))
                other.send(build.build_cancel_request(client.pid, client.key))
                assert other.read_to_the_end() == []
            assert len(server.sessions) < 20
            goes_on.set()
            client.read_until(codes.READY_FOR_QUERY)
            # The server is kept apart till the requests are over, and then serves again.
            assert client.query("again") == [["again"]]
        wait_until(lambda: not busy_pools(made, "fake"))


def test_a_console_client_that_does_not_read_costs_no_memory(
    pooler: MakePooler, others_are_served: Others
) -> None:
    made = pooler()
    with (
        others_are_served(made),
        connect(made, "pgbouncer") as client,
        memory_bounded(made.pid, 32 * MEGABYTE),
    ):
        client.sock.settimeout(1)
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            for _ in range(1000):
                client.send(build.build_query("SHOW CONFIG") * 100)


def test_requests_for_encryption_without_end_cost_no_memory(pooler: MakePooler) -> None:
    made = pooler(settings={"client_login_timeout": 2})
    with (
        HostileClient((made.host, made.port)) as client,
        memory_bounded(made.pid, 8 * MEGABYTE),
        # a slow machine gets to client_login_timeout first
        contextlib.suppress(ConnectionClosed, ConnectionError),
    ):
        for _ in range(20_000):
            client.send(build.build_ssl_request())
            client.sock.recv(1)
