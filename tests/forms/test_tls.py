"""net/_tls_cy.py in either form, between a peer in memory and a protocol that records."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import weakref
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import pytest
import uvloop

from pgmux.errors import TlsError
from pgmux.net.loop import Loop, open_transport
from tests.fixtures.certificates import Authority
from tests.fixtures.connections import Recorder, connected
from tests.fixtures.tls_peer import TlsPeer
from tests.forms.rig import FORMS, _compiled, _uncompiled

MODULE = "pgmux.net._tls_cy"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@cache
def load(form: str) -> ModuleType:
    return _compiled(MODULE) if form == "compiled" else _uncompiled(MODULE)


@pytest.fixture(params=FORMS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return ssl.TLSVersion(request.param)


class Wire:
    """The transport below TLS: keeps what is written, until it is taken."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written: list[bytes] = []
        self.unsent_len = 0
        self.is_paused = False
        self.end = ""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes) and data
        if not self.end:
            self.written.append(data)

    def take(self) -> bytes:
        data = b"".join(self.written)
        self.written.clear()
        return data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_reading(self) -> bool:
        return not self.is_paused

    def is_closing(self) -> bool:
        return self.end != ""

    def get_write_buffer_size(self) -> int:
        return self.unsent_len

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return f"the wire's {name}"

    def close(self) -> None:
        self.end = self.end or "close"

    def abort(self) -> None:
        self.end = self.end or "abort"

    def lose(self, error: Exception | None = None) -> None:
        protocol, self.protocol = self.protocol, None
        protocol.connection_lost(error)


class Protocol:
    """Records; `on_data` may do more."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.chunks: list[bytes] = []
        self.events: list[str] = []
        self.error: Exception | None = None
        self.on_data: Callable[[bytes], None] = lambda data: None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes and data
        self.chunks.append(data)
        self.on_data(data)

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.error = error
        self.events.append("lost")

    @property
    def received(self) -> bytes:
        return b"".join(self.chunks)


class Pair:
    """A `TlsTransport` as the server, its wire and protocol, and a client."""

    def __init__(
        self,
        module: ModuleType,
        authority: Authority,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        *,
        server_context: ssl.SSLContext | None = None,
        client_context: ssl.SSLContext | None = None,
        on_established: Callable[[], object] | None = None,
    ) -> None:
        client_context = client_context or authority.client_context()
        client_context.maximum_version = version
        self.wire, self.protocol = Wire(), Protocol()
        self.client = TlsPeer(client_context)
        self.transport = module.TlsTransport(
            self.wire,
            self.protocol,
            server_context or contexts(authority),
            server_side=True,
            server_hostname=None,
            on_established=on_established,
        )
        assert self.wire.protocol is self.transport

    def shake_hands(self, size: int = 1 << 20) -> Pair:
        """The client's bytes come in pieces of `size`."""
        flight = self.client.feed(b"")
        while flight:
            for at in range(0, len(flight), size):
                self.wire.protocol.data_received(flight[at : at + size])
            flight = self.client.feed(self.wire.take())
        return self

    def to_server(self, data: bytes) -> None:
        self.wire.protocol.data_received(data)

    def to_client(self) -> bytes:
        """What the client reads of all that has been written."""
        self.client.feed(self.wire.take())
        received = bytes(self.client.received)
        self.client.received.clear()
        return received


@cache
def contexts(authority: Authority) -> ssl.SSLContext:
    return authority.server_context()


@pytest.fixture
def pair(module: ModuleType, authority: Authority, version: ssl.TLSVersion) -> Pair:
    """Connected."""
    return Pair(module, authority, version).shake_hands()


# ---- the handshake


def test_after_the_handshake_the_protocol_is_connected(pair: Pair) -> None:
    assert pair.client.is_established
    assert pair.protocol.events == ["made"]
    assert pair.protocol.transport is pair.transport
    pair.transport.write(b"hello")
    assert pair.to_client() == b"hello"


def test_a_protocol_that_is_connected_already_is_told_by_a_callback(
    module: ModuleType, authority: Authority
) -> None:
    told: list[str] = []
    pair = Pair(module, authority, on_established=lambda: told.append("established"))
    assert told == []
    pair.shake_hands()
    assert told == ["established"]
    assert pair.protocol.events == []


def test_a_handshake_byte_by_byte(
    module: ModuleType, authority: Authority, version: ssl.TLSVersion
) -> None:
    pair = Pair(module, authority, version).shake_hands(1)
    pair.to_server(pair.client.say(b"hello"))
    assert pair.protocol.received == b"hello"


