"""Connecting and logging in, against servers that play PostgreSQL, send garbage, or nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest

from pgmux.auth import credentials
from pgmux.auth.scram import Pbkdf2, ScramVerifier, derive_secret
from pgmux.auth.secrets import parse_secret
from pgmux.config.model import Database, LoadBalanceHosts, Settings
from pgmux.net.compute import Computer
from pgmux.net.connector import Attempt, Connector, ConnectRequest
from pgmux.net.resolver import LookupFailed
from pgmux.net.server_login import LoginProtocol
from pgmux.net.sockets import Address, Addresses, numeric_addresses, unix_address
from pgmux.net.tls_context import Tls, TlsInForce
from pgmux.session.log import Name
from pgmux.session.server import LoggedIn, ServerLogin, ServerLoginFailed
from pgmux.wire import build, parse
from tests.fixtures.blackhole import blackhole
from tests.unit.net.conftest import RecordingLog, Run

SALT, ITERATIONS = b"0123456789abcdef", 5
SECRET = derive_secret(Pbkdf2(b"pencil", SALT, ITERATIONS).run(), SALT, ITERATIONS)
WELCOME = (
    build.build_authentication_ok()
    + build.build_parameter_status("server_version", "17.2")
    + build.build_backend_key_data(4711, b"abcd")
    + build.build_ready_for_query()
)
STARTING_UP = build.build_error_response("FATAL", "57P03", "the database system is starting up")
NO_DATABASE = build.build_error_response("FATAL", "3D000", 'database "db" does not exist')

PER_CONNECTION = (Attempt, LoginProtocol, ServerLogin, ServerLoginFailed, LoggedIn)

HANGING = "hanging.test"  # a name that nobody answers for

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    """A packet without type byte, its length taken off."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    return await reader.readexactly(length - 4)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """The body of a message."""
    await reader.readexactly(1)
    return await read_packet(reader)


def saying(answer: bytes, *, then_closing: bool = False) -> Script:
    """A server that answers StartupMessage with `answer`, and then waits for the other's end."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(answer)
        if not then_closing:
            await reader.read()

    return script


