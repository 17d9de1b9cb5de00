"""The listening sockets: TCP and Unix, as PgBouncer opens them, or as a service manager gives them.

Sockets are made here and given to the loop, which never sees a host name. One address that can't be
had is a warning, all of them are an error, and so is the Unix socket: peers find each other by it.
A service manager's sockets stay its own: connections wait in them for the next process.

Source: PgBouncer 1.25.2 as it runs, its texts. Errors: `ListenError`, the FATAL line's text.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import os
import socket
from collections.abc import Callable, Sequence

from pgmux.config.model import Settings
from pgmux.errors import PgmuxError
from pgmux.net.drain import DRAIN, kernel_migrates, take_no_handshake, wait_for_no_bytes
from pgmux.net.loop import Server, open_server
from pgmux.net.sockets import (
    Address,
    numeric_addresses,
    tcp_addresses,
    tune,
    tune_accept,
    unix_address,
)
from pgmux.session.log import Log

_MAY_RESET = (
    "connects under way may be reset: this user may not set socket filters;"
    " sysctl net.ipv4.tcp_migrate_req=1 prevents it"
)

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class ListenError(PgmuxError):
    """The pooler can't listen where it is told to."""


class Listener:
    """Listens from `start` to `close`; every accepted connection gets a protocol of its own."""

    __slots__ = (
        "_drain",
        "_factory",
        "_given",
        "_log",
        "_servers",
        "_settings",
        "_sockets",
        "_unix_file",
    )

    def __init__(
        self,
        settings: Settings,
        log: Log,
        factory: ProtocolFactory,
        given: Sequence[socket.socket] = (),
    ) -> None:
        """`factory` is called for each connection; `given` are a service manager's sockets."""
        self._given = given
        self._drain: asyncio.TimerHandle | None = None
        self._settings = settings
        self._log = log
        self._factory = factory
        self._sockets: list[socket.socket] = []
        self._servers: list[tuple[socket.socket, Server]] = []
        self._unix_file: tuple[str, os.stat_result] | None = None

    async def start(self) -> None:
        """Listen everywhere. Raises: ListenError; nothing is left open then."""
        try:
            if self._given:
                self._take_given()
            else:
                self._open_tcp()
                if self._settings.unix_socket_dir:
                    self._open_unix()
            if not self._sockets:
                raise ListenError("nowhere to listen on")
            for sock in self._sockets:
                self._servers.append((sock, await self._serve(sock)))
        except BaseException:
            self.close()
            raise

    def tune(self, settings: Settings) -> None:
        """Take over the tcp_* settings of a new configuration, for connections from now on."""
        for sock in self._sockets:
            try:
                tune(sock, settings)
                tune_accept(sock, settings)
            except OSError as error:
                self._log.warning(f"cannot set socket options: {error.strerror}")

    @property
    def is_listening(self) -> bool:
        """Whether new connections are accepted anywhere."""
        return bool(self._servers)

    @property
    def is_draining(self) -> bool:
        """Whether connections may still come over TCP though `close_tcp` has been called."""
        return self._drain is not None

    def close_tcp(self) -> None:
        """Accept no more over TCP than what has begun; the Unix socket stays, for the console.

        Where other processes listen on the port, that takes a moment: see `net/drain.py`.
        """
        tcp = [sock for sock in self._sockets if sock.family != socket.AF_UNIX]
        if not (tcp and self._settings.so_reuseport) or self._given or kernel_migrates():
            self._close_tcp()
            return
        if not all(map(take_no_handshake, tcp)):
            self._log.warning(_MAY_RESET)
            for sock in tcp:
                wait_for_no_bytes(sock)
        loop = asyncio.get_running_loop()
        self._drain = loop.call_later(DRAIN, self._close_tcp)

    def _close_tcp(self) -> None:
        self._drain = None
        self._close(lambda sock: sock.family != socket.AF_UNIX)

    def close(self) -> None:
        """Accept no more; the Unix socket's file goes, unless another process has made it anew."""
        if self._drain is not None:
            self._drain.cancel()
        self._close(lambda sock: True)
        if self._unix_file is None:
            return
        path, ours = self._unix_file
        self._unix_file = None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(path), ours):
                os.unlink(path)

    def _close(self, is_meant: Callable[[socket.socket], bool]) -> None:
        for sock, server in self._servers:
            if is_meant(sock):
                if not self._given:  # else whoever comes next accepts it
                    server.accept_rest()
                server.close()
        self._servers = [each for each in self._servers if not is_meant(each[0])]
        for sock in filter(is_meant, self._sockets):
            sock.close()
        self._sockets = [sock for sock in self._sockets if not is_meant(sock)]

    async def _serve(self, sock: socket.socket) -> Server:
        loop = asyncio.get_running_loop()
        backlog = self._settings.listen_backlog
        return await open_server(loop, self._factory, sock, backlog, self._log)

    def _take_given(self) -> None:
        """Raises: ListenError."""
        settings = self._settings
        for name, is_set in (
            ("listen_addr", bool(settings.listen_addr)),
            ("unix_socket_dir", settings.unix_socket_dir not in ("", Settings().unix_socket_dir)),
        ):
            if is_set:
                text = f"sockets passed from service manager, {name} ignored"
                self._log.warning(text)
        self._sockets = list(self._given)
        for sock in self._sockets:
            number = sock.fileno()
            try:
                tune(sock, settings)
            except OSError as error:
                text = f"failed to set up socket passed from service manager (fd {number})"
                raise ListenError(f"{text}: {error.strerror}") from error
            self._defer_accept(sock)
            self._log.log(f"socket passed from service manager (fd {number})")

    def _open_tcp(self) -> None:
        hosts = self._settings.listen_addr
        failures: set[int | None] = set()
        for host in hosts:
            for address in self._resolve(host):
                failure = self._open(address)
                if failure is not None:
                    failures.add(failure.errno)
        if hosts and not self._sockets:
            raise ListenError(
                f"failed to listen on any address in listen_addr list: {','.join(hosts)}"
                + _advice(failures)
            )

    def _resolve(self, host: str) -> list[Address]:
        """Blocks, which hurts nobody yet. Raises: ListenError."""
        port = self._settings.listen_port
        check_port(port)
        if host == "*":
            return numeric_addresses(None, port)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            number = getattr(error, "errno", None) or 0
            raise ListenError(f"getaddrinfo('{host}', '{port}') = {why} [{number}]") from error
        return tcp_addresses(found)

    def _open_unix(self) -> None:
        settings = self._settings
        address = unix_address(settings.unix_socket_dir, settings.listen_port)
        path = str(address.sockaddr)
        if not path.startswith("\0"):
            if os.path.lexists(f"{path}.lock"):
                raise ListenError(f"unix port {settings.listen_port} is in use")
            with contextlib.suppress(OSError):
                os.unlink(path)  # of a process that has gone
        failure = self._open(address)
        if failure is not None:
            raise ListenError("failed to create unix socket" + _advice({failure.errno}))

    def _open(self, address: Address) -> OSError | None:
        """Add a listening socket, or say in the log why not."""
        step = "socket"
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            self._sockets.append(sock)
            step = "setsockopt"
            self._prepare(sock)
            step = "bind"
            sock.bind(address.sockaddr)
            self._after_bind(address)
            step = "tune_socket"
            tune(sock, self._settings)
            step = "listen"
            sock.listen(self._settings.listen_backlog)
        except OSError as error:
            if step != "socket":
                self._sockets.pop().close()
            why = error.strerror or str(error)
            self._log.warning(f"cannot listen on {address.place}: {step}(): {why}")
            return error
        self._defer_accept(sock)
        self._log.log(f"listening on {address.place}")
        return None

    def _prepare(self, sock: socket.socket) -> None:
        if sock.family == socket.AF_UNIX:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        if sock.family == socket.AF_INET6:
            # Else [::] takes 0.0.0.0's port as well, and whichever comes second can't be had.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
        if self._settings.so_reuseport:
            # FreeBSD's SO_REUSEPORT doesn't share connections out, its _LB does.
            option = getattr(socket, "SO_REUSEPORT_LB", socket.SO_REUSEPORT)
            sock.setsockopt(socket.SOL_SOCKET, option, True)

    def _after_bind(self, address: Address) -> None:
        """Give the Unix socket's file its owner and mode, before anybody can connect to it."""
        path = str(address.sockaddr)
        if not address.is_unix or path.startswith("\0"):
            return
        self._unix_file = (path, os.lstat(path))
        mode, group = self._settings.unix_socket_mode, self._settings.unix_socket_group
        if group:
            gid = find_group(group)
            try:
                os.chown(path, -1, gid)
            except OSError as error:
                raise ListenError(f"chown({path}, -1, {gid}) failed: {error.strerror}") from error
        try:
            os.chmod(path, mode)
        except OSError as error:
            raise ListenError(f"failure to chmod({path}, 0{mode:o}): {error.strerror}") from error

    def _defer_accept(self, sock: socket.socket) -> None:
        try:
            tune_accept(sock, self._settings)
        except OSError as error:
            act = "install" if self._settings.tcp_defer_accept else "uninstall"
            self._log.warning(f"tune_accept: {act} TCP_DEFER_ACCEPT: {error.strerror}")


def check_port(port: int) -> None:
    """Raises: ListenError. getaddrinfo would take any number, and cut it to 16 bits."""
    if not 0 < port <= 0xFFFF:
        raise ListenError(f"invalid listen_port: {port} (a port from 1 to 65535 is expected)")


def find_group(group: str) -> int:
    """The id of a group given by name or number. Raises: ListenError."""
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ListenError(f"could not find group '{group}'; see unix_socket_group") from None


def _advice(failures: set[int | None]) -> str:
    if errno.EADDRINUSE in failures:
        return " (address in use: stop the process that has it, or change listen_port)"
    if errno.EACCES in failures:
        return " (permission denied: see the user that this runs as, and its rights there)"
    return ""