def test_what_the_client_says_behind_its_last_handshake_message_is_delivered_after_it(
    module: ModuleType, authority: Authority
) -> None:
    pair = Pair(module, authority)
    pair.to_server(pair.client.feed(b""))
    last = pair.client.feed(pair.wire.take())
    assert pair.client.is_established
    pair.to_server(last + pair.client.say(b"hello"))
    assert pair.protocol.events == ["made"]
    assert pair.protocol.received == b"hello"


def test_nothing_is_written_before_the_handshake_is_done(
    module: ModuleType, authority: Authority
) -> None:
    pair = Pair(module, authority)
    pair.transport.write(b"FATAL")
    assert pair.wire.written == []


def test_handshakes_side_by_side_don_t_mix(
    module: ModuleType, authority: Authority, version: ssl.TLSVersion
) -> None:
    """All connections share OpenSSL's input and output."""
    pairs = [Pair(module, authority, version) for _ in range(5)]
    flights = [pair.client.feed(b"") for pair in pairs]
    chance = random.Random(1)
    while any(flights):
        number = chance.randrange(len(pairs))
        size = chance.randint(1, 100)
        pair, flight = pairs[number], flights[number]
        if flight:
            pair.to_server(flight[:size])
            flights[number] = flight[size:] or pair.client.feed(pair.wire.take())
    for number, pair in enumerate(pairs):
        pair.transport.write(b"%d" % number)
        pair.to_server(pair.client.say(b"from %d" % number))
        assert pair.to_client() == b"%d" % number
        assert pair.protocol.received == b"from %d" % number


def test_a_connection_that_ends_in_its_handshake_leaves_the_others_alone(
    module: ModuleType, authority: Authority, version: ssl.TLSVersion
) -> None:
    first, second, third = (Pair(module, authority, version) for _ in range(3))
    hello = first.client.feed(b"")
    first.to_server(hello)
    answer = second.client.feed(b"")
    second.to_server(answer[:50])
    third.to_server(b"garbage that is none of TLS" * 5)
    first.wire.lose()
    third.wire.lose()
    del first, third
    second.to_server(answer[50:])
    last = second.client.feed(second.wire.take())
    second.to_server(last)
    second.transport.write(b"hello")
    assert second.to_client() == b"hello"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "handshake failed: http request"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "handshake failed: wrong version number"),
        (b"\x16\x03\x01\0\x05\x01\0\0\x01\0", "handshake failed: "),
        (b"\x16\x03\x01\xff\xff" + b"x" * 100, "handshake failed: "),
        (b"\x15\x03\x01\0\x02\x02\x28", "handshake failed: "),
    ],
    ids=["http", "postgresql", "nonsense", "too long", "alert"],
)
def test_a_handshake_that_is_none_fails_with_the_reason(
    module: ModuleType, authority: Authority, said: bytes, reason: str
) -> None:
    pair = Pair(module, authority)
    pair.to_server(said)
    assert pair.wire.end == "close"
    assert pair.protocol.events == []
    pair.wire.lose()
    assert pair.protocol.events == ["lost"]
    assert isinstance(pair.protocol.error, TlsError)
    assert str(pair.protocol.error).startswith(reason)
    assert "_ssl.c" not in str(pair.protocol.error)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "handshake failed: unexpected eof while reading"),
        (ConnectionResetError(104, "Connection reset by peer"),
         "handshake failed: Connection reset by peer"),
    ],
)  # fmt: skip
def test_a_client_that_leaves_in_the_handshake(
    module: ModuleType, authority: Authority, error: Exception | None, reason: str
) -> None:
    pair = Pair(module, authority)
    pair.to_server(pair.client.feed(b"")[:30])
    pair.wire.lose(error)
    assert str(pair.protocol.error) == reason


def test_the_client_is_told_by_an_alert_why_its_handshake_failed(
    module: ModuleType, authority: Authority
) -> None:
    """It has no certificate."""
    context = authority.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    pair = Pair(module, authority, ssl.TLSVersion.TLSv1_2, server_context=context)
    with pytest.raises(ssl.SSLError, match="alert"):
        pair.shake_hands()
    pair.wire.lose()
    assert str(pair.protocol.error) == "handshake failed: peer did not return a certificate"