async def asking_for_scram(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_packet(reader)
    writer.write(build.build_authentication_sasl(["SCRAM-SHA-256"]))
    initial = parse.parse_sasl_initial_response(await read_message(reader))
    verifier = ScramVerifier("servernonce", initial.data or b"")
    writer.write(build.build_authentication_sasl_continue(verifier.challenge(SECRET)))
    server_final, _ = verifier.verify(await read_message(reader))
    writer.write(build.build_authentication_sasl_final(server_final) + WELCOME)
    await reader.read()


class FakeServer:
    """Runs a script for each connection, at 127.0.0.N:port or at a Unix socket's path."""

    def __init__(self, script: Script, sock: socket.socket) -> None:
        self.script = script
        self.sock = sock
        self.connections = 0
        self.ended = asyncio.Event()

    async def __aenter__(self) -> FakeServer:
        if self.sock.family == socket.AF_UNIX:
            self.server = await asyncio.start_unix_server(self._serve, sock=self.sock)
        else:
            self.server = await asyncio.start_server(self._serve, sock=self.sock)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # CancelledError, at the loop's end: the streams of Python 3.12.1 take it for a failure.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.script(reader, writer)
        writer.close()
        self.ended.set()


def tcp_server(script: Script, host: str = "127.0.0.1", port: int = 0) -> FakeServer:
    return FakeServer(script, socket.create_server((host, port)))


def unix_server(script: Script, directory: str, port: int) -> FakeServer:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(unix_address(directory, port).sockaddr)
    sock.listen()
    return FakeServer(script, sock)


class Relay(asyncio.Protocol):
    """What the connection becomes."""

    def __init__(self) -> None:
        self.received = b""
        self.got = asyncio.Event()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.got.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


class StubComputer(Computer):
    """Computes nothing: the test does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.submitted: asyncio.Queue[Callable[[bytes], None]] = asyncio.Queue()

    def submit(self, job: Pbkdf2, on_result: Callable[[bytes], None]) -> None:
        self.submitted.put_nowait(on_result)


class Client:
    """Starts attempts, and collects how they end."""

    def __init__(
        self, log: RecordingLog, max_jobs: int = 10, tls: TlsInForce | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        computer = Computer(loop, max_jobs)
        tls = tls or TlsInForce(Tls())
        self.log = log
        self.connector = Connector(
            loop, log, lambda: 42.0, computer, self.resolve, tls, self.on_end
        )
        self.names: dict[str, list[str]] = {}
        self.answer = asyncio.Event()
        self.ends: asyncio.Queue[LoggedIn | ServerLoginFailed] = asyncio.Queue()
        self.relay = Relay()

    def on_end(self, name: Name, reason: str, began_at: float) -> None:
        assert name.side == "server" and began_at == 42.0
        self.log.log(f"closing because: {reason}", name)

    async def resolve(self, host: str) -> list[Address]:
        if host == HANGING:
            await self.answer.wait()
        if host not in self.names:
            raise LookupFailed("Domain name not found", is_final=True)
        return [numeric_addresses(each, 0)[0] for each in self.names[host]]

    def start(
        self,
        server: FakeServer | int,
        *hosts: str,
        settings: Settings | None = None,
        **database: object,
    ) -> Attempt:
        port = server if isinstance(server, int) else server.sock.getsockname()[1]
        entry = Database("name", "db", hosts=hosts, port=port, **database)  # type: ignore[arg-type]
        login = credentials.ServerLogin("alice", parse_secret("pencil"))
        request = ConnectRequest(entry, login, settings or Settings(), {})
        return self.connector.connect(request, self.on_ready, self.ends.put_nowait)

    def on_ready(
        self, transport: asyncio.Transport, logged_in: LoggedIn, addresses: Addresses
    ) -> None:
        self.transport, self.addresses = transport, addresses
        transport.set_protocol(self.relay)
        self.ends.put_nowait(logged_in)

    async def logged_in(self) -> LoggedIn:
        end = await self.ends.get()
        assert isinstance(end, LoggedIn), end.detail or end.reason
        return end

    async def failure(self) -> ServerLoginFailed:
        end = await self.ends.get()
        assert isinstance(end, ServerLoginFailed)
        await settle()
        assert self.ends.empty()
        return end


async def settle() -> None:
    """Let everything that is due happen."""
    for _ in range(10):
        await asyncio.sleep(0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# Getting in


def test_a_login_hands_over_the_connection(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(WELCOME + b"rest")) as server:
            client = Client(log)
            attempt = client.start(server, "127.0.0.1")
            assert client.ends.empty()
            end = await client.logged_in()
            assert (end.cancel_pid, end.cancel_key, end.rest) == (4711, b"abcd", b"rest")
            port = server.sock.getsockname()[1]
            assert str(client.addresses.peer) == f"127.0.0.1:{port}"
            local_port = client.transport.get_extra_info("socket").getsockname()[1]
            assert client.addresses.local == numeric_addresses("127.0.0.1", local_port)[0]
            assert (attempt.started_at, attempt.address) == (42.0, client.addresses.peer)
            attempt.cancel("too late")
            await settle()
            assert not client.transport.is_closing()
            client.transport.close()
            await server.ended.wait()

    run(scenario())


def test_what_comes_after_the_login_goes_to_the_next_protocol(run: Run, log: RecordingLog) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(WELCOME)
        writer.write(await reader.readexactly(5))

    async def scenario() -> None:
        async with tcp_server(echo) as server:
            client = Client(log)
            client.start(server, "127.0.0.1")
            await client.logged_in()
            client.transport.write(b"hello")
            await client.relay.lost.wait()
            assert client.relay.received == b"hello"

    run(scenario())


def test_options_of_the_socket_are_set(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(WELCOME)) as server:
            client = Client(log)
            client.start(server, "127.0.0.1", settings=Settings(tcp_keepidle=77))
            await client.logged_in()
            sock = client.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            client.transport.abort()

    run(scenario())


@pytest.mark.parametrize("host", [None, "given", "abstract"])
def test_servers_are_reached_over_unix_sockets(
    run: Run, log: RecordingLog, tmp_path: Path, host: str | None
) -> None:
    async def scenario() -> None:
        directory = f"@pgmux-test-{os.getpid()}" if host == "abstract" else str(tmp_path)
        async with unix_server(saying(WELCOME), directory, 5433):
            client = Client(log)
            hosts = () if host is None else (directory,)
            client.start(5433, *hosts, settings=Settings(unix_socket_dir=directory))
            await client.logged_in()
            peer = client.addresses.peer
            assert str(peer) == f"unix({os.getpid()}):5433"
            assert peer.place == unix_address(directory, 5433).place
            client.transport.abort()

    run(scenario())


def test_scram_is_computed_in_a_thread_and_logs_in(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(asking_for_scram) as server:
            client = Client(log)
            client.start(server, "127.0.0.1")
            assert (await client.logged_in()).cancel_pid == 4711
            client.transport.abort()

    run(scenario())


def test_a_literal_starts_no_thread(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        before = len(os.listdir("/proc/self/task"))
        async with tcp_server(saying(WELCOME)) as server:
            client = Client(log)
            client.start(server, "127.0.0.1")
            await client.logged_in()
            client.transport.abort()
        assert len(os.listdir("/proc/self/task")) <= before  # one of another test may end

    run(scenario())


def test_a_name_is_resolved(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(WELCOME)) as server:
            client = Client(log)
            client.names["db.test"] = ["127.0.0.1"]
            client.start(server, "db.test")
            await client.logged_in()
            client.transport.abort()

    run(scenario())


# Several hosts


async def which_hosts(
    log: RecordingLog, servers: dict[str, Script], **database: object
) -> list[str]:
    """Where four attempts get in, one after the other, of hosts 127.0.0.1 to .3."""
    port = free_port()
    found = []
    async with AsyncExitStack() as stack:
        for host, script in servers.items():
            await stack.enter_async_context(tcp_server(script, host, port))
        client = Client(log)
        for _ in range(4):
            client.start(port, "127.0.0.1", "127.0.0.2", "127.0.0.3", **database)
            await client.logged_in()
            found.append(client.addresses.peer.host[-1])
            client.transport.abort()
    return found


def test_new_connections_take_the_hosts_in_turn(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        servers = {f"127.0.0.{n}": saying(WELCOME) for n in (1, 2, 3)}
        assert await which_hosts(log, servers) == ["1", "2", "3", "1"]
        assert log.warnings == []

    run(scenario())


def test_without_load_balancing_the_first_host_is_kept(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        servers = {f"127.0.0.{n}": saying(WELCOME) for n in (1, 2, 3)}
        mode = LoadBalanceHosts.DISABLE
        assert await which_hosts(log, servers, load_balance_hosts=mode) == ["1"] * 4

    run(scenario())


def test_without_load_balancing_a_host_that_failed_is_left_for_the_next(
    run: Run, log: RecordingLog
) -> None:
    async def scenario() -> None:
        mode = LoadBalanceHosts.DISABLE
        servers = {"127.0.0.3": saying(WELCOME)}
        assert await which_hosts(log, servers, load_balance_hosts=mode) == ["3"] * 4
        assert len(log.warnings) == 2  # by the first attempt

    run(scenario())


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (None, "cannot connect to {}: Connection refused"),
        (saying(STARTING_UP), "server login failed: FATAL the database system is starting up"),
        (saying(b"", then_closing=True), "server conn crashed?"),
        (saying(b"garbage!"), "bad packet header: '6761726261676521'"),
    ],
)
def test_the_next_host_is_tried_at_once(
    run: Run, log: RecordingLog, first: Script | None, why: str
) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            if first is None:  # a port that nobody listens on, nor can
                taken = stack.enter_context(socket.socket())
                taken.bind(("127.0.0.1", 0))
            else:
                taken = (await stack.enter_async_context(tcp_server(first))).sock
            port = taken.getsockname()[1]
            second = tcp_server(saying(WELCOME), "127.0.0.2", port)
            await stack.enter_async_context(second)
            client = Client(log)
            client.start(second, "127.0.0.1", "127.0.0.2")
            await client.logged_in()
            assert client.addresses.peer.host == "127.0.0.2"
            client.transport.abort()
            text = why.format(f"127.0.0.1:{port}")
            assert log.warnings == [f"name: {text}; trying 127.0.0.2"]

    run(scenario())


def test_a_refusal_that_every_host_would_give_ends_the_attempt(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(NO_DATABASE)) as first:
            port = first.sock.getsockname()[1]
            async with tcp_server(saying(WELCOME), "127.0.0.2", port) as second:
                client = Client(log)
                client.start(port, "127.0.0.1", "127.0.0.2")
                failure = await client.failure()
                assert (failure.sqlstate, failure.from_server) == ("3D000", True)
                assert second.connections == 0

    run(scenario())


def test_the_addresses_of_a_name_are_tried_in_turn(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(WELCOME), "127.0.0.2") as server:
            port = server.sock.getsockname()[1]
            client = Client(log)
            client.names["two.test"] = ["127.0.0.1", "127.0.0.2"]
            client.start(server, "two.test")
            await client.logged_in()
            client.transport.abort()
            what = f"cannot connect to 127.0.0.1:{port}: Connection refused"
            assert log.warnings == [f"name: {what}; trying 127.0.0.2:{port}"]

    run(scenario())


def test_an_address_that_failed_comes_last_the_next_time(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(WELCOME), "127.0.0.2") as server:
            client = Client(log)
            client.names["two.test"] = ["127.0.0.1", "127.0.0.2"]
            for _ in range(4):
                client.start(server, "two.test")
                await client.logged_in()
                client.transport.abort()
            assert len(log.warnings) == 1

    run(scenario())


# Hosts that keep silent. With this timeout and one more host to try, 0.2 s are waited for one.

IMPATIENT = Settings(server_connect_timeout=0.4)


@pytest.mark.parametrize("mode", LoadBalanceHosts)
def test_a_host_that_swallows_connects_costs_its_delay_once(
    run: Run, log: RecordingLog, mode: LoadBalanceHosts
) -> None:
    async def scenario() -> None:
        with blackhole() as port:
            async with tcp_server(saying(WELCOME), "127.0.0.2", port):
                client = Client(log)
                before = open_files()
                for _ in range(4):
                    client.start(
                        port,
                        "127.0.0.1",
                        "127.0.0.2",
                        settings=IMPATIENT,
                        load_balance_hosts=mode,
                    )
                    await client.logged_in()
                    client.transport.abort()
                assert log.warnings == [
                    f"name: no answer from 127.0.0.1:{port} yet; trying 127.0.0.2"
                ]
                while open_files() != before:
                    await asyncio.sleep(0)

    run(scenario())


def test_without_load_balancing_a_host_that_kept_silent_is_left_for_good(
    run: Run, log: RecordingLog
) -> None:
    async def scenario() -> None:
        with blackhole() as port:
            async with tcp_server(saying(WELCOME), "127.0.0.2", port):
                client = Client(log)
                settings = replace(IMPATIENT, server_login_retry=0.0)
                hosts, mode = ("127.0.0.1", "127.0.0.2"), LoadBalanceHosts.DISABLE
                for _ in range(2):
                    client.start(port, *hosts, settings=settings, load_balance_hosts=mode)
                    await client.logged_in()
                    client.transport.abort()
                text = f"name: no answer from 127.0.0.1:{port} yet; trying 127.0.0.2"
                assert log.warnings.count(text) == 1

    run(scenario())


def test_a_connect_that_is_given_up_says_where_it_went(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        with blackhole() as port:
            attempt = Client(log).start(port, "127.0.0.1")
            await settle()
            attempt.cancel("connect timeout")
            name = f"S-0x0: name/alice@127.0.0.1:{port}"
            assert log.lines == [("LOG", f"{name} closing because: connect timeout")]

    run(scenario())


def test_a_name_that_nobody_answers_for_keeps_no_other_host_waiting(
    run: Run, log: RecordingLog
) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(WELCOME)) as server:
            client = Client(log)
            client.start(server, HANGING, "127.0.0.1", settings=IMPATIENT)
            await client.logged_in()
            client.transport.abort()
            assert log.warnings == [f"name: no answer from {HANGING} yet; trying 127.0.0.1"]

    run(scenario())


def test_a_late_host_may_still_serve(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        with blackhole("127.0.0.2") as port:
            async with tcp_server(saying(WELCOME), "127.0.0.1", port):
                client = Client(log)
                client.names[HANGING] = ["127.0.0.1"]
                client.start(port, HANGING, "127.0.0.2", settings=IMPATIENT)
                while not log.warnings:
                    await asyncio.sleep(0.01)
                client.answer.set()
                await client.logged_in()
                assert client.addresses.peer.host == "127.0.0.1"
                client.transport.abort()

    run(scenario())


def test_a_login_that_never_ends_keeps_no_other_host_waiting(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(silent) as first:
            port = first.sock.getsockname()[1]
            async with tcp_server(saying(WELCOME), "127.0.0.2", port):
                client = Client(log)
                client.start(port, "127.0.0.1", "127.0.0.2", settings=IMPATIENT)
                await client.logged_in()
                client.transport.abort()
                await first.ended.wait()
                what = f"no login at 127.0.0.1:{port} within 0.2 s"
                assert log.warnings == [f"name: {what}; trying 127.0.0.2"]

    run(scenario())


def test_the_last_host_has_all_the_time_that_is_left(run: Run, log: RecordingLog) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await client.answer.wait()
        await saying(WELCOME)(reader, writer)

    async def scenario() -> None:
        nonlocal client
        client = Client(log)
        async with tcp_server(slow) as server:
            client.start(server, "127.0.0.1", settings=Settings(server_connect_timeout=0.001))
            asyncio.get_running_loop().call_later(0.05, client.answer.set)
            await client.logged_in()
            client.transport.abort()

    client: Client
    run(scenario())


# Not getting in


def fails(run: Run, log: RecordingLog, script: Script) -> ServerLoginFailed:
    """How an attempt at a server that does `script` fails; the connection is closed then."""
    failures: list[ServerLoginFailed] = []

    async def scenario() -> None:
        async with tcp_server(script) as server:
            client = Client(log)
            client.start(server, "127.0.0.1")
            failures.append(await client.failure())
            await server.ended.wait()

    run(scenario())
    return failures[0]


def test_a_server_that_closes_has_crashed(run: Run, log: RecordingLog) -> None:
    failure = fails(run, log, saying(WELCOME[:20], then_closing=True))
    assert (failure.reason, failure.is_transient) == ("server conn crashed?", True)


def test_garbage_fails_the_attempt(run: Run, log: RecordingLog) -> None:
    failure = fails(run, log, saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert failure.reason == "bad packet header: '485454502f312e31'"


def test_the_servers_refusal_is_passed_on(run: Run, log: RecordingLog) -> None:
    failure = fails(run, log, saying(NO_DATABASE, then_closing=True))
    assert failure.message == 'database "db" does not exist'


def test_too_many_computations_fail_the_attempt(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(asking_for_scram) as server:
            client = Client(log, max_jobs=0)
            client.start(server, "127.0.0.1")
            assert "password computations" in (await client.failure()).reason

    run(scenario())


def fails_without_server(
    run: Run, log: RecordingLog, *hosts: str, settings: Settings | None = None
) -> ServerLoginFailed:
    failures: list[ServerLoginFailed] = []

    async def scenario() -> None:
        client = Client(log)
        client.start(free_port(), *hosts, settings=settings)
        failures.append(await client.failure())

    run(scenario())
    return failures[0]


def test_nobody_there_is_a_failed_connect(run: Run, log: RecordingLog) -> None:
    failure = fails_without_server(run, log, "127.0.0.1")
    assert (failure.reason, failure.is_transient) == ("connect failed", True)
    assert failure.detail.endswith(": Connection refused")


def test_a_missing_unix_socket_is_a_failed_connect(
    run: Run, log: RecordingLog, tmp_path: Path
) -> None:
    failure = fails_without_server(run, log, str(tmp_path))
    assert failure.reason == "connect failed"
    assert failure.detail.endswith(": No such file or directory")


def test_a_path_too_long_is_a_failed_connect(run: Run, log: RecordingLog) -> None:
    failure = fails_without_server(run, log, "/" + "x" * 200)
    assert failure.detail.endswith(": AF_UNIX path too long")


@pytest.mark.parametrize("host", ["nobody.test", "x" * 70, "a..b"])
def test_a_name_without_address_is_a_failed_lookup(run: Run, log: RecordingLog, host: str) -> None:
    failure = fails_without_server(run, log, host)
    assert failure.reason == "server DNS lookup failed"
    assert log.warnings == []  # the resolver has said why, once


def test_no_directory_for_unix_sockets_is_said(run: Run, log: RecordingLog) -> None:
    failure = fails_without_server(run, log, settings=Settings(unix_socket_dir=""))
    assert failure.reason == "cannot connect"
    assert failure.detail == "unix socket dir not configured: name"


# The log


def test_a_connection_and_its_end_are_logged_in_pgbouncers_words(
    run: Run, log: RecordingLog
) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(NO_DATABASE)) as server:
            client = Client(log)
            client.start(server, "127.0.0.1")
            failure = await client.failure()
            name = f"S-0x0: name/alice@127.0.0.1:{server.sock.getsockname()[1]}"
            (level, connected), *others = log.lines
            assert level == "LOG"
            assert connected.startswith(f"{name} new connection to server (from 127.0.0.1:")
            assert others == [
                ("WARNING", f"server login failed: FATAL {failure.message}"),
                ("LOG", f"{name} closing because: {failure.message}"),
            ]

    run(scenario())


def test_connections_need_not_be_logged(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(saying(b"", then_closing=True)) as server:
            client = Client(log)
            quiet = Settings(log_connections=False)
            client.start(server, "127.0.0.1", settings=quiet)
            await client.failure()
            assert [text for _, text in log.lines if "new connection" in text] == []

    run(scenario())


# Giving up


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, None])
def test_cancelling_closes_the_connection_and_calls_nobody(
    run: Run, log: RecordingLog, steps: int | None
) -> None:
    async def scenario() -> None:
        async with tcp_server(silent) as server:
            client = Client(log)
            before = open_files()
            attempt = client.start(server, "127.0.0.1")
            if steps is None:
                while not server.connections:
                    await asyncio.sleep(0)
            for _ in range(steps or 0):
                await asyncio.sleep(0)
            attempt.cancel("connect timeout")
            attempt.cancel("connect timeout")
            await settle()
            if server.connections:
                await server.ended.wait()
            await settle()
            assert client.ends.empty()
            assert open_files() == before

    run(scenario())


def test_cancelling_while_a_password_is_computed_calls_nobody(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(asking_for_scram) as server:
            client = Client(log)
            stub = client.connector.computer = StubComputer(asyncio.get_running_loop())
            attempt = client.start(server, "127.0.0.1")
            on_result = await stub.submitted.get()
            attempt.cancel("connect timeout")
            on_result(bytes(32))
            await server.ended.wait()
            assert client.ends.empty()

    run(scenario())


@pytest.mark.parametrize(
    "script", [saying(WELCOME), saying(NO_DATABASE), saying(b"garbage!"), asking_for_scram, silent]
)
def test_an_attempt_leaves_no_cycle_behind(run: Run, log: RecordingLog, script: Script) -> None:
    async def scenario() -> None:
        async with tcp_server(script) as server:
            client = Client(log)
            attempt = client.start(server, "127.0.0.1")
            if script is silent:
                while not server.connections:
                    await asyncio.sleep(0)
                attempt.cancel("connect timeout")
            elif isinstance(await client.ends.get(), LoggedIn):
                client.transport.abort()
            del attempt
            await server.ended.wait()
            await settle()
            assert [each for each in gc.get_objects() if isinstance(each, PER_CONNECTION)] == []

    gc.collect()
    gc.disable()
    try:
        run(scenario())
    finally:
        gc.enable()


# Cancel requests


def test_a_cancel_request_is_sent_and_its_end_told(run: Run, log: RecordingLog) -> None:
    packets: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets.append(await read_packet(reader))

    async def scenario() -> None:
        async with tcp_server(script) as server:
            (address,) = numeric_addresses(*server.sock.getsockname())
            done: asyncio.Queue[str] = asyncio.Queue()
            Client(log).connector.send_cancel(address, 4711, b"abcdef", done.put_nowait)
            assert await done.get() == ""
        assert packets == [build.build_cancel_request(4711, b"abcdef")[4:]]

    run(scenario())


def test_a_cancel_request_goes_to_a_unix_peer_too(
    run: Run, log: RecordingLog, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with unix_server(saying(WELCOME), str(tmp_path), 5433) as server:
            client = Client(log)
            client.start(5433, str(tmp_path))
            await client.logged_in()
            done: asyncio.Queue[str] = asyncio.Queue()
            peer = client.addresses.peer
            client.connector.send_cancel(peer, 4711, b"abcd", done.put_nowait)
            assert await done.get() == ""
            assert server.connections == 2
            client.transport.abort()

    run(scenario())


def test_a_cancel_request_that_finds_nobody_says_so(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        (address,) = numeric_addresses("127.0.0.1", free_port())
        done: asyncio.Queue[str] = asyncio.Queue()
        Client(log).connector.send_cancel(address, 4711, b"abcd", done.put_nowait)
        assert await done.get() == f"cannot connect to {address}: Connection refused"

    run(scenario())


def test_a_cancel_request_can_be_given_up(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(silent) as server:
            (address,) = numeric_addresses(*server.sock.getsockname())
            done: asyncio.Queue[str] = asyncio.Queue()
            before = open_files()
            attempt = Client(log).connector.send_cancel(address, 1, b"abcd", done.put_nowait)
            while not server.connections:
                await asyncio.sleep(0)
            attempt.cancel("cancel_wait_timeout")
            await server.ended.wait()
            await settle()
            assert done.empty()
            assert open_files() == before

    run(scenario())
