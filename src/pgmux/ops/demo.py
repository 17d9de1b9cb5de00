"""The demo: more clients than PostgreSQL takes, first straight at it, then through pgmux.

Real connections of a real driver, asyncpg. A client's wait is how long its BEGIN takes: in
transaction mode that is when the pooler finds it a server.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import asyncpg
import uvloop

from pgmux.daemon.web_command import missing_libraries
from pgmux.ops.pooler import PoolerProcess, is_listening
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port

MAX_CONNECTIONS = 100
POOL_SIZE = 20
ACCOUNTS = 10_000
NAME = "demo"  # of the database, its user and their password
CONNECT_TIMEOUT = 60.0  # seconds
COMMAND_TIMEOUT = 30.0  # seconds; a statement that takes longer is an error
WATCH_INTERVAL = 0.1  # seconds between two looks at pg_stat_activity
OPEN_FILES = 1024  # macOS starts with 256

SCHEMA = f"""
CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
INSERT INTO account SELECT id, 0 FROM generate_series(1, {ACCOUNTS}) id;
ALTER TABLE account OWNER TO {NAME};
"""
UPDATE = "UPDATE account SET balance = balance + 1 WHERE id = $1"
COUNT_SERVERS = f"""
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = '{NAME}'
"""

OnProgress = Callable[[str, float, float], None]  # what, how far, of how much


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients do: a transaction, then `think` seconds of something else on average."""

    clients: int = 300
    seconds: float = 6.0
    think: float = 0.2


@dataclass(slots=True)
class Outcome:
    """What became of one run's clients. Times in seconds."""

    clients: int
    connected: int = 0
    servers: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def transactions_per_second(self) -> float:
        return len(self.waits) / self.seconds if self.seconds else 0.0

    def wait_quantile(self, q: float) -> float:
        """The wait that a share `q` of the transactions did not exceed; 0 without any."""
        ordered = sorted(self.waits)
        return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    def as_dict(self) -> dict[str, object]:
        """For JSON; waits in milliseconds."""
        return {
            "clients": self.clients,
            "connected": self.connected,
            "refused": dict(self.refusals),
            "errors": dict(self.errors),
            "server_connections": self.servers,
            "transactions": len(self.waits),
            "transactions_per_second": round(self.transactions_per_second, 1),
            "wait_p50_ms": round(self.wait_quantile(0.50) * 1000, 2),
            "wait_p99_ms": round(self.wait_quantile(0.99) * 1000, 2),
        }


def is_cured(outcome: Outcome) -> bool:
    """Everybody was served without an error, over no more servers than the pool's size."""
    served = outcome.connected == outcome.clients and not outcome.errors
    return served and 0 < outcome.servers <= POOL_SIZE


@contextmanager
def demo_postgres() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL with a database to work on; every slot is for the demo's clients."""
    settings = {"superuser_reserved_connections": 0}
    with EmbeddedPostgres(max_connections=MAX_CONNECTIONS, settings=settings) as postgres:
        postgres.psql(f"CREATE ROLE {NAME} LOGIN PASSWORD '{NAME}'; CREATE DATABASE {NAME}")
        postgres.psql(SCHEMA, NAME)
        yield postgres


def demo_pooler(
    postgres: EmbeddedPostgres, port: int, clients: int, *, http_listen: str = ""
) -> PoolerProcess:
    """pgmux before that database, at `port` or, where that is taken, at another."""
    return PoolerProcess(
        pgmux={"http_listen": http_listen},
        port=find_free_port() if is_listening("127.0.0.1", port) else port,
        databases={NAME: f"host={postgres.host} port={postgres.port}"},
        users={NAME: NAME},
        settings={
            "auth_type": "scram-sha-256",
            "admin_users": NAME,
            "pool_mode": "transaction",
            "default_pool_size": POOL_SIZE,
            "max_client_conn": clients + MAX_CONNECTIONS,
        },
    )


def http_address(port: int) -> str:
    """Where the dashboard can be, that port or another; "" without the extra `web`."""
    if missing_libraries():
        return ""
    return f"127.0.0.1:{find_free_port() if is_listening('127.0.0.1', port) else port}"


def run_load(dsn: str, watch_dsn: str | None, load: Load, on_progress: OnProgress) -> Outcome:
    """Runs the clients at `dsn`, counting their servers by way of `watch_dsn`.

    Without it every client that connected counts as a server of its own.
    """
    allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run_load(dsn, watch_dsn, load, on_progress))


def allow_open_files() -> None:
    """Room for every client's socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))


async def _run_load(
    dsn: str, watch_dsn: str | None, load: Load, on_progress: OnProgress
) -> Outcome:
    outcome = Outcome(load.clients)
    watcher = asyncio.create_task(_watch_servers(watch_dsn, outcome)) if watch_dsn else None
    attempts = [asyncio.create_task(_connect(dsn, outcome)) for _ in range(load.clients)]
    for done, attempt in enumerate(asyncio.as_completed(attempts), 1):
        await attempt
        on_progress("connecting", done, load.clients)
    connections = [c for attempt in attempts if (c := attempt.result()) is not None]
    outcome.connected = len(connections)
    await _work_all(connections, outcome, load, on_progress)
    if watcher is None:
        outcome.servers = outcome.connected
    else:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    return outcome


async def _connect(dsn: str, outcome: Outcome) -> asyncpg.Connection | None:
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        outcome.refusals[describe(error)] += 1
        return None


async def _work_all(
    connections: list[asyncpg.Connection], outcome: Outcome, load: Load, on_progress: OnProgress
) -> None:
    """All who are connected work at once, until the time is over."""
    start = time.monotonic()
    deadline = start + load.seconds
    workers = [asyncio.create_task(_work(c, outcome, deadline, load.think)) for c in connections]
    try:
        while (now := time.monotonic()) < deadline:
            on_progress("working", now - start, load.seconds)
            await asyncio.sleep(min(WATCH_INTERVAL, deadline - now))
        await asyncio.gather(*workers)
        outcome.seconds = time.monotonic() - start
        on_progress("working", load.seconds, load.seconds)
        await asyncio.gather(*(c.close() for c in connections), return_exceptions=True)
    finally:
        # What is open still, at Ctrl-C: a close() would send a cancel request for each, and wait.
        for connection in connections:
            connection.terminate()


async def _work(
    connection: asyncpg.Connection, outcome: Outcome, deadline: float, think: float
) -> None:
    """One client: ends at the deadline, or with its first error."""
    try:
        await asyncio.sleep(random.uniform(0, 2 * think))
        while (began := time.monotonic()) < deadline:
            await connection.execute("BEGIN")
            wait = time.monotonic() - began
            await connection.execute(UPDATE, random.randint(1, ACCOUNTS))
            await connection.execute("COMMIT")
            outcome.waits.append(wait)
            await asyncio.sleep(random.uniform(0, 2 * think))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        outcome.errors[describe(error)] += 1


async def _watch_servers(dsn: str, outcome: Outcome) -> None:
    """Keeps the highest number of the pooler's connections seen in pg_stat_activity."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT)
    try:
        while True:
            outcome.servers = max(outcome.servers, await connection.fetchval(COUNT_SERVERS))
            await asyncio.sleep(WATCH_INTERVAL)
    finally:
        connection.terminate()


def describe(error: Exception) -> str:
    """The server's words, or the exception's name where it has none."""
    return str(error) or type(error).__name__