def test_a_client_that_doesn_t_trust_us_is_quoted(module: ModuleType, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pair = Pair(module, authority, client_context=context)
    pair.to_server(pair.client.feed(b""))
    with pytest.raises(ssl.SSLCertVerificationError):
        pair.client.feed(pair.wire.take())
    pair.to_server(pair.client._outgoing.read())
    pair.wire.lose()
    assert str(pair.protocol.error) == "handshake failed: tlsv1 alert unknown ca"


def test_closing_in_the_handshake_is_no_error(module: ModuleType, authority: Authority) -> None:
    pair = Pair(module, authority)
    pair.to_server(pair.client.feed(b"")[:30])
    pair.transport.close()
    assert pair.wire.end == "close"
    pair.wire.lose()
    assert pair.protocol.error is None


# ---- data


def test_what_is_readable_is_delivered_wherever_the_stream_is_cut(
    module: ModuleType, authority: Authority, version: ssl.TLSVersion
) -> None:
    """After each piece exactly the whole records that it completes have been delivered, also where
    the protocol pauses reading or hands over to another in the middle of it.
    """
    pair = Pair(module, authority, version).shake_hands()
    texts = (b"one" * 20, b"two", b"three" * 100)
    for cut in range(sum(len(text) + 22 for text in texts)):
        records = [pair.client.say(text) for text in texts]
        stream = b"".join(records)
        first, second = Protocol(), Protocol()
        first.on_data = lambda data, second=second: (
            pair.transport.pause_reading(),
            pair.transport.set_protocol(second),
        )
        pair.transport.set_protocol(first)
        whole, ends = [b"", b""], 0
        for text, record in zip(texts, records, strict=True):
            ends += len(record)
            whole[ends > cut] += text
        pair.to_server(stream[:cut])
        assert first.received == whole[0]
        pair.transport.resume_reading()
        pair.to_server(stream[cut:])
        assert (second if whole[0] else first).received == whole[1]
        assert len(first.chunks) <= 1 and len(second.chunks) <= 1


def test_a_chunk_of_many_records_is_one_call(pair: Pair) -> None:
    text = bytes(range(256)) * 1000
    pair.to_server(pair.client.say(text))
    assert pair.protocol.chunks == [text]


def test_one_write_is_one_write_however_long(pair: Pair) -> None:
    for size in (1, 16384, 16385, 1_000_000):
        text = random.Random(size).randbytes(size)
        pair.transport.write(text)
        assert len(pair.wire.written) == 1
        assert pair.to_client() == text


def test_an_empty_write_is_none(pair: Pair) -> None:
    pair.transport.write(b"")
    assert pair.wire.written == []


def test_writing_to_another_connection_while_one_is_read(
    module: ModuleType, authority: Authority, version: ssl.TLSVersion
) -> None:
    one, other = (Pair(module, authority, version).shake_hands() for _ in range(2))

    def pass_on(data: bytes) -> None:
        other.transport.write(data)
        other.to_server(other.client.say(b"back"))
        one.transport.write(b"done")

    one.protocol.on_data = pass_on
    one.to_server(one.client.say(b"x" * 40_000) + one.client.say(b"y"))
    assert other.to_client() == b"x" * 40_000 + b"y"
    assert other.protocol.received == b"back"
    assert one.to_client() == b"done"


def test_pausing_goes_through_both_ways(pair: Pair) -> None:
    pair.wire.protocol.pause_writing()
    pair.wire.protocol.resume_writing()
    assert pair.protocol.events == ["made", "pause", "resume"]
    pair.wire.unsent_len = 5
    assert pair.transport.get_write_buffer_size() == 5
    pair.transport.pause_reading()
    assert pair.wire.is_paused and not pair.transport.is_reading()
    pair.transport.resume_reading()
    assert not pair.wire.is_paused and pair.transport.is_reading()


def test_what_is_known_of_the_connection(pair: Pair) -> None:
    assert pair.transport.get_extra_info("ssl_object").version().startswith("TLSv1.")
    assert pair.transport.get_extra_info("cipher")[0]
    assert not pair.transport.get_extra_info("peercert")
    assert pair.transport.get_extra_info("socket") == "the wire's socket"
    assert pair.transport.get_protocol() is pair.protocol


# ---- the end


def test_close_says_close_notify(pair: Pair) -> None:
    pair.transport.write(b"bye")
    pair.transport.close()
    assert pair.wire.end == "close" and pair.transport.is_closing()
    assert pair.to_client() == b"bye"
    assert pair.client.is_closed
    pair.transport.write(b"more")
    pair.transport.close()
    assert pair.wire.written == []


def test_abort_says_nothing(pair: Pair) -> None:
    pair.transport.abort()
    assert pair.wire.end == "abort" and pair.wire.written == []


def test_a_client_that_closes_is_answered_and_has_ended_well(pair: Pair) -> None:
    pair.to_server(pair.client.say(b"last words") + pair.client.close() + b"garbage")
    assert pair.protocol.received == b"last words"
    assert pair.wire.end == "close"
    pair.to_client()
    assert pair.client.is_closed
    pair.wire.lose()
    assert pair.protocol.error is None


def test_a_client_that_closes_and_reads_nothing_is_not_waited_for(pair: Pair) -> None:
    pair.wire.unsent_len = 100_000
    pair.to_server(pair.client.close())
    assert pair.wire.end == "abort"


def test_the_end_without_close_notify_is_a_clean_one(pair: Pair) -> None:
    pair.to_server(pair.client.say(b"half of this")[:20])
    pair.wire.lose()
    assert pair.protocol.chunks == []
    assert pair.protocol.error is None


def test_a_record_that_was_tampered_with_ends_the_connection(pair: Pair) -> None:
    good, bad = pair.client.say(b"good"), bytearray(pair.client.say(b"bad"))
    bad[-1] ^= 1
    pair.to_server(good + bad + pair.client.say(b"never read"))
    assert pair.protocol.received == b"good"
    assert pair.wire.end == "close"
    pair.wire.lose()
    assert isinstance(pair.protocol.error, TlsError)
    assert str(pair.protocol.error).startswith("read failed: ")


def test_plain_bytes_after_the_handshake_end_the_connection(pair: Pair) -> None:
    pair.to_server(b"Q\0\0\0\x0dselect 1\0")
    pair.wire.lose()
    assert str(pair.protocol.error) == "read failed: wrong version number"


def test_a_broken_connection_disturbs_no_other(module: ModuleType, authority: Authority) -> None:
    one, other = (Pair(module, authority).shake_hands() for _ in range(2))
    one.to_server(b"garbage" * 1000)
    other.transport.write(b"hello")
    other.to_server(other.client.say(b"hello"))
    assert other.to_client() == other.protocol.received == b"hello"


class Failing:
    """A TLS connection that fails, at a step, otherwise than TLS does; with bytes in both BIOs."""

    def __init__(self, step: str) -> None:
        self._step = step

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *_: object) -> Any:
        self.incoming, self.outgoing = incoming, outgoing
        return self

    def do_handshake(self) -> None:
        self._at("handshake")

    def read(self, size: int) -> bytes:
        self._at("read")
        return self.incoming.read(size)

    def write(self, data: bytes) -> int:
        self._at("write")
        return len(data)

    def _at(self, step: str) -> None:
        if step == self._step:
            self.outgoing.write(b"a record")
            raise MemoryError


