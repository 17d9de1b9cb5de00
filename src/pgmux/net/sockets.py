"""Sockets: their options, their addresses, and what logs and SHOW call these.

An address is either side of a connection, or a place to connect to or listen on. Options are
PgBouncer's tcp_* settings; what a listening socket has, Linux gives to every socket that it
accepts. Source: PgBouncer 1.25.2 as it runs. Errors: OSError.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pgmux.config.model import Settings

SockAddr = tuple[str, int] | tuple[str, int, int, int] | str | bytes

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_NOBODY = -1


class Address(NamedTuple):  # made for each log line, and faster than a frozen dataclass
    """One side of a connection. Of a Unix socket `port` only names it, as the settings do.

    `pid` and `uid` are the process's at the other end of a Unix socket; 0 and -1 where unknown.
    `sockaddr` is what `connect` takes.
    """

    family: int
    host: str
    port: int
    sockaddr: SockAddr
    pid: int = 0
    uid: int = _NOBODY

    @property
    def is_unix(self) -> bool:
        return self.family == socket.AF_UNIX

    def __str__(self) -> str:
        """As in the log: `127.0.0.1:6432`, `[::1]:6432`, `unix(4711):6432`, `unix:6432`."""
        if self.is_unix:
            return f"unix({self.pid}):{self.port}" if self.pid else f"unix:{self.port}"
        host = f"[{self.host}]" if self.family == socket.AF_INET6 else self.host
        return f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """Where it is, also for a Unix socket: `127.0.0.1:6432`, `unix:/tmp/.s.PGSQL.6432`."""
        if not self.is_unix:
            return str(self)
        path = os.fsdecode(self.sockaddr) if isinstance(self.sockaddr, str | bytes) else ""
        return "unix:" + ("@" + path[1:] if path.startswith("\0") else path)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Both sides of a connection."""

    peer: Address
    local: Address


class AcceptedAddresses:
    """Both sides of an accepted connection, each found out when somebody asks, as most connections
    come and go without; as a `Peer` of a login it is the other side.

    `transport` knows its "socket" and its "peername"; `port` is what a Unix socket is known by.
    """

    __slots__ = ("_peer", "_port", "_transport")

    def __init__(self, transport: TransportLike, port: int) -> None:
        self._transport = transport
        self._port = port
        self._peer: Address | None = None

    @property
    def is_unix(self) -> bool:
        peername = self._transport.get_extra_info("peername")
        if peername is not None:
            return not isinstance(peername, tuple)
        # of another loop, and gone again already
        sock: SocketLike = self._transport.get_extra_info("socket")
        return sock.family == socket.AF_UNIX

    @property
    def peer(self) -> Address:
        """The other side; of a Unix socket as it was when it was asked for first."""
        sockaddr = self._transport.get_extra_info("peername")
        if isinstance(sockaddr, tuple):
            return _tcp_address(sockaddr)
        if not self.is_unix:
            return _gone()
        if self._peer is None:
            self._peer = self._read().peer
        return self._peer

    @property
    def local(self) -> Address:
        """Our side; of a connection that has ended the host is "unknown"."""
        return self._read().local

    def _read(self) -> Addresses:
        sock = self._transport.get_extra_info("socket")
        if sock is None:
            return Addresses(_gone(), _gone())
        return read_addresses(sock, self._port)

    @property
    def host(self) -> str:
        return self.peer.host

    @property
    def uid(self) -> int:
        return self.peer.uid

    def __str__(self) -> str:
        return str(self.peer)


class TransportLike(Protocol):
    """A transport, as far as addresses are concerned."""

    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class SocketLike(Protocol):
    """A socket, or what `get_extra_info("socket")` of a transport returns."""

    @property
    def family(self) -> int: ...

    def getpeername(self) -> SockAddr: ...

    def getsockname(self) -> SockAddr: ...

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


def unix_address(directory: str, port: int) -> Address:
    """The Unix socket of `port` in `directory`; "@…" is a name in the abstract namespace."""
    path = f"{directory}/.s.PGSQL.{port}"
    if path.startswith("@"):
        path = "\0" + path[1:]
    return Address(socket.AF_UNIX, "unix", port, path)


