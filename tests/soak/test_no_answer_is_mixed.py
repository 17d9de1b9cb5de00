"""The one property that matters most: whatever happens around it, a client gets its own answers.

Many clients share a pool of two servers. Every query carries a token that no other query has, and
its answer must be made of that token. Meanwhile clients die, cancel and read slowly, and servers
are terminated. In the end nobody hangs, and the pool is as it was.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader
from tests.e2e.hostile.conftest import busy_pools
from tests.fixtures.ends import Message, error_of, rows_of
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

CLIENTS = 16
STATEMENTS = 20  # of which a server holds fewer
PIPELINE = 5
HANG = 30.0  # seconds
SERVER_KILLS = 0.1  # seconds between two
CANCELED = "57014 canceling statement due to user request"

Rows = list[list[str | None]]


class Disconnected(Exception):
    """The pooler has closed: our server was terminated."""


class Client:
    """One client: does one random thing after another, and knows what must come of it."""

    def __init__(
        self, number: int, pooler: Pooler, dice: random.Random, seen: Counter[str]
    ) -> None:
        self.number = number
        self.pooler = pooler
        self.dice = dice
        self.seen = seen
        self.tokens = 0
        self.prepared: set[int] = set()
        self.writer: asyncio.StreamWriter | None = None

    def token(self) -> str:
        self.tokens += 1
        return f"{self.number}-{self.tokens}-{secrets.token_hex(4)}"

    # ---- the connection

    async def open(self) -> None:
        host, port = self.pooler.host, self.pooler.port
        self.reader, self.writer = await asyncio.open_connection(host, port)
        self.messages = MessageReader(1 << 24, "server")
        self.prepared.clear()
        self.send(build.build_startup_message({"user": "postgres", "database": "postgres"}))
        for kind, body in await self.receive():
            if kind == codes.BACKEND_KEY_DATA:
                self.key = parse.parse_backend_key_data(body)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
            self.writer = None

    def send(self, *messages: bytes) -> None:
        assert self.writer is not None
        self.writer.write(b"".join(messages))

    async def receive(self) -> list[Message]:
        """All messages up to ReadyForQuery. Raises: Disconnected."""
        received: list[Message] = []
        while True:
            for message in self.messages:
                received.append(message)
                if message[0] == codes.READY_FOR_QUERY:
                    return received
            try:
                data = await self.reader.read(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                self.check_farewell(received)
                raise Disconnected
            self.messages.feed(data)

    def check_farewell(self, received: list[Message]) -> None:
        """Who is disconnected is told that the server has gone, and nothing else."""
        errors = [error_of([message]) for message in received if message[0] == codes.ERROR_RESPONSE]
        known = ("57P01 terminating connection due to administrator command",)
        known += ("08P01 server conn crashed?", "08P01 idle server got dirty")
        assert all(error in known for error in errors), errors

    async def ask(self, *messages: bytes) -> Rows:
        self.send(*messages)
        answer = await self.receive()
        assert all(kind != codes.ERROR_RESPONSE for kind, _ in answer), error_of(answer)
        return rows_of(answer)

    # ---- what it does

    async def simple(self) -> None:
        token = self.token()
        assert await self.ask(build.build_query(f"select '{token}'")) == [[token]]

    async def extended(self) -> None:
        token = self.token()
        query = build.build_parse("", "select $1::text")
        assert await self.ask(query, *run("", token)) == [[token]]

    def statement(self) -> tuple[int, str, bytes]:
        """A statement's number, this client's name for it, and its Parse where it is needed."""
        number = self.dice.randrange(STATEMENTS)
        name = f"s{(number + self.number) % STATEMENTS}"  # the same name is another's other text
        if number in self.prepared:
            return number, name, b""
        self.prepared.add(number)
        return number, name, build.build_parse(name, f"select $1::text || '/{number}'")

    async def named(self) -> None:
        number, name, prepare = self.statement()
        token = self.token()
        assert await self.ask(prepare, *run(name, token)) == [[f"{token}/{number}"]]

    async def pipeline(self) -> None:
        expected = []
        for _ in range(PIPELINE):
            number, name, prepare = self.statement()
            token = self.token()
            self.send(prepare, *run(name, token))
            expected.append([[f"{token}/{number}"]])
        assert [rows_of(await self.receive()) for _ in range(PIPELINE)] == expected
        self.seen["query"] += PIPELINE - 1

    async def forget(self) -> None:
        """Close a statement, and prepare it again under its name in the same breath."""
        number, name, prepare = self.statement()
        prepare = prepare or build.build_parse(name, f"select $1::text || '/{number}'")
        self.prepared.add(number)
        token = self.token()
        close = build.build_close(codes.KIND_STATEMENT, name)
        assert await self.ask(close, prepare, *run(name, token)) == [[f"{token}/{number}"]]

    async def transaction(self) -> None:
        await self.ask(build.build_query("begin"))
        token = self.token()
        await self.ask(build.build_query(f"select set_config('soak.token', '{token}', true)"))
        await self.simple()
        shown = build.build_query("select current_setting('soak.token')")
        assert await self.ask(shown) == [[token]]
        await self.ask(build.build_query(self.dice.choice(("commit", "rollback"))))
        self.seen["query"] += 4

    async def error(self) -> None:
        token = self.token()
        self.send(build.build_query(f"select '{token}'::int"))
        expected = f'22P02 invalid input syntax for type integer: "{token}"'
        assert error_of(await self.receive()) == expected

    async def slow(self) -> None:
        token = self.token()
        self.send(build.build_query(f"select '{token}', repeat('x', 300000)"))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert rows_of(await self.receive()) == [[token, "x" * 300_000]]

    async def cancel(self) -> None:
        """Ours is cancelled, by as many requests as it takes, and nobody else's is."""
        token = self.token()
        self.send(build.build_query(f"select '{token}', pg_sleep(20)"))
        receiving = asyncio.ensure_future(self.receive())
        while not receiving.done():
            await send_cancel(self.pooler, self.key)
            await asyncio.wait([receiving], timeout=0.02)
        assert error_of(await receiving) == CANCELED

    async def cancel_nothing(self) -> None:
        """The request comes late: no query of anybody's may end for it."""
        await self.simple()
        await send_cancel(self.pooler, self.key)
        await self.simple()
        self.seen["query"] += 1

    async def leave(self) -> None:
        """Go away with a query under way, sometimes in a transaction, sometimes in its middle."""
        begin = self.dice.choice(("", "begin; "))
        sleep = self.dice.choice(("", ", pg_sleep(0.001)"))
        query = build.build_query(f"{begin}select '{self.token()}'{sleep}")
        self.send(query[: self.dice.choice((len(query), len(query) // 2))])
        await asyncio.sleep(self.dice.choice((0, 0, 0.001)))
        raise Disconnected

    async def be_terminated(self) -> None:
        await self.ask(build.build_query("select pg_terminate_backend(pg_backend_pid())"))

    async def go_on(self, limit: int) -> None:
        """Do random things until all clients together have done enough."""
        things: dict[Callable[[], Awaitable[None]], float] = {
            self.simple: 25,
            self.extended: 15,
            self.named: 25,
            self.pipeline: 10,
            self.forget: 3,
            self.transaction: 5,
            self.error: 5,
            self.slow: 0.5,
            self.cancel: 1,
            self.cancel_nothing: 1,
            self.leave: 2,
            self.be_terminated: 0.2,
        }
        choices, weights = list(things), list(things.values())
        while self.seen["query"] < limit:
            [thing] = self.dice.choices(choices, weights)
            try:
                async with asyncio.timeout(HANG):
                    if self.writer is None:
                        await self.open()
                    await thing()
            except (Disconnected, ConnectionError):
                self.seen["disconnected"] += 1
                self.close()
            except TimeoutError:
                raise AssertionError(f"client {self.number} hangs in {thing.__name__}") from None
            self.seen["query"] += 1
            self.seen[thing.__name__] += 1
        self.close()


def run(name: str, token: str) -> tuple[bytes, ...]:
    return build.build_bind("", name, [token.encode()]), build.build_execute(), build.build_sync()


async def send_cancel(pooler: Pooler, key: parse.BackendKeyData) -> None:
    reader, writer = await asyncio.open_connection(pooler.host, pooler.port)
    writer.write(build.build_cancel_request(key.pid, key.key))
    assert await reader.read() == b""
    writer.close()


async def terminate_servers(postgres: EmbeddedPostgres, dice: random.Random) -> None:
    """Now and then the end of a server connection, whatever it is doing."""
    connection = await psycopg.AsyncConnection.connect(
        postgres.dsn(), autocommit=True, application_name="terminator"
    )
    async with connection:
        while True:
            await asyncio.sleep(dice.uniform(0, 2 * SERVER_KILLS))
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where pid <> pg_backend_pid() and backend_type = 'client backend'"
                " order by random() limit 1"
            )


async def soak(pooler: Pooler, postgres: EmbeddedPostgres, limit: int, seed: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    clients = [Client(i, pooler, random.Random(seed + i), seen) for i in range(CLIENTS)]
    terminator = asyncio.ensure_future(terminate_servers(postgres, random.Random(seed)))
    try:
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.go_on(limit))
    finally:
        terminator.cancel()
    return seen


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(auth_method="trust", max_connections=50) as server:
        yield server


@pytest.mark.parametrize(
    "limit", [10_000, pytest.param(200_000, marks=pytest.mark.soak)], ids="{} queries".format
)
def test_no_answer_is_mixed(limit: int, pooler: MakePooler, own_postgres: EmbeddedPostgres) -> None:
    made = pooler(
        postgres=own_postgres,
        settings={
            "default_pool_size": 2,
            "max_prepared_statements": STATEMENTS // 2,
            "server_login_retry": 0.1,
            "log_connections": 0,
            "log_disconnections": 0,
            "log_pooler_errors": 0,
        },
    )
    seed = secrets.randbits(32)
    try:
        seen = asyncio.run(soak(made, own_postgres, limit, seed))
    except BaseExceptionGroup as group:
        raise AssertionError(f"seed {seed}: {group.exceptions}\n{made.log()[-3000:]}") from group
    print(dict(seen))
    assert "internal error" not in made.log()
    assert seen["query"] >= limit
    for thing in ("named", "pipeline", "cancel", "leave", "slow", "be_terminated", "disconnected"):
        assert seen[thing] > 0, thing
    wait_until(lambda: not busy_pools(made, "postgres"))
    [pool] = [row for row in made.console("SHOW POOLS") if row["database"] == "postgres"]
    assert (pool["cl_active"], pool["cl_waiting"]) == (0, 0)
    assert pool["sv_idle"] + pool["sv_used"] <= 2