@pytest.mark.parametrize("step", ["handshake", "read", "write"])
def test_whatever_fails_nothing_of_it_reaches_the_next_connection(
    module: ModuleType, step: str
) -> None:
    wire, context = Wire(), Failing(step)
    tls: Any = module.TlsTransport(
        wire,
        Protocol(),
        context,
        server_side=True,
        server_hostname=None,
        on_established=None,
    )
    with pytest.raises(MemoryError):
        tls.data_received(b"hello")
        tls.write(b"answer")
    assert (context.incoming.pending, context.outgoing.pending) == (0, 0)
    assert (wire.take(), wire.end) == (b"", "abort" if step == "write" else "")


def test_nothing_comes_after_the_protocol_has_closed(pair: Pair) -> None:
    pair.protocol.on_data = lambda data: pair.transport.close()
    pair.to_server(pair.client.say(b"one"))
    pair.to_server(pair.client.say(b"two"))
    assert pair.protocol.received == b"one"


def test_the_methods_of_a_transport_that_is_gone_do_nothing(pair: Pair) -> None:
    transport = pair.transport
    pair.wire.lose()
    transport.write(b"x")
    transport.pause_reading()
    transport.resume_reading()
    transport.close()
    transport.abort()
    assert transport.is_closing() and not transport.is_reading()
    assert transport.get_write_buffer_size() == 0
    assert transport.get_extra_info("socket", 1) == 1


class Asking:
    """A context whose connections make OpenSSL answer each chunk with 1000 bytes of its own."""

    def wrap_bio(self, incoming: Any, outgoing: Any, *rest: object) -> Any:
        self.incoming, self.outgoing = incoming, outgoing
        return self

    def do_handshake(self) -> None:
        """Done at once."""

    def read(self, size: int) -> bytes:
        self.incoming.read()
        self.outgoing.write(b"a" * 1000)
        raise ssl.SSLWantReadError


