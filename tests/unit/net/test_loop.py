"""net/loop.py: what asyncio promises holds while sockets are served inside `select`."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from pgmux.net import loop as loop_module
from pgmux.net.loop import Loop, Server, open_server, open_transport
from tests.fixtures.connections import KINDS, Echo, Recorder, connected
from tests.unit.net.conftest import RecordingLog

FAR = 30.0  # seconds; whatever waits for such a timer has been forgotten

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def failures() -> list[BaseException]:
    """What callbacks have raised; a test that expects some empties it."""
    return []


@pytest.fixture(params=[False, True], ids=["", "debug"])
def run(request: pytest.FixtureRequest, failures: list[BaseException]) -> Iterator[Run]:
    """`run(coroutine)`, also in asyncio's debug mode; it has less than FAR seconds."""
    with asyncio.Runner(loop_factory=Loop, debug=request.param) as runner:
        runner.get_loop().set_exception_handler(
            lambda _, context: failures.append(context["exception"])
        )
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, FAR / 2))
    assert failures == []


class Acting(Recorder):
    """Does something when it receives."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.act()


async def open_pair(protocol: Recorder) -> socket.socket:
    """Give `protocol` a transport; returns the other end."""
    ours, theirs = connected("unix")
    await open_transport(asyncio.get_running_loop(), protocol, ours)
    return theirs


class Flood:
    """Two echoes that send each other one byte without end: there is always an event."""

    async def __aenter__(self) -> Flood:
        loop = asyncio.get_running_loop()
        self.echoes = (Echo(), Echo())
        for echo, sock in zip(self.echoes, connected("unix"), strict=True):
            await open_transport(loop, echo, sock)
        self.echoes[0].transport.write(b"x")
        return self

    async def __aexit__(self, *error: object) -> None:
        for echo in self.echoes:
            assert echo.chunk_count, "it was no flood"
            if echo.transport is not None:
                echo.transport.abort()
            await echo.lost.wait()


# ---- timers and callbacks


def test_a_timer_set_by_a_protocol_does_not_wait_for_the_next_event(run: Run) -> None:
    async def case() -> float:
        loop = asyncio.get_running_loop()
        fired = asyncio.Event()
        peer = await open_pair(Acting(lambda: loop.call_later(0.01, fired.set)))
        peer.send(b"x")
        started_at = time.monotonic()
        await fired.wait()
        peer.close()
        return time.monotonic() - started_at

    assert 0.01 <= run(case()) < FAR / 4


def test_a_callback_scheduled_by_a_protocol_runs_at_once(run: Run) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        called = asyncio.Event()
        order: list[str] = []

        def act() -> None:
            loop.call_soon(order.append, "later")
            loop.call_soon(called.set)
            order.append("first")

        peer = await open_pair(Acting(act))
        peer.send(b"x")
        await called.wait()
        assert order == ["first", "later"]
        peer.close()

    run(case())


def test_a_protocol_may_stop_the_loop() -> None:
    loop = Loop()
    peer = loop.run_until_complete(open_pair(Acting(loop.stop)))
    peer.send(b"x")
    watchdog = threading.Timer(FAR / 2, loop.call_soon_threadsafe, (loop.stop,))
    watchdog.start()
    loop.run_forever()
    assert watchdog.is_alive()
    watchdog.cancel()
    peer.close()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()


def test_timers_fire_while_sockets_are_busy(run: Run) -> None:
    async def case() -> None:
        async with Flood():
            for _ in range(10):
                started_at = time.monotonic()
                await asyncio.sleep(0.01)
                assert time.monotonic() - started_at < 1

    run(case())


def test_a_busy_socket_leaves_others_their_turn(run: Run) -> None:
    async def case() -> None:
        async with Flood():
            echo = Echo()
            peer = await open_pair(echo)
            for count in range(1, 11):
                peer.send(b"x")
                await echo.until_received(count)
            peer.close()
            await echo.lost.wait()

    run(case())


def test_a_thread_wakes_the_loop_while_sockets_are_busy_and_no_timer_is_set() -> None:
    loop = Loop()
    flood = Flood()

    async def case() -> None:
        called = asyncio.Event()
        async with flood:
            threading.Timer(0.05, loop.call_soon_threadsafe, (called.set,)).start()
            await called.wait()

    loop.run_until_complete(case())
    loop.close()


def test_a_thread_wakes_an_idle_loop(run: Run) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        called = asyncio.Event()
        threading.Timer(0.01, loop.call_soon_threadsafe, (called.set,)).start()
        await called.wait()

    run(case())


def test_work_in_threads_comes_back(run: Run) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, sum, (1, 2)) == 3
        async with Flood():
            assert await loop.run_in_executor(None, sum, (1, 2)) == 3
        found = await loop.getaddrinfo("127.0.0.1", 5432, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.1", 5432)

    run(case())


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_a_signal_reaches_its_handler(run: Run, is_busy: bool) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        handled = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, handled.set)
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        if is_busy:
            async with Flood():
                timer.start()
                await handled.wait()
        else:
            timer.start()
            await handled.wait()
        loop.remove_signal_handler(signal.SIGUSR1)

    run(case())


# ---- the loop's own descriptors


@pytest.mark.parametrize("by_number", [True, False], ids=["by number", "by socket"])
def test_readers_and_writers_come_and_go(run: Run, by_number: bool) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        sock, peer = connected("unix")
        watched = sock.fileno() if by_number else sock
        readable, writable = asyncio.Event(), asyncio.Event()
        loop.add_reader(watched, readable.set)
        loop.add_writer(watched, writable.set)
        await writable.wait()
        assert not readable.is_set()
        assert loop.remove_writer(watched) and not loop.remove_writer(watched)
        peer.send(b"x")
        await readable.wait()
        again = asyncio.Event()
        loop.add_reader(watched, again.set)
        readable.clear()
        await again.wait()
        assert not readable.is_set()
        assert loop.remove_reader(watched) and not loop.remove_reader(watched)
        again.clear()
        await asyncio.sleep(0.01)
        assert not again.is_set()
        sock.close()
        peer.close()

    run(case())


def test_what_a_protocol_stops_watching_is_not_called_any_more(run: Run) -> None:
    """Both are ready in one batch, the descriptor first."""

    async def case() -> None:
        loop = asyncio.get_running_loop()
        sock, sock_peer = connected("unix")
        called: list[bytes] = []
        acting = Acting(lambda: loop.remove_reader(sock))
        peer = await open_pair(acting)
        loop.add_reader(sock, lambda: called.append(sock.recv(1)))
        sock_peer.send(b"x")
        peer.send(b"x")
        await acting.until_received(1)
        await asyncio.sleep(0)
        assert called == []
        for each in (sock, sock_peer, peer):
            each.close()
        await acting.lost.wait()

    run(case())


def test_asyncio_s_own_connections_work_beside_ours(run: Run) -> None:
    async def case() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello")
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(case())


def test_closing_the_loop_leaves_no_descriptor_open() -> None:
    before = os.listdir("/proc/self/fd")
    loop = Loop()
    loop.run_until_complete(asyncio.sleep(0))
    assert len(os.listdir("/proc/self/fd")) > len(before)
    loop.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_write_to_a_closed_connection_raises_no_signal() -> None:
    """Python ignores SIGPIPE from its start on; write(2) relies on that."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


