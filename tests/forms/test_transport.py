"""net/_transport_cy.py in either form, on sockets of either kind."""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import os
import random
import socket
import struct
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pgmux.net import loop as loop_module
from pgmux.net.loop import Loop, open_transport
from tests.fixtures.connections import KINDS, Echo, Recorder, connected
from tests.forms.rig import FORMS, _compiled, _uncompiled

HIGH_WATER, LOW_WATER = 65536, 16384  # asyncio's own
WORD_COUNT = 4_000_000
MODULE = "pgmux.net._transport_cy"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@cache
def load(form: str) -> ModuleType:
    return _compiled(MODULE) if form == "compiled" else _uncompiled(MODULE)


@pytest.fixture(params=FORMS)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Of one form; new loops have its Poller and Transport."""
    module = load(request.param)
    monkeypatch.setattr(loop_module, "Poller", module.Poller)
    monkeypatch.setattr(loop_module, "Transport", module.Transport)
    monkeypatch.setattr(loop_module, "accept", module.accept)
    return module


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def failures() -> list[Exception]:
    """What protocols have raised; a test that expects some empties it."""
    return []


@pytest.fixture
def run(module: ModuleType, failures: list[Exception]) -> Iterator[Run]:
    """`run(coroutine)` on a loop of that form."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.get_loop().set_exception_handler(
            lambda _, context: failures.append(context["exception"])
        )
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 30))
    assert failures == []


async def open_pair(kind: str, protocol: Any = None) -> tuple[Any, socket.socket]:
    """A protocol (or a Recorder) with a transport, and the socket at the other end."""
    ours, theirs = connected(kind)
    protocol = protocol or Recorder()
    await open_transport(asyncio.get_running_loop(), protocol, ours)
    return protocol, theirs


async def turns(count: int = 5) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def receive_all(sock: socket.socket, size: int = 65536) -> bytes:
    """Everything until the other side closes, which may have left something unread."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while data := await loop.sock_recv(sock, size):
            received += data
    return bytes(received)


def fill(transport: Any) -> int:
    """Write until not everything is on the wire; how much that was."""
    count = 0
    while transport.get_write_buffer_size() == 0:
        transport.write(b"f" * 4096)
        count += 4096
    return count


def reset(sock: socket.socket) -> None:
    """Close a TCP socket with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# ---- data