def numeric_addresses(host: str | None, port: int) -> list[Address]:
    """The address that `host` is a literal of; None is all local ones. Asks nobody.

    Raises: OSError where `host` is a name; UnicodeError where it can't be one.
    """
    flags = socket.AI_NUMERICHOST | (socket.AI_PASSIVE if host is None else 0)
    return tcp_addresses(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))


def literal_addresses(host: str, port: int) -> list[Address] | None:
    """The addresses of what `host=` says, a directory or a literal; None where it is a name."""
    if host[:1] in ("/", "@"):
        return [unix_address(host, port)]
    try:
        return numeric_addresses(host, port)
    except (socket.gaierror, UnicodeError):
        return None


def at_port(found: Sequence[Address], port: int) -> list[Address]:
    """A resolver's addresses, which have no port, with this one."""
    return [numeric_addresses(each.host, port)[0] for each in found]


def tcp_addresses(found: Sequence[tuple[int, int, int, str, Any]]) -> list[Address]:
    """What getaddrinfo has found, in its order."""
    return [_tcp_address(sockaddr) for _, _, _, _, sockaddr in found]


def read_addresses(sock: SocketLike, port: int) -> Addresses:
    """Both sides of a connected socket; `port` is what a Unix socket is known by.

    A side that is gone already has the host "unknown".
    """
    if sock.family == socket.AF_UNIX:
        return _unix_addresses(sock, port)
    return Addresses(_side(sock.family, sock.getpeername), _side(sock.family, sock.getsockname))


def os_user_name(uid: int) -> str | None:
    """The name of the operating system's user; None where nobody has that uid."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def tune(sock: socket.socket, settings: Settings) -> None:
    """Apply the tcp_* settings; a Unix socket has none. Raises: OSError."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, settings.tcp_keepalive)
    if settings.tcp_keepalive:
        for option in ("tcp_keepidle", "tcp_keepintvl"):
            _set_tcp(sock, option.upper(), getattr(settings, option))
        # PgBouncer starts with a negative one, alone of these three.
        _set_tcp(sock, "TCP_KEEPCNT", max(0, settings.tcp_keepcnt))
    _set_tcp(sock, "TCP_USER_TIMEOUT", settings.tcp_user_timeout)
    if settings.tcp_socket_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.tcp_socket_buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.tcp_socket_buffer)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)


def tune_accept(sock: socket.socket, settings: Settings) -> None:
    """Let a listening socket hand over connections only once they have sent something, or not.

    Raises: OSError. Where the system knows no such thing, nothing is done.
    """
    option = getattr(socket, "TCP_DEFER_ACCEPT", None)
    if sock.family != socket.AF_UNIX and option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, settings.tcp_defer_accept)


def _set_tcp(sock: socket.socket, name: str, value: int) -> None:
    """Set an option that 0 leaves as the system has it, and that not every system has."""
    if not value:
        return
    option = getattr(socket, name, None)
    if option is None:
        raise OSError(errno.EINVAL, f"{name.lower()} is not supported on this platform")
    sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _unix_addresses(sock: SocketLike, port: int) -> Addresses:
    pid, uid = _peer_credentials(sock)
    local = Address(socket.AF_UNIX, "unix", port, "", os.getpid(), os.geteuid())
    try:
        sockaddr = sock.getpeername()
    except OSError:
        sockaddr = ""
    return Addresses(Address(socket.AF_UNIX, "unix", port, sockaddr, pid, uid), local)


def _peer_credentials(sock: SocketLike) -> tuple[int, int]:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0, _NOBODY
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return pid, uid


def _side(family: int, ask: Callable[[], SockAddr]) -> Address:
    try:
        return _tcp_address(ask())
    except OSError:
        return _gone(family)


def _gone(family: int = socket.AF_INET) -> Address:
    return Address(family, "unknown", 0, ("", 0))


def _tcp_address(sockaddr: SockAddr) -> Address:
    assert isinstance(sockaddr, tuple)
    family = socket.AF_INET if len(sockaddr) == 2 else socket.AF_INET6
    return Address(family, sockaddr[0], sockaddr[1], sockaddr)