# ---- accepting


@pytest.fixture(params=KINDS)
def listening(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[socket.socket]:
    """A listening socket."""
    if request.param == "tcp":
        sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "socket"))
        sock.listen(512)
    with sock:
        yield sock


class Door:
    """Makes a protocol for each connection; `made` has them all."""

    def __init__(self, kind: Callable[[], Recorder] = Echo) -> None:
        self.kind = kind
        self.made: list[Recorder] = []

    def __call__(self) -> Recorder:
        self.made.append(self.kind())
        return self.made[-1]

    async def close(self) -> None:
        for protocol in self.made:
            if protocol.transport is not None:
                protocol.transport.abort()
                await protocol.lost.wait()


async def serve(listening: socket.socket, door: Door, log: RecordingLog) -> Server:
    loop = asyncio.get_running_loop()
    return await open_server(loop, door, listening, 512, log)


def new_socket(listening: socket.socket) -> socket.socket:
    sock = socket.socket(listening.family)
    sock.setblocking(False)
    return sock


async def exchange(sock: socket.socket, listening: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, listening.getsockname())
    await loop.sock_sendall(sock, b"hello")
    return await loop.sock_recv(sock, 100)


def test_a_storm_of_connects_is_served(
    run: Run, log: RecordingLog, listening: socket.socket
) -> None:
    async def case() -> None:
        door = Door()
        server = await serve(listening, door, log)
        socks = [new_socket(listening) for _ in range(300)]
        answers = await asyncio.gather(*(exchange(sock, listening) for sock in socks))
        assert answers == [b"hello"] * 300
        assert len(door.made) == 300 and log.lines == []
        for sock in socks:
            sock.close()
        await door.close()
        server.close()

    run(case())


