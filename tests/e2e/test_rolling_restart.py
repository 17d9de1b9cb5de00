"""Two poolers on one port, ended and replaced one after the other: what clients notice of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build
from tests.fixtures.pooler import DEFAULTS, Pooler
from tests.fixtures.raw import RawClient
from tests.fixtures.waiting import wait_until

CONNECTING = 8


class Member(Pooler):
    """One pooler of a group that shares a port."""

    def __init__(self, server: EmbeddedPostgres, port: int | None, **settings: object) -> None:
        both = DEFAULTS | {"so_reuseport": 1} | settings
        super().__init__(server, {"*": ""}, both, {}, {})
        self.port = port or self.port

    def is_running(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def begin_to_end(self) -> None:
        self.send_signal(signal.SIGTERM)
        wait_until(lambda: "got SIGTERM, shutting down, waiting" in self.log())


StartMember = Callable[..., Member]


@pytest.fixture
def start(postgres: EmbeddedPostgres) -> Iterator[StartMember]:
    """`start(port=None, **settings)`: a member, which ends with the test."""
    with ExitStack() as stack:

        def start_(port: int | None = None, **settings: object) -> Member:
            return stack.enter_context(Member(postgres, port, **settings))

        yield start_


class Crowd:
    """Clients that connect, ask and leave, without a pause; `served` counts them."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._tasks: list[asyncio.Task[None]] = []
        self.served = 0

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(self._come_and_go()) for _ in range(CONNECTING)]
        await self.until_served(CONNECTING)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        errors = [error for error in results if not isinstance(error, asyncio.CancelledError)]
        assert errors == []

    async def until_served(self, more: int) -> None:
        """Till so many more have been; what they ran into ends it at once."""
        goal = self.served + more
        while self.served < goal:
            done, _ = await asyncio.wait(self._tasks, timeout=0.02)
            for task in done:
                task.result()

    async def _come_and_go(self) -> None:
        while True:
            connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
            async with connection:
                cursor = await connection.execute("SELECT 1")
                assert await cursor.fetchone() == (1,)
            self.served += 1


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


def test_no_client_that_comes_or_stays_notices_that_both_are_replaced(start: StartMember) -> None:
    first = start()
    second = start(first.port)

    async def roll() -> None:
        async with asyncio.timeout(30), Crowd(first.dsn()) as crowd:
            for member in (first, second):
                held = await psycopg.AsyncConnection.connect(
                    member.dsn(unix_socket=True), autocommit=True
                )
                member.begin_to_end()
                await crowd.until_served(5 * CONNECTING)
                async with held:  # who is there is served till he leaves
                    await held.execute("SELECT 1")
                    assert member.is_running()
                await until(lambda member=member: not member.is_running())
                assert "client connections dropped, exiting" in member.log()
                successor = start(first.port, unix_socket_dir=member.directory)
                await crowd.until_served(5 * CONNECTING)
            async with await psycopg.AsyncConnection.connect(
                successor.dsn(unix_socket=True, host=str(second.directory)), autocommit=True
            ) as last:
                await last.execute("SELECT 1")

    asyncio.run(roll())


def test_a_login_under_way_at_sigterm_is_let_in(start: StartMember) -> None:
    ending = start()
    with RawClient(ending) as client:
        client.send(build.build_ssl_request())
        assert client.socket.recv(1) == b"N"
        ending.begin_to_end()
        client.start()
        assert client.value("SELECT 1") == "1"
        assert ending.is_running()
    wait_until(lambda: not ending.is_running())


def test_while_it_ends_its_unix_socket_is_the_consoles_alone(start: StartMember) -> None:
    ending = start()
    with closing(psycopg.connect(ending.dsn())):
        ending.begin_to_end()
        with pytest.raises(psycopg.OperationalError, match="pooler is shutting down"):
            psycopg.connect(ending.dsn(unix_socket=True))
        with closing(psycopg.connect(ending.dsn("pgbouncer", unix_socket=True), autocommit=True)):
            pass
