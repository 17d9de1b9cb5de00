"""Socket options as the kernel has them then, and the texts of addresses."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgmux.config.model import Settings
from pgmux.net.sockets import (
    AcceptedAddresses,
    Address,
    numeric_addresses,
    read_addresses,
    tune,
    tune_accept,
    unix_address,
)

TCP = socket.IPPROTO_TCP


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


@contextmanager
def connected(family: int, host: str) -> Iterator[tuple[socket.socket, socket.socket, Any]]:
    """A client, its accepted connection, and its address as accept told it."""
    with socket.create_server((host, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        accepted, peername = server.accept()
        with client, accepted:
            yield client, accepted, peername


def test_tcp_sockets_send_at_once_and_are_kept_alive(tcp: socket.socket) -> None:
    tune(tcp, Settings())
    assert tcp.getsockopt(TCP, socket.TCP_NODELAY)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_keepalive_settings_reach_the_kernel(tcp: socket.socket) -> None:
    tune(tcp, Settings(tcp_keepidle=11, tcp_keepintvl=12, tcp_keepcnt=13, tcp_user_timeout=14000))
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [tcp.getsockopt(TCP, option) for option in options] == [11, 12, 13]
    assert tcp.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 14000


def test_zero_leaves_an_option_as_the_system_has_it(tcp: socket.socket) -> None:
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    before = [tcp.getsockopt(TCP, option) for option in options]
    tune(tcp, Settings())
    assert [tcp.getsockopt(TCP, option) for option in options] == before


def test_keepalive_can_be_turned_off(tcp: socket.socket) -> None:
    tune(tcp, Settings())
    tune(tcp, Settings(tcp_keepalive=False, tcp_keepidle=11))
    assert not tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_the_kernels_buffers_get_their_size(tcp: socket.socket) -> None:
    tune(tcp, Settings(tcp_socket_buffer=20_000))
    # Linux doubles it, for its own bookkeeping.
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) in (20_000, 40_000)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (20_000, 40_000)


def test_a_unix_socket_has_no_tcp_options() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        tune(sock, Settings(tcp_user_timeout=1000))
        tune_accept(sock, Settings())
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_option_that_the_kernel_refuses_is_an_os_error(tcp: socket.socket) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        tune(tcp, Settings(tcp_keepcnt=100_000))


def test_accept_waits_for_data_where_it_is_told_to(tcp: socket.socket) -> None:
    tcp.bind(("127.0.0.1", 0))
    tcp.listen()
    tune_accept(tcp, Settings())
    assert tcp.getsockopt(TCP, socket.TCP_DEFER_ACCEPT)
    tune_accept(tcp, Settings(tcp_defer_accept=False))
    assert not tcp.getsockopt(TCP, socket.TCP_DEFER_ACCEPT)


# Addresses


@pytest.mark.parametrize(
    ("host", "text", "family"),
    [
        ("127.0.0.1", "127.0.0.1:6432", socket.AF_INET),
        ("::1", "[::1]:6432", socket.AF_INET6),
    ],
)
def test_a_literal_is_an_address(host: str, text: str, family: int) -> None:
    (address,) = numeric_addresses(host, 6432)
    assert (str(address), address.place, address.family) == (text, text, family)
    assert (address.host, address.port, address.is_unix) == (host, 6432, False)


def test_a_name_is_no_literal() -> None:
    with pytest.raises(socket.gaierror):
        numeric_addresses("localhost", 6432)


def test_no_host_is_every_local_address() -> None:
    assert {"0.0.0.0"} <= {each.host for each in numeric_addresses(None, 6432)} <= {"0.0.0.0", "::"}


@pytest.mark.parametrize(
    ("directory", "place", "sockaddr"),
    [
        ("/run/pg", "unix:/run/pg/.s.PGSQL.6432", "/run/pg/.s.PGSQL.6432"),
        ("@pgmux", "unix:@pgmux/.s.PGSQL.6432", "\0pgmux/.s.PGSQL.6432"),
    ],
)
def test_a_unix_socket_is_named_by_its_port(directory: str, place: str, sockaddr: str) -> None:
    address = unix_address(directory, 6432)
    assert (address.place, address.sockaddr) == (place, sockaddr)
    assert (str(address), address.host, address.is_unix) == ("unix:6432", "unix", True)
    assert str(address._replace(pid=4711)) == "unix(4711):6432"


def test_an_abstract_name_as_the_kernel_tells_it_has_the_same_place() -> None:
    address = Address(socket.AF_UNIX, "unix", 1, b"\0pgmux/.s.PGSQL.1")
    assert address.place == "unix:@pgmux/.s.PGSQL.1"


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_both_sides_of_a_tcp_connection_are_read(family: int, host: str) -> None:
    with connected(family, host) as (client, accepted, _):
        ours = read_addresses(accepted, 6432)
        theirs = read_addresses(client, 5432)
    assert (ours.peer, ours.local) == (theirs.local, theirs.peer)
    assert ours.local.host == host
    assert ours.peer.uid == -1


def test_a_unix_peer_is_known_by_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        accepted, _ = server.accept()
        with accepted:
            ours, theirs = read_addresses(accepted, 6432), read_addresses(client, 5432)
    assert (ours.peer.pid, ours.peer.uid) == (os.getpid(), os.geteuid())
    assert (str(ours.peer), ours.peer.host) == (f"unix({os.getpid()}):6432", "unix")
    assert theirs.peer.sockaddr == path


def test_a_peer_that_has_gone_is_unknown(tcp: socket.socket) -> None:
    assert read_addresses(tcp, 6432).peer.host == "unknown"


# Addresses of accepted connections, read when somebody asks


class Accepted:
    """A transport as far as its addresses are concerned; it counts the questions."""

    def __init__(self, sock: socket.socket | None, peername: Any) -> None:
        self.sock = sock
        self.peername = peername
        self.asked: list[str] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        self.asked.append(name)
        found = {"socket": self.sock, "peername": self.peername}[name]
        return default if found is None else found


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_what_is_read_later_is_the_same(family: int, host: str) -> None:
    with connected(family, host) as (_, accepted, peername):
        transport = Accepted(accepted, peername)
        later = AcceptedAddresses(transport, 6432)
        assert transport.asked == []
        at_once = read_addresses(accepted, 6432)
        assert (later.peer, later.local) == (at_once.peer, at_once.local)
        assert (later.host, later.is_unix, later.uid) == (host, False, -1)
        assert str(later) == str(at_once.peer)


def test_the_address_of_who_has_gone_is_still_known() -> None:
    later = AcceptedAddresses(Accepted(None, ("10.0.0.9", 4711)), 6432)
    assert str(later.peer) == "10.0.0.9:4711"
    assert later.local.host == "unknown"


def test_a_unix_peer_is_asked_about_once_and_remembered(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        accepted, peername = server.accept()
        transport = Accepted(accepted, peername)
        with accepted:
            later = AcceptedAddresses(transport, 6432)
            assert later.is_unix and transport.asked == ["peername"]
            assert later.uid == os.geteuid()
    transport.sock = None
    assert str(later) == str(later.peer) == f"unix({os.getpid()}):6432"


@pytest.mark.parametrize(
    ("family", "text"), [(socket.AF_INET, "unknown:0"), (socket.AF_UNIX, "unix:6432")]
)
def test_who_was_gone_when_it_was_accepted_has_no_address(
    family: socket.AddressFamily, text: str
) -> None:
    with socket.socket(family) as sock:
        later = AcceptedAddresses(Accepted(sock, None), 6432)
        assert later.is_unix is (family == socket.AF_UNIX)
        assert str(later.peer) == text
