"""TLS clients that stall, break off, send garbage, ask for another handshake or never read: each
ends alone, in time and at bounded cost, with its reason in the log.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pgmux.daemon.log.floods import BURST
from pgmux.wire import build
from tests.e2e.hostile.conftest import Bystander
from tests.fixtures.certificates import Authority
from tests.fixtures.ends import memory_bounded
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient
from tests.fixtures.tls_peer import TlsPeer
from tests.fixtures.tools import require_tool
from tests.fixtures.waiting import wait_until

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def impatient(module_pooler: MakePooler, client_tls: dict[str, object]) -> Pooler:
    return module_pooler(settings=client_tls | {"client_login_timeout": 1, "max_client_conn": 1000})


@pytest.fixture
def others(impatient: Pooler) -> Iterator[None]:
    """Ordinary clients, with TLS, that must not notice anything."""
    with Bystander(impatient.dsn(sslmode="require")).watching():
        yield


def hello(authority: Authority) -> tuple[TlsPeer, bytes]:
    peer = TlsPeer(authority.client_context())
    return peer, peer.feed(b"")


def ends(sock: socket.socket) -> bool:
    """The pooler closes it."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


def stall(client: RawClient, authority: Authority, where: str) -> None:
    """Asks for TLS, and says no more from some point of the handshake on."""
    client.send(build.build_ssl_request())
    assert client.socket.recv(1) == b"S"
    peer, flight = hello(authority)
    if where == "in the hello":
        client.send(flight[:100])
    elif where != "after S":
        client.send(flight)
        while not peer.is_established:
            last = peer.feed(client.socket.recv(65536))
        if where != "after the hello":
            client.send(last[:-5] if where == "in the last message" else last)


def test_whoever_stops_in_the_handshake_is_closed_in_time(
    impatient: Pooler, authority: Authority, others: None
) -> None:
    before = len(impatient.log())
    stalls = ("after S", "in the hello", "after the hello", "in the last message", "after it")
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(impatient)) for _ in stalls]
        for client, where in zip(clients, stalls, strict=True):
            stall(client, authority, where)
        for client in clients:
            assert ends(client.socket)
    reason = "closing because: client_login_timeout"
    wait_until(lambda: impatient.log()[before:].count(reason) == len(stalls))


def test_hundreds_that_stop_in_the_handshake_cost_little(
    impatient: Pooler, authority: Authority, others: None
) -> None:
    with ExitStack() as stack, memory_bounded(impatient.pid, 40 * MEGABYTE):
        clients = []
        for number in range(300):
            flight = hello(authority)[1]
            client = stack.enter_context(RawClient(impatient))
            clients.append(client)
            client.send(build.build_ssl_request())
            assert client.socket.recv(1) == b"S"
            client.send(flight[: len(flight) - number % 2])
        for client in clients:
            assert ends(client.socket)


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "postgresql": build.build_startup_message({"user": "postgres"}),
    "a record of nonsense": b"\x16\x03\x01\0\x05\x01\0\0\x01\0",
    "a record that is too long": b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
    "a hello without end": (b"\x16\x03\x01\x40\0\x01\xff\xff\xff" + b"x" * 16380) * 4,
    "records of nothing": b"\x16\x03\x01\0\0" * 20_000,
    "an alert": b"\x15\x03\x01\0\x02\x02\x28",
}


@pytest.mark.parametrize(
    ("said", "is_direct"),
    [
        pytest.param(said, is_direct, id=f"{name}{', direct' if is_direct else ''}")
        for name, said in GARBAGE.items()
        for is_direct in (False, True)
        if said[0] == 0x16 or not is_direct
    ],
)
def test_garbage_in_place_of_a_handshake(
    impatient: Pooler, others: None, said: bytes, is_direct: bool
) -> None:
    before = len(impatient.log())
    with RawClient(impatient) as client:
        if not is_direct:
            client.send(build.build_ssl_request())
            assert client.socket.recv(1) == b"S"
        with contextlib.suppress(OSError):
            client.send(said)
        assert ends(client.socket)
    wait_until(lambda: "TLS handshake error: handshake failed: " in impatient.log()[before:])


def test_a_connection_reset_in_the_handshake(
    impatient: Pooler, authority: Authority, others: None
) -> None:
    before = len(impatient.log())
    client = RawClient(impatient)
    client.send(hello(authority)[1])
    assert client.socket.recv(1)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    text = "TLS handshake error: handshake failed: Connection reset by peer"
    wait_until(lambda: text in impatient.log()[before:])