class Source(Recorder):
    """Writes `data` in pieces of random size, as fast as it may."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.left = memoryview(data)
        self.random = random.Random(1)
        self.may_write = True
        self.largest = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.go_on()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.may_write = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self.may_write = True
        self.go_on()

    def go_on(self) -> None:
        while self.may_write and self.left:
            size = self.random.choice((1, 7, 4096, 65536, 300_000))
            self.transport.write(bytes(self.left[:size]))
            self.left = self.left[size:]
            self.largest = max(self.largest, self.transport.get_write_buffer_size())
        if not self.left:
            self.transport.close()


def words() -> bytes:
    return array.array("I", range(WORD_COUNT)).tobytes()


def test_a_slow_reader_gets_every_word_in_its_place(run: Run, kind: str) -> None:
    async def case() -> None:
        data = words()
        source, peer = await open_pair(kind, Source(data))
        loop, sizes = asyncio.get_running_loop(), random.Random(2)
        received = bytearray()
        while chunk := await loop.sock_recv(peer, sizes.choice((100, 5000, 70_000, 400_000))):
            received += chunk
            if sizes.random() < 0.1:
                await turns(3)
        assert bytes(received) == data
        await source.lost.wait()
        assert source.events.count("lost") == 1 and source.error is None
        marks = source.events[:-1]
        assert len(marks) > 8
        assert set(marks[::2]) == {"pause"} and set(marks[1::2]) <= {"resume"}
        assert source.largest <= HIGH_WATER + 300_000
        peer.close()

    run(case())


def test_what_is_received_is_what_was_sent(run: Run, kind: str) -> None:
    async def case() -> None:
        data = words()
        recorder, peer = await open_pair(kind)
        await asyncio.get_running_loop().sock_sendall(peer, data)
        peer.close()
        await recorder.lost.wait()
        assert recorder.received == data
        assert recorder.events == ["lost"] and recorder.error is None

    run(case())


def test_one_huge_write_arrives_whole(run: Run, kind: str) -> None:
    async def case() -> None:
        data = words()
        recorder, peer = await open_pair(kind)
        recorder.transport.write(data)
        recorder.transport.write(b"the end")
        recorder.transport.close()
        assert await receive_all(peer) == data + b"the end"
        peer.close()

    run(case())


# ---- the water marks


def test_writing_pauses_above_the_high_mark_and_resumes_at_the_low_one(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        transport = recorder.transport
        fill(transport)
        transport.write(b"x" * (HIGH_WATER - transport.get_write_buffer_size()))
        assert recorder.events == []
        transport.write(b"y")
        assert recorder.events == ["pause"]
        transport.write(b"z" * 100_000)
        assert recorder.events == ["pause"]
        loop = asyncio.get_running_loop()
        while transport.get_write_buffer_size():
            is_low = transport.get_write_buffer_size() <= LOW_WATER
            assert recorder.events == (["pause", "resume"] if is_low else ["pause"])
            await loop.sock_recv(peer, 3000)
            await turns(2)
        assert recorder.events == ["pause", "resume"]
        transport.abort()
        peer.close()

    run(case())


def test_what_is_written_while_writing_resumes_comes_last(run: Run, kind: str) -> None:
    class Late(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.transport.write(b"the end")
            self.transport.close()

    async def case() -> None:
        late, peer = await open_pair(kind, Late())
        count = fill(late.transport)
        late.transport.write(b"x" * 100_000)
        received = await receive_all(peer)
        assert received == b"f" * count + b"x" * 100_000 + b"the end"
        assert late.events == ["pause", "resume", "lost"]
        peer.close()

    run(case())


# ---- the end that we make


def test_close_sends_what_is_unsent_and_ignores_what_comes_after(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        transport = recorder.transport
        count = fill(transport)
        transport.write(b"last")
        transport.close()
        assert transport.is_closing()
        transport.write(b"too late")
        transport.close()
        await turns()
        assert recorder.events == []
        received = await receive_all(peer)
        assert received == b"f" * count + b"last"
        await recorder.lost.wait()
        await turns()
        assert recorder.events == ["lost"] and recorder.error is None
        transport.write(b"later still")
        transport.resume_reading()
        transport.close()
        transport.abort()
        await turns()
        assert recorder.events == ["lost"]
        peer.close()

    run(case())


def test_close_waits_no_longer_than_its_timeout(
    run: Run, kind: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)

    async def case() -> None:
        recorder, peer = await open_pair(kind)
        recorder.transport.write(bytes(WORD_COUNT))
        recorder.transport.close()
        await recorder.lost.wait()
        assert recorder.events == ["pause", "lost"] and recorder.error is None
        peer.close()

    run(case())


def test_a_closed_connection_receives_nothing_more(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        transport = recorder.transport
        transport.write(bytes(WORD_COUNT))
        peer.send(b"hello")
        transport.close()
        assert not transport.is_reading()
        await turns()
        assert recorder.received == b""
        transport.abort()
        await recorder.lost.wait()
        peer.close()

    run(case())


def test_abort_drops_what_is_unsent(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        transport = recorder.transport
        count = fill(transport)
        transport.write(b"never sent")
        transport.abort()
        transport.abort()
        assert recorder.events == [], "not under the caller's feet"
        assert transport.is_closing() and transport.get_write_buffer_size() == 0
        await recorder.lost.wait()
        await turns()
        assert recorder.events == ["lost"] and recorder.error is None
        assert len(await receive_all(peer)) <= count
        peer.close()

    run(case())


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("place", ["connection_made", "data_received", "pause_writing"])
def test_any_callback_may_end_its_connection(run: Run, kind: str, method: str, place: str) -> None:
    class Ending(Recorder):
        def __init__(self) -> None:
            super().__init__()
            before = getattr(self, place)

            def callback(*args: Any) -> None:
                before(*args)
                getattr(self.transport, method)()
                self.transport.write(b"ignored")
                self.events.append("ended")

            setattr(self, place, callback)

    async def case() -> None:
        ending, peer = await open_pair(kind, Ending())
        peer.send(b"hello")
        if place == "pause_writing":
            fill(ending.transport)
            ending.transport.write(b"x" * 100_000)
        received = await receive_all(peer) if place == "pause_writing" else b""
        await ending.lost.wait()
        await turns()
        assert ending.events[-2:] == ["ended", "lost"]
        assert ending.events.count("ended") == 1 and ending.events.count("lost") == 1
        assert b"ignored" not in received
        peer.close()

    run(case())


# ---- the end that the peer makes


def test_a_write_to_a_peer_that_is_gone_ends_the_connection_later(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        if kind == "unix":
            peer.close()
        else:
            reset(peer)
        recorder.transport.write(b"hello")
        assert recorder.events == [], "not inside write()"
        assert recorder.transport.is_closing()
        recorder.transport.write(b"hello")
        await recorder.lost.wait()
        await turns()
        assert recorder.events == ["lost"]
        assert isinstance(recorder.error, ConnectionError) and recorder.error.errno

    run(case())


def test_a_peer_that_goes_ends_what_was_still_to_be_sent(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        recorder.transport.pause_reading()
        fill(recorder.transport)
        recorder.transport.write(b"x" * 100_000)
        peer.close()
        await recorder.lost.wait()
        assert recorder.events == ["pause", "lost"]
        assert isinstance(recorder.error, ConnectionError)

    run(case())


def test_a_reset_is_the_error_of_connection_lost(run: Run) -> None:
    async def case() -> None:
        recorder, peer = await open_pair("tcp")
        reset(peer)
        await recorder.lost.wait()
        assert isinstance(recorder.error, ConnectionResetError)

    run(case())


def test_the_end_of_the_stream_ends_the_connection(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        peer.send(b"goodbye")
        peer.shutdown(socket.SHUT_WR)
        await recorder.lost.wait()
        assert recorder.received == b"goodbye"
        assert recorder.events == ["lost"] and recorder.error is None
        assert await receive_all(peer) == b""
        peer.close()

    run(case())


def test_a_hang_up_costs_nothing_while_reading_is_paused(run: Run, kind: str) -> None:
    async def case() -> None:
        recorder, peer = await open_pair(kind)
        recorder.transport.pause_reading()
        assert not recorder.transport.is_reading()
        peer.send(b"the rest")
        peer.close()
        before = time.process_time()
        await asyncio.sleep(0.2)
        assert time.process_time() - before < 0.1
        assert recorder.received == b"" and recorder.events == []
        recorder.transport.resume_reading()
        await recorder.lost.wait()
        assert recorder.received == b"the rest" and recorder.error is None

    run(case())


def test_what_was_sent_before_a_reset_is_still_delivered(run: Run) -> None:
    async def case() -> None:
        recorder, peer = await open_pair("tcp")
        recorder.transport.pause_reading()
        peer.send(b"the rest")
        await turns()
        reset(peer)
        recorder.transport.resume_reading()
        await recorder.lost.wait()
        assert isinstance(recorder.error, ConnectionResetError)

    run(case())


def test_a_protocol_may_ask_for_its_socket_when_it_is_lost(run: Run, kind: str) -> None:
    class Asking(Recorder):
        def connection_lost(self, error: Exception | None) -> None:
            self.name = self.transport.get_extra_info("socket").getsockname()
            self.transport.abort()
            super().connection_lost(error)

    async def case() -> None:
        asking, peer = await open_pair(kind, Asking())
        name, transport = peer.getpeername(), asking.transport
        peer.close()
        await asking.lost.wait()
        await turns()
        assert asking.name == name and asking.events == ["lost"]
        assert transport.get_extra_info("socket") is None, "it is closed now"

    run(case())


# ---- accepted connections


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", None])
def test_an_accepted_connection_knows_both_its_sides(
    run: Run, module: ModuleType, host: str | None, tmp_path: Path
) -> None:
    async def case() -> None:
        loop: Any = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        with listen(host, tmp_path) as listening, socket.socket(listening.family) as peer:
            peer.connect(listening.getsockname())
            module.accept(loop.poller, loop, listening, factory, 9, False)
            (recorder,) = made
            sock = recorder.transport.get_extra_info("socket")
            assert recorder.transport.get_extra_info("peername") == peer.getsockname()
            assert sock.getsockname() == listening.getsockname()
            assert os.get_blocking(sock.fileno()) is False
            assert os.get_inheritable(sock.fileno()) is False
            peer.send(b"hello")
            await recorder.until_received(5)
            recorder.transport.abort()
            await recorder.lost.wait()

    run(case())


@pytest.mark.parametrize("end", ["nothing", "pauses", "closes", "fails"])
def test_who_has_spoken_is_read_at_once(
    run: Run, module: ModuleType, end: str, failures: list[Exception], tmp_path: Path
) -> None:
    class Ending(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if end == "pauses":
                transport.pause_reading()
            elif end == "closes":
                transport.close()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if end == "fails":
                raise ValueError("a bug")

    async def case() -> None:
        loop: Any = asyncio.get_running_loop()
        ending = Ending()
        with listen("127.0.0.1", tmp_path) as listening, socket.socket() as peer:
            peer.connect(listening.getsockname())
            peer.send(b"hello")
            module.accept(loop.poller, loop, listening, lambda: ending, 1, True)
            assert ending.received == (b"hello" if end in ("nothing", "fails") else b"")
            if end == "pauses":
                ending.transport.resume_reading()
                await ending.until_received(5)
            elif end == "nothing":
                peer.send(b"again")
                await ending.until_received(10)
        await ending.lost.wait()
        assert [str(failure) for failure in failures] == (["a bug"] if end == "fails" else [])
        failures.clear()

    run(case())


def listen(host: str | None, directory: Path) -> socket.socket:
    """A listening socket; None is a Unix socket."""
    if host is None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(directory / "s"))
        sock.listen()
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, 0), family=family)
    sock.setblocking(False)
    return sock


# ---- reading


def test_a_callback_may_pause_reading(run: Run, kind: str) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def case() -> None:
        pausing, peer = await open_pair(kind, Pausing())
        sending = asyncio.ensure_future(
            asyncio.get_running_loop().sock_sendall(peer, b"x" * 1_000_000)
        )
        for count in range(1, 6):
            await pausing.until_received(len(pausing.received) + 1)
            await turns()
            assert pausing.chunk_count == count
            pausing.transport.resume_reading()
        while len(pausing.received) < 1_000_000:
            await pausing.until_received(len(pausing.received) + 1)
            pausing.transport.resume_reading()
        await sending
        pausing.transport.abort()
        peer.close()

    run(case())


def test_pausing_and_resuming_in_one_callback_changes_nothing(run: Run, kind: str) -> None:
    class Nervous(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.pause_reading()
            self.transport.pause_reading()
            super().data_received(data)
            self.transport.resume_reading()
            self.transport.resume_reading()

    async def case() -> None:
        nervous, peer = await open_pair(kind, Nervous())
        for expected in (1, 2, 3):
            peer.send(b"x")
            await nervous.until_received(expected)
        peer.close()
        await nervous.lost.wait()

    run(case())


def test_a_protocol_may_be_replaced_while_it_receives(run: Run, kind: str) -> None:
    second = []

    class First(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            second.append(Recorder())
            second[0].transport = self.transport
            self.transport.set_protocol(second[0])

    async def case() -> None:
        first, peer = await open_pair(kind, First())
        peer.send(b"one")
        await first.until_received(3)
        peer.send(b"two")
        assert await second[0].until_received(3) == b"two"
        assert second[0].transport.get_protocol() is second[0]
        peer.close()
        await second[0].lost.wait()
        assert first.received == b"one" and first.events == []

    run(case())


# ---- what a protocol raises


@pytest.mark.parametrize(
    "place",
    ["connection_made", "data_received", "pause_writing", "resume_writing", "connection_lost"],
)
@pytest.mark.parametrize("raised", [ValueError("a bug"), OSError(5, "a bug too")])
def test_a_protocol_that_raises_ends_its_own_connection(
    run: Run, failures: list[Exception], kind: str, place: str, raised: Exception
) -> None:
    class Raising(Recorder):
        def __init__(self) -> None:
            super().__init__()
            before = getattr(self, place)

            def callback(*args: Any) -> None:
                before(*args)
                raise raised

            setattr(self, place, callback)

    async def case() -> None:
        echo, neighbour = await open_pair(kind, Echo())
        raising, peer = await open_pair(kind, Raising())
        peer.send(b"hello")
        if place.endswith("_writing"):
            fill(raising.transport)
            raising.transport.write(b"x" * 100_000)  # doesn't raise
        if place == "connection_lost":
            raising.transport.close()
        reading = asyncio.ensure_future(receive_all(peer))
        await raising.lost.wait()
        await turns()
        await reading
        assert raising.events.count("lost") == 1
        assert failures == [raised]
        failures.clear()
        neighbour.send(b"still here")
        await echo.until_received(10)
        assert await asyncio.get_running_loop().sock_recv(neighbour, 100) == b"still here"
        echo.transport.abort()
        await echo.lost.wait()
        peer.close()
        neighbour.close()

    run(case())


def test_a_protocol_that_fails_where_another_writes_harms_only_itself(
    run: Run, failures: list[Exception], kind: str
) -> None:
    class Slow(Recorder):
        def pause_writing(self) -> None:
            raise ValueError("a bug")

    async def case() -> None:
        slow, slow_peer = await open_pair(kind, Slow())

        class Relay(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                fill(slow.transport)
                slow.transport.write(b"x" * 100_000)

        relay, peer = await open_pair(kind, Relay())
        peer.send(b"go")
        await slow.lost.wait()
        assert [str(failure) for failure in failures] == ["a bug"]
        failures.clear()
        assert relay.received == b"go" and relay.events == []
        relay.transport.abort()
        await relay.lost.wait()
        slow_peer.close()
        peer.close()

    run(case())


def test_a_socket_that_epoll_refuses_ends_with_its_error(run: Run, kind: str) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = connected(kind)
        loop.add_reader(ours, lambda: None)  # then epoll has it already
        recorder = Recorder()
        await open_transport(loop, recorder, ours)
        assert recorder.transport.is_closing() and recorder.events == []
        await recorder.lost.wait()
        assert recorder.events == ["lost"] and isinstance(recorder.error, FileExistsError)
        theirs.close()

    run(case())


# ---- many events at once


def test_more_sockets_than_one_poll_reports_are_all_served(run: Run) -> None:
    async def case() -> None:
        pairs = [await open_pair("unix", Echo()) for _ in range(400)]
        for _, peer in pairs:
            peer.send(b"hello")
        for echo, peer in pairs:
            await echo.until_received(5)
            assert peer.recv(100) == b"hello"
        for echo, peer in pairs:
            echo.transport.abort()
            peer.close()
            await echo.lost.wait()

    run(case())


def test_a_callback_may_end_connections_whose_turn_comes_next(run: Run, kind: str) -> None:
    """All are readable in one batch; the first one ends all the others."""
    everybody: list[Recorder] = []

    class Killer(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for other in everybody:
                if other is not self:
                    other.transport.abort()

    async def case() -> None:
        peers = []
        for _ in range(50):
            killer, peer = await open_pair(kind, Killer())
            everybody.append(killer)
            peers.append(peer)
        for peer in peers:
            peer.send(b"hello")
        survivor = everybody[0]
        await survivor.until_received(5)
        for other in everybody[1:]:
            await other.lost.wait()
            assert other.received == b"" and other.events == ["lost"]
        assert survivor.events == []
        survivor.transport.abort()
        for peer in peers:
            peer.close()

    run(case())


@pytest.mark.parametrize("is_first", [True, False], ids=["transport first", "descriptor first"])
def test_an_event_is_not_given_to_the_next_owner_of_its_descriptor(
    run: Run, is_first: bool
) -> None:
    """In one batch: a callback closes a watched socket, and a new one gets its number."""

    async def case() -> None:
        loop = asyncio.get_running_loop()
        called: list[str] = []
        old, old_peer = connected("unix")
        number = old.fileno()
        new: list[socket.socket] = []

        class Swapping(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                loop.remove_reader(number)
                old.close()
                new.extend(connected("unix"))
                assert new[0].fileno() == number
                loop.add_reader(number, called.append, "new")

        swapping, peer = await open_pair("unix", Swapping())
        loop.add_reader(number, called.append, "old")
        for sock in (peer, old_peer) if is_first else (old_peer, peer):
            sock.send(b"x")
        await swapping.until_received(1)
        await turns()
        assert called == []
        new[1].send(b"x")
        await turns()
        assert called and set(called) == {"new"}
        loop.remove_reader(new[0])
        swapping.transport.abort()
        await swapping.lost.wait()
        for sock in (peer, old_peer, *new):
            sock.close()

    run(case())


def test_a_transport_made_by_a_callback_gets_its_own_events_alone(run: Run) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        old, old_peer = connected("unix")
        number = old.fileno()
        successor = Recorder()
        ends: list[socket.socket] = []

        class Swapping(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                loop.remove_writer(old)
                old.close()
                ends.extend(connected("unix"))
                assert ends[0].fileno() == number
                loop_module.Transport(loop.poller, loop, ends[0], successor)

        swapping, peer = await open_pair("unix", Swapping())
        peer.send(b"x")
        loop.add_writer(old, lambda: None)
        await swapping.until_received(1)
        await turns()
        assert successor.events == [] and successor.chunk_count == 0
        ends[1].send(b"hello")
        await successor.until_received(5)
        swapping.transport.abort()
        successor.transport.abort()
        await turns()
        for sock in (peer, old_peer, ends[1]):
            sock.close()

    run(case())


# ---- what is left


@pytest.mark.parametrize("end", ["close", "abort", "eof", "broken", "flushed", "raised"])
def test_an_ended_connection_leaves_nothing_to_the_garbage_collector(
    run: Run,
    failures: list[Exception],
    kind: str,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)

    async def case() -> list[weakref.ref[Any]]:
        recorder, peer = await open_pair(kind)
        transport, lost = recorder.transport, recorder.lost
        if end == "eof":
            peer.shutdown(socket.SHUT_WR)
        elif end == "broken":
            peer.shutdown(socket.SHUT_RD)
            transport.pause_reading()
            peer.close()
            while not transport.is_closing():
                transport.write(b"x")
        elif end == "flushed":
            fill(transport)
            transport.close()
            await receive_all(peer)
        elif end == "raised":
            recorder.data_received = None
            transport.set_protocol(recorder)
            peer.send(b"x")
        else:
            getattr(transport, end)()
        await lost.wait()
        peer.close()
        recorder.error = None
        return [weakref.ref(recorder), weakref.ref(transport)]

    gc.collect()
    gc.disable()
    try:
        dead = run(case())
        failures.clear()
        run(asyncio.sleep(0.1 if end == "flushed" else 0))
        assert [ref() for ref in dead] == [None, None]
    finally:
        gc.enable()