def test_accepted_tcp_connections_send_at_once(run: Run, log: RecordingLog) -> None:
    async def case() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            door = Door()
            server = await serve(listening, door, log)
            with new_socket(listening) as sock:
                await exchange(sock, listening)
                accepted = door.made[0].transport.get_extra_info("socket")
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert accepted.getblocking() is False
            await door.close()
            server.close()

    run(case())


def test_an_accepted_connection_knows_whom_it_was_accepted_from(
    run: Run, log: RecordingLog, listening: socket.socket
) -> None:
    async def case() -> None:
        door = Door()
        server = await serve(listening, door, log)
        with new_socket(listening) as sock:
            await exchange(sock, listening)
            transport = door.made[0].transport
            assert transport.get_extra_info("peername") == sock.getsockname()
            assert transport.get_extra_info("socket").getsockname() == listening.getsockname()
        await door.close()
        server.close()

    run(case())


def test_an_accepting_that_fails_is_a_bug_that_ends_nothing(
    run: Run, log: RecordingLog, listening: socket.socket, failures: list[BaseException]
) -> None:
    door = Door()

    def factory() -> Recorder:
        if not door.made:
            door()
            raise ValueError("a bug")
        return door()

    async def case() -> None:
        loop = asyncio.get_running_loop()
        server = await open_server(loop, factory, listening, 512, log)
        with new_socket(listening) as first, new_socket(listening) as second:
            await loop.sock_connect(first, listening.getsockname())
            assert await loop.sock_recv(first, 100) == b""
            assert await exchange(second, listening) == b"hello"
        assert [str(failure) for failure in failures] == ["a bug"]
        failures.clear()
        await door.close()
        server.close()

    run(case())


def test_a_protocol_that_fails_to_start_costs_one_connection(
    run: Run, log: RecordingLog, listening: socket.socket, failures: list[BaseException]
) -> None:
    class Failing(Echo):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(door.made) == 1:
                raise ValueError("a bug")

    door = Door(Failing)

    async def case() -> None:
        server = await serve(listening, door, log)
        with new_socket(listening) as first, new_socket(listening) as second:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(first, listening.getsockname())
            assert await loop.sock_recv(first, 100) == b""
            assert await exchange(second, listening) == b"hello"
        assert [str(failure) for failure in failures] == ["a bug"]
        failures.clear()
        assert door.made[0].events == ["lost"]
        await door.close()
        server.close()

    run(case())


def test_without_descriptors_accepting_rests_and_then_goes_on(
    run: Run, log: RecordingLog, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "_ACCEPT_RETRY", 0.05)

    async def case() -> None:
        door = Door()
        server = await serve(listening, door, log)
        sock = new_socket(listening)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        first_free = os.dup(sock.fileno())
        os.close(first_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
        try:
            answer = asyncio.ensure_future(exchange(sock, listening))
            started_at = time.monotonic()
            while len(log.lines) < 3:
                await asyncio.sleep(0.01)
            assert time.monotonic() - started_at > 0.05, "it didn't rest"
            assert set(log.lines) == {("ERROR", "accept() failed: Too many open files")}
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await answer == b"hello"
        count = len(log.lines)
        await asyncio.sleep(0.1)
        assert len(log.lines) == count
        sock.close()
        await door.close()
        server.close()

    run(case())


@pytest.mark.parametrize("is_resting", [False, True], ids=["accepting", "resting"])
def test_nothing_is_accepted_once_it_is_closed(
    run: Run,
    log: RecordingLog,
    listening: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    is_resting: bool,
) -> None:
    monkeypatch.setattr(loop_module, "_ACCEPT_RETRY", 0.02)

    async def case() -> None:
        door = Door()
        server = await serve(listening, door, log)
        with new_socket(listening) as sock:
            sock.setblocking(True)
            if is_resting:
                monkeypatch.setattr(loop_module, "accept", _no_descriptors)
                sock.connect(listening.getsockname())
                while not log.lines:
                    await asyncio.sleep(0)
                monkeypatch.undo()
                server.close()
            else:
                server.close()
                sock.connect(listening.getsockname())
            await asyncio.sleep(0.05)
            assert door.made == []
        listening.close()
        await asyncio.sleep(0)

    run(case())


def _no_descriptors(*_: object) -> None:
    raise OSError(24, "Too many open files")