def test_handshake_errors_don_t_flood_the_log(impatient: Pooler, others: None) -> None:
    before = len(impatient.log())
    for _ in range(BURST * 3):
        with RawClient(impatient) as client:
            client.send(b"\x16\x03\x01\0\x05\x01\0\0\x01\0")
            assert ends(client.socket)
    wait_until(lambda: "TLS handshake error" in impatient.log()[before:])
    assert impatient.log()[before:].count("TLS handshake error: ") < BURST * 2


# ---- after the login


def tls_client(pooler: Pooler, authority: Authority) -> RawClient:
    return RawClient(pooler).start_tls(authority.client_context()).start()


@pytest.mark.parametrize("after", [b"", b"\x17\x03\x03\x00\x40" + b"x" * 20], ids=["cut", "half"])
def test_a_client_that_is_cut_off_is_an_unexpected_eof(
    impatient: Pooler, authority: Authority, others: None, after: bytes
) -> None:
    before = len(impatient.log())
    with tls_client(impatient, authority) as client:
        plain = socket.socket(fileno=client.socket.detach())
        plain.sendall(after)
        plain.close()
    wait_until(lambda: "closing because: client unexpected eof" in impatient.log()[before:])
    assert "TLS error" not in impatient.log()[before:]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (build.build_query("select 1"), "read failed: wrong version number"),
        (b"\x17\x03\x03\x00\x40" + b"x" * 64, "read failed: decryption failed or bad record mac"),
    ],
    ids=["plain", "forged"],
)
def test_what_isn_t_of_this_connection_s_tls_ends_it(
    impatient: Pooler, authority: Authority, others: None, said: bytes, reason: str
) -> None:
    before = len(impatient.log())
    with tls_client(impatient, authority) as client:
        plain = socket.socket(fileno=client.socket.detach())
        plain.sendall(said)
        plain.settimeout(20)
        assert ends(plain)
        plain.close()
    wait_until(lambda: f"TLS error: {reason}" in impatient.log()[before:])
    wait_until(lambda: "closing because: client unexpected eof" in impatient.log()[before:])


@contextlib.contextmanager
def s_client(pooler: Pooler, version: str) -> Iterator[subprocess.Popen[bytes]]:
    """openssl's client: does what a line of one letter says, and prints what it reads."""
    where = f"{pooler.host}:{pooler.port}"
    command = [str(require_tool("openssl")), "s_client", version, "-starttls", "postgres"]
    with subprocess.Popen(
        [*command, "-connect", where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as client:
        yield client
        client.kill()


def say(client: subprocess.Popen[bytes], data: bytes) -> None:
    assert client.stdin is not None
    client.stdin.write(data)
    client.stdin.flush()


def read_until(client: subprocess.Popen[bytes], text: bytes) -> bytes:
    assert client.stdout is not None
    said = b""
    while text not in said:
        data = os.read(client.stdout.fileno(), 65536)
        assert data, said
        said += data
    return said


def test_a_client_that_asks_for_another_handshake_gets_none(
    impatient: Pooler, others: None
) -> None:
    with s_client(impatient, "-tls1_2") as client:
        read_until(client, b"Verify return code")
        say(client, b"R\n")
        read_until(client, b"no renegotiation")


def test_a_client_may_change_its_keys(impatient: Pooler, others: None) -> None:
    with s_client(impatient, "-tls1_3") as client:
        read_until(client, b"Verify return code")
        say(client, build.build_startup_message({"user": "postgres", "database": "postgres"}))
        read_until(client, b"server_version")
        for number in range(3):
            say(client, b"K\n")
            read_until(client, b"KEYUPDATE")
            # Sync in front: a Q at the beginning is openssl's own command.
            say(client, build.build_sync() + build.build_query(f"select 'answer ' || {number}"))
            read_until(client, b"answer %d" % number)


def test_a_client_that_does_not_read_a_large_answer_holds_it_back_at_the_server(
    impatient: Pooler, authority: Authority, others: None
) -> None:
    with memory_bounded(impatient.pid, 20 * MEGABYTE), tls_client(impatient, authority) as client:
        client.send(build.build_query("select repeat('x', 100000000)"))
        assert client.socket.recv(1) == b"T"
        wait_until(lambda: any(row["send_avail"] > 0 for row in impatient.console("SHOW SOCKETS")))
        size = 1
        while data := client.socket.recv(MEGABYTE):
            size += len(data)
            if size > 100_000_000 and data.endswith(b"Z\0\0\0\x05I"):
                break
        assert size > 100_000_000
        assert isinstance(client.socket, ssl.SSLSocket)