def test_a_peer_that_asks_for_answers_and_reads_none_is_cut_off(module: ModuleType) -> None:
    wire, protocol = Wire(), Protocol()
    context: Any = Asking()
    transport = module.TlsTransport(
        wire, protocol, context, server_side=True, server_hostname=None, on_established=None
    )
    for _ in range(1000):
        transport.data_received(b"a KeyUpdate")  # one that reads may ask as often as it likes
    wire.unsent_len = 1
    wire.written.clear()
    while not wire.end:
        transport.data_received(b"a KeyUpdate")
    assert sum(map(len, wire.written)) <= 65536
    assert wire.end == "abort"
    wire.lose()
    assert "reads none" in str(protocol.error)


# ---- on sockets

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[Loop, uvloop.new_event_loop], ids=["own loop", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    failures: list[Any] = []
    with asyncio.Runner(loop_factory=request.param) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 30))
    assert failures == []


class Source(Recorder):
    """Writes `data` as fast as it may, and closes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.left = memoryview(data)
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
            self.transport.write(bytes(self.left[:65536]))
            self.left = self.left[65536:]
            self.largest = max(self.largest, self.transport.get_write_buffer_size())
        if not self.left:
            self.transport.close()


async def open_tls(
    module: ModuleType, authority: Authority, protocol: Any
) -> tuple[Any, socket.socket]:
    """The TLS server on a socket of the running loop, and the socket of its client."""
    ours, theirs = connected("tcp")
    below = Recorder()
    await open_transport(asyncio.get_running_loop(), below, ours)
    transport = module.TlsTransport(
        below.transport,
        protocol,
        contexts(authority),
        server_side=True,
        server_hostname=None,
        on_established=None,
    )
    below.transport = None
    return transport, theirs


async def shake_hands(client: TlsPeer, sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, client.feed(b""))
    while not client.is_established:
        flight = client.feed(await loop.sock_recv(sock, 65536))
        await loop.sock_sendall(sock, flight)


def test_a_slow_reader_gets_everything_and_holds_its_writer_back(
    run: Run, module: ModuleType, authority: Authority
) -> None:
    async def case() -> None:
        data = random.Random(3).randbytes(4_000_000)
        source = Source(data)
        _, sock = await open_tls(module, authority, source)
        client = TlsPeer(authority.client_context())
        await shake_hands(client, sock)
        loop, sizes = asyncio.get_running_loop(), random.Random(2)
        while chunk := await loop.sock_recv(sock, sizes.choice((100, 5000, 70_000))):
            client.feed(chunk)
            if sizes.random() < 0.1:
                await asyncio.sleep(0)
        assert bytes(client.received) == data and client.is_closed
        await source.lost.wait()
        assert source.error is None
        assert "pause" in source.events and source.largest <= 65536 * 2 + 1000
        sock.close()

    run(case())


@pytest.mark.parametrize("end", ["close", "abort", "eof", "close_notify", "garbage", "handshake"])
def test_an_ended_connection_leaves_nothing_to_the_garbage_collector(
    run: Run, module: ModuleType, authority: Authority, end: str
) -> None:
    async def case() -> list[weakref.ref[Any]]:
        recorder = Recorder()
        transport, sock = await open_tls(module, authority, recorder)
        client = TlsPeer(authority.client_context())
        loop = asyncio.get_running_loop()
        if end == "handshake":
            await loop.sock_sendall(sock, b"\x16\x03\x01\xff\xff" + b"x" * 1000)
        else:
            await shake_hands(client, sock)
            await loop.sock_sendall(sock, client.say(b"hello"))
            await recorder.until_received(5)
        if end == "garbage":
            await loop.sock_sendall(sock, b"garbage")
        elif end == "close_notify":
            await loop.sock_sendall(sock, client.close())
        elif end == "eof":
            sock.shutdown(socket.SHUT_WR)
        elif end in ("close", "abort"):
            getattr(transport, end)()
        await recorder.lost.wait()
        sock.close()
        recorder.error = None
        return [weakref.ref(recorder), weakref.ref(transport)]

    gc.collect()
    gc.disable()
    try:
        dead = run(case())
        run(asyncio.sleep(0))
        assert [ref() for ref in dead] == [None, None]
    finally:
        gc.enable()
