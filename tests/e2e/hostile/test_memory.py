"""What clients cost: how much while they are there, and nothing when they have gone."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux.wire import build
from tests.e2e.hostile.conftest import busy_pools
from tests.fixtures.certificates import Authority
from tests.fixtures.ends import HostileClient, resident_bytes
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

IDLE_CLIENTS = 5000
MOST_BYTES = 4096  # of an idle client
STARTUP = build.build_startup_message({"user": "postgres", "database": "postgres"})
READY = build.build_ready_for_query()
QUERY = build.build_query("select 1")


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    """As many open files as the system lets us have, for us and for the poolers we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def roomy(many_files: None, module_pooler: MakePooler) -> Pooler:
    return module_pooler(
        settings={
            "default_pool_size": 5,
            "max_client_conn": IDLE_CLIENTS + 100,
            "log_connections": 0,
            "log_disconnections": 0,
        }
    )


class IdleClient(asyncio.Protocol):
    """Logs in, asks one query, and says when each is done."""

    def __init__(self) -> None:
        self.received = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(STARTUP)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(READY) and not self.ready.done():
            self.ready.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError(f"closed: {self.received!r}"))

    async def query(self) -> None:
        self.received = b""
        self.ready = asyncio.get_running_loop().create_future()
        self.transport.write(QUERY)
        await self.ready


async def connect(pooler: Pooler) -> IdleClient:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(IdleClient, pooler.host, pooler.port)
    await client.ready
    return client


async def connect_many(pooler: Pooler, count: int) -> list[IdleClient]:
    """Clients that have logged in, asked a query and been answered; fifty at a time."""
    clients: list[IdleClient] = []
    while len(clients) < count:
        more = [connect(pooler) for _ in range(min(50, count - len(clients)))]
        clients += await asyncio.gather(*more)
    for client in clients:
        await client.query()
    return clients


def test_an_idle_client_costs_at_most_four_kilobytes(
    roomy: Pooler, record_property: pytest.RecordProperty
) -> None:
    async def measure() -> float:
        for client in await connect_many(roomy, 100):  # what the first ones cost, others share
            client.transport.close()
        before = resident_bytes(roomy.pid)
        clients = await connect_many(roomy, IDLE_CLIENTS)
        each = (resident_bytes(roomy.pid) - before) / IDLE_CLIENTS
        for client in clients:
            client.transport.abort()
        return each

    each = asyncio.run(measure())
    record_property("bytes of an idle client", round(each))
    print(f"{each:.0f} bytes each")
    assert each <= MOST_BYTES
    wait_until(lambda: client_count(roomy) == 1)  # who asks


def client_count(pooler: Pooler) -> int:
    return len(pooler.console("SHOW CLIENTS"))


def test_clients_that_have_gone_leave_nothing(
    roomy: Pooler, record_property: pytest.RecordProperty
) -> None:
    """Connect, query, disconnect: by Terminate, FIN and RST; and logins that fail."""
    half_a_login = STARTUP[:20]

    async def come_and_go(count: int) -> None:
        for number in range(count // 50):
            clients = await asyncio.gather(*(connect(roomy) for _ in range(40)))
            await asyncio.gather(*(client.query() for client in clients))
            for client in clients[:10]:
                client.transport.write(build.build_terminate())
            for client in clients[10:]:
                (client.transport.abort if number % 2 else client.transport.close)()
            for _ in range(10):
                _, writer = await asyncio.open_connection(roomy.host, roomy.port)
                writer.write(half_a_login)
                writer.close()

    asyncio.run(come_and_go(1000))
    before = resident_bytes(roomy.pid)
    asyncio.run(come_and_go(3000))
    wait_until(lambda: client_count(roomy) == 1)
    grown = resident_bytes(roomy.pid) - before
    record_property("bytes grown in 3,000 connections", grown)
    print(f"{grown} bytes grown")
    assert grown < 1 << 20
    assert not busy_pools(roomy, "postgres")


@pytest.mark.soak
def test_twenty_thousand_clients_leave_nothing(roomy: Pooler) -> None:
    async def come_and_go(count: int) -> None:
        for _ in range(count // 50):
            for client in await asyncio.gather(*(connect(roomy) for _ in range(50))):
                await client.query()
                client.transport.close()

    asyncio.run(come_and_go(5000))
    before = resident_bytes(roomy.pid)
    asyncio.run(come_and_go(20_000))
    wait_until(lambda: client_count(roomy) == 1)
    assert resident_bytes(roomy.pid) - before < 1 << 20


# Runs pgmux without a garbage collector; at SIGUSR2 it says what only a collector would free.
WITHOUT_COLLECTOR = """
import collections, gc, os, signal, sys
def report(signum, frame):
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kinds = collections.Counter(type(each).__name__ for each in gc.garbage)
    gc.garbage.clear()
    os.write(2, f"GARBAGE {sum(kinds.values())} {kinds.most_common(15)}\\n".encode())
gc.disable()
signal.signal(signal.SIGRTMIN, report)
from pgmux.daemon.main import main
sys.exit(main(sys.argv[1:], "pgmux run"))
"""


def test_no_connection_is_part_of_a_reference_cycle(
    postgres: EmbeddedPostgres, authority: Authority
) -> None:
    """Else the collector, which stops everybody, would have to look for it."""
    own = authority.issue("localhost")
    with PoolerProcess(
        port=find_free_port(),
        databases={
            "postgres": f"host={postgres.host} port={postgres.port} pool_size=2",
            "nowhere": f"host=127.0.0.1 port={find_free_port()}",
            "refused": f"host={postgres.host} port={postgres.port} dbname=there_is_none",
        },
        users={"postgres": "postgres"},
        settings={
            "auth_type": "scram-sha-256",
            "admin_users": "postgres",
            "server_lifetime": 0,
            "client_tls_sslmode": "allow",
            "client_tls_cert_file": own.cert_file,
            "client_tls_key_file": own.key_file,
        },
        command=(sys.executable, "-P", "-c", WITHOUT_COLLECTOR),
    ) as pooler:
        bring_about_everything(pooler, authority)  # once, for what is kept
        first = garbage(pooler, 1)
        for _ in range(20):
            bring_about_everything(pooler, authority)
        second = garbage(pooler, 2)
        assert second[0] < 20, f"{second}; before that {first}"


def garbage(pooler: PoolerProcess, number: int) -> tuple[int, str]:
    """How many objects have become garbage since the last time, and of which types."""
    pooler.send_signal(signal.SIGRTMIN)

    def reports() -> list[str]:
        return [line for line in pooler.log().splitlines() if line.startswith("GARBAGE")]

    line = wait_until(lambda: reports()[number - 1 :])[0]
    return int(line.split()[1]), line


def bring_about_everything(pooler: PoolerProcess, authority: Authority) -> None:
    """All kinds of ends: of clients, of logins, of servers, of connects, of the console."""
    address = (pooler.host, pooler.port)
    with HostileClient(address) as client:
        client.login("postgres", "postgres", "postgres")
        client.query("set application_name = 'changed'")
        client.ask(build.build_parse("s", "select 1"), build.build_sync())
    with HostileClient(address) as client:
        client.login("postgres", "postgres", "postgres")
        client.send(build.build_query("select pg_terminate_backend(pg_backend_pid())"))
        assert client.read_fatal()
    with HostileClient(address) as client:
        client.login("postgres", "postgres", "postgres")
        client.send(build.build_query("select pg_sleep(10)"))
        client.cancel()
        client.reset()
    with HostileClient(address) as client:
        client.login("postgres", "postgres", "postgres")
        client.send(b"\xff" * 5)
        assert client.read_fatal()
    for sent in (
        b"garbage!",
        STARTUP,
        build.build_ssl_request(),
        build.build_cancel_request(1, b"none"),
        b"\x16\x03\x01\0\x05\x01\0\0\x01\0",  # a ClientHello of nonsense
        b"\x16\x03\x01\xff\xff",  # a ClientHello's beginning
    ):
        with HostileClient(address) as client:
            client.send(sent)
    for said in (b"", b"garbage!", STARTUP, build.build_cancel_request(1, b"none")):
        with HostileClient(address) as client:
            context = authority.client_context()
            client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
            client.send(said)
    for database in ("refused", "unknown"):
        with HostileClient(address) as client, pytest.raises(AssertionError):
            client.login("postgres", database, "postgres")
    with HostileClient(address) as client, pytest.raises(AssertionError):
        client.login("postgres", "postgres", "wrong")
    with HostileClient(address) as client:
        client.start("postgres", "nowhere")  # and doesn't wait
    with HostileClient(address) as console:
        console.login("postgres", "pgbouncer", "postgres")
        console.query("show servers")


def test_it_listens_soon_after_its_start(
    pooler: MakePooler, record_property: pytest.RecordProperty
) -> None:
    made = pooler()
    # Its own time, as others run beside it here: utime and stime.
    ticks = Path(f"/proc/{made.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    took = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    record_property("seconds to listen", took)
    print(f"listening after {took:.2f} s")
    assert took <= 0.5
