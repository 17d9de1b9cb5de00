"""Connections to servers: from an entry of [databases] to a transport that has logged in.

One attempt goes through all hosts of the entry and all addresses of each, at once and in order,
till one lets us in; a refusal that would be the same everywhere ends it. No attempt has a timer:
whoever started it looks at `started_at`. A host that is a literal or a Unix socket is connected to
without a thread; names are resolved by the loop, which has threads for that.

Source: PgBouncer 1.25.2 as it runs, its reasons; trying the next host at once is ours.
Errors: none are raised; an attempt ends with one call to `on_ready` or to `on_failed`, or with
none where it was cancelled.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from pgmux.auth import credentials
from pgmux.auth.server_auth import SaltedCache
from pgmux.auth.steps import Compute, Send
from pgmux.config.model import Database, LoadBalanceHosts, Settings, SslMode
from pgmux.net.compute import Computer, TooManyJobs
from pgmux.net.loop import open_transport
from pgmux.net.sockets import (
    Address,
    Addresses,
    numeric_addresses,
    read_addresses,
    tcp_addresses,
    tune,
    unix_address,
)
from pgmux.session.log import Log, Name
from pgmux.session.server import (
    REASON_CONN_CRASHED,
    REASON_CONNECT_FAILED,
    LoggedIn,
    LoginStep,
    ServerLogin,
    ServerLoginFailed,
    startup_parameters,
)
from pgmux.wire import build

_TLS_NEEDED = (SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL)


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What to connect to, and as whom. `salted_cache` is the process's; `id` is for the log."""

    database: Database
    credentials: credentials.ServerLogin
    settings: Settings
    salted_cache: SaltedCache = field(repr=False)
    id: int = 0


OnReady = Callable[[asyncio.Transport, LoggedIn, Addresses], None]
OnFailed = Callable[[ServerLoginFailed], None]
OnCancelSent = Callable[[str], None]


class Connector:
    """Makes connections; keeps whose turn it is among the hosts of a list and of a name."""

    __slots__ = ("_turns", "clock", "computer", "log", "loop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        clock: Callable[[], float],
        computer: Computer,
    ) -> None:
        self.loop = loop
        self.log = log
        self.clock = clock
        self.computer = computer
        self._turns: dict[str | tuple[str, ...], int] = {}

    def connect(self, request: ConnectRequest, on_ready: OnReady, on_failed: OnFailed) -> Attempt:
        """Start to connect and log in; neither callback comes before this returns.

        `on_ready(transport, logged_in, addresses)` is called while the login's last bytes are
        handled: it sets the transport's next protocol, and feeds it `logged_in.rest`.
        """
        return Attempt(self, request, on_ready, on_failed)

    def send_cancel(
        self, address: Address, pid: int, key: bytes, on_done: OnCancelSent
    ) -> CancelAttempt:
        """Send a CancelRequest to where `address` is, which is a server connection's peer.

        `on_done("")` is called once the server has closed, which it does when it has sent the
        signal; else with what went wrong.
        """
        return CancelAttempt(self, address, build.build_cancel_request(pid, key), on_done)

    def hosts_in_order(self, database: Database) -> tuple[str | None, ...]:
        """All hosts, beginning with the one whose turn it is; None is unix_socket_dir."""
        hosts = database.hosts
        if len(hosts) < 2:
            return hosts or (None,)
        first = self._turns.get(hosts, 0)
        if database.load_balance_hosts is LoadBalanceHosts.ROUND_ROBIN:
            self._turns[hosts] = (first + 1) % len(hosts)
        return hosts[first:] + hosts[:first]

    def on_host_failed(self, database: Database, host: str | None) -> None:
        """Without load balancing, the next connections begin with the next host."""
        hosts = database.hosts
        if database.load_balance_hosts is LoadBalanceHosts.DISABLE and len(hosts) > 1:
            first = self._turns.get(hosts, 0)
            if hosts[first] == host:
                self._turns[hosts] = (first + 1) % len(hosts)

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a TCP host, each first in its turn. Raises: OSError, UnicodeError."""
        try:
            return numeric_addresses(host, port)
        except socket.gaierror:
            found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = tcp_addresses(found)
        first = self._turns.get(host, 0) % len(addresses)
        self._turns[host] = first + 1
        return addresses[first:] + addresses[:first]


class Attempt:
    """One connection in the making. `address` is what it is connecting to right now."""

    __slots__ = (
        "_connector",
        "_on_failed",
        "_on_ready",
        "_protocol",
        "_request",
        "_task",
        "address",
        "started_at",
    )

    def __init__(
        self, connector: Connector, request: ConnectRequest, on_ready: OnReady, on_failed: OnFailed
    ) -> None:
        self._connector = connector
        self._request = request
        self._on_ready: OnReady | None = on_ready
        self._on_failed: OnFailed | None = on_failed
        self._protocol: _LoginProtocol | None = None
        self.address: Address | None = None
        self.started_at = connector.clock()
        self._task: asyncio.Task[None] | None = connector.loop.create_task(self._run())

    @property
    def id(self) -> int:
        """What the log and SHOW call the connection."""
        return self._request.id

    @property
    def ends(self) -> Addresses | None:
        """Its addresses, once a socket is open."""
        return None if self._protocol is None else self._protocol.ends(self._request.database.port)

    def cancel(self, reason: str) -> None:
        """Close what is open and call nobody. After the end of the attempt: do nothing."""
        task = self._task
        if task is not None:
            self._log_end(reason)
            self._forget()
            task.cancel(reason)

    def on_logged_in(self, transport: asyncio.Transport, logged_in: LoggedIn) -> None:
        """For the login's protocol: hand the connection over."""
        on_ready = self._on_ready
        if on_ready is None:
            transport.abort()
            return
        self._forget()
        sock = transport.get_extra_info("socket")
        on_ready(transport, logged_in, read_addresses(sock, self._request.database.port))

    def _forget(self) -> None:
        """Call nobody any more, and let go of who would have been called."""
        protocol = self._protocol
        self._on_ready = self._on_failed = self._task = self._protocol = None
        if protocol is not None:
            protocol.abandon()

    async def _run(self) -> None:
        try:
            failure = await self._try_hosts()
        except Exception as error:
            self._connector.log.exception("connecting to a server failed", error)
            failure = ServerLoginFailed("cannot connect")
        on_failed = self._on_failed
        self._forget()
        if failure is not None and on_failed is not None:
            if failure.detail:
                # PgBouncer's "server login failed: …" stands alone.
                name = None if failure.from_server else self._name()
                self._connector.log.warning(failure.detail, name)
            self._log_end(failure.reason)
            on_failed(failure)

    async def _try_hosts(self) -> ServerLoginFailed | None:
        """None once logged in, else why the last of all hosts didn't let us in."""
        database = self._request.database
        failure: ServerLoginFailed | None = None
        for host in self._connector.hosts_in_order(database):
            if failure is not None:
                self._say_next(failure, host or "unix")
            failure = await self._try_host(host)
            if failure is None or not failure.is_transient:
                return failure
            self._connector.on_host_failed(database, host)
        return failure

    async def _try_host(self, host: str | None) -> ServerLoginFailed | None:
        failure: ServerLoginFailed | None = None
        self.address = None
        try:
            addresses = await self._find_addresses(host)
        except (OSError, UnicodeError) as error:
            detail = f"cannot resolve {host!r}: {_why(error)}"
            return ServerLoginFailed("server DNS lookup failed", detail=detail)
        except ServerLoginFailed as error:
            return _bare(error)
        for address in addresses:
            if failure is not None:
                self._say_next(failure, address.place)
            self.address = address
            failure = await self._try_address(address)
            if failure is None or not failure.is_transient:
                break
        return failure

    async def _find_addresses(self, host: str | None) -> list[Address]:
        database, settings = self._request.database, self._request.settings
        directory = settings.unix_socket_dir if host is None else host
        if not directory:
            detail = f"unix socket dir not configured: {database.name}"
            raise ServerLoginFailed("cannot connect", detail=detail)
        if host is None or host[0] in "/@":
            return [unix_address(directory, database.port)]
        if settings.server_tls_sslmode in _TLS_NEEDED:
            raise ServerLoginFailed("not yet supported: server_tls_sslmode", is_transient=False)
        return await self._connector.resolve(host, database.port)

    async def _try_address(self, address: Address) -> ServerLoginFailed | None:
        loop = self._connector.loop
        try:
            sock = await _open(loop, address, self._request.settings)
        except OSError as error:
            detail = f"cannot connect to {address.place}: {_why(error)}"
            return ServerLoginFailed(REASON_CONNECT_FAILED, detail=detail)
        self._log_connected(sock)
        protocol = self._protocol = _LoginProtocol(self, self._connector.computer, self._login())
        # The socket is the transport's from here on, whatever happens.
        await open_transport(loop, protocol, sock)
        return await protocol.ended

    def _login(self) -> ServerLogin:
        request = self._request
        database = request.database
        return ServerLogin(
            request.credentials,
            startup_parameters(database),
            database.dbname,
            secrets.token_urlsafe(18),
            request.salted_cache,
            database.connect_query,
            request.settings.max_packet_size,
        )

    def _say_next(self, failure: ServerLoginFailed, place: str) -> None:
        name = self._request.database.name
        what = failure.detail or failure.reason
        self._connector.log.warning(f"{name}: {what}; trying {place}")
        self._log_end(failure.reason)

    # ---- PgBouncer's log lines of a server's connection

    def _name(self) -> Name:
        request = self._request
        user = request.credentials.user
        return Name("server", request.id, request.database.name, user, self.address)

    def _log_connected(self, sock: socket.socket) -> None:
        if self._request.settings.log_connections:
            ends = read_addresses(sock, self._request.database.port)
            origin = "" if ends.local.is_unix else f" (from {ends.local})"
            self._connector.log.log(f"new connection to server{origin}", self._name())

    def _log_end(self, reason: str) -> None:
        if self._request.settings.log_disconnections:
            age = int(self._connector.clock() - self.started_at)
            text = f"closing because: {reason} (age={age}s)"
            self._connector.log.log(text, self._name(), {"reason": reason, "age": age})


class _LoginProtocol(asyncio.Protocol):
    """Carries out a ServerLogin on a transport. `ended` becomes None, or why there is no login."""

    __slots__ = ("_attempt", "_computer", "_login", "_transport", "ended")

    def __init__(self, attempt: Attempt, computer: Computer, login: ServerLogin) -> None:
        self._attempt: Attempt | None = attempt
        self._computer = computer
        self._login: ServerLogin | None = login
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[ServerLoginFailed | None] = asyncio.Future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: a loop's transports have the methods, maybe not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._login is None:
            transport.abort()
            return
        transport.write(self._login.first())

    def ends(self, port: int) -> Addresses | None:
        """Both addresses, while the connection is open; `port` names a Unix socket's."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return None
        return read_addresses(transport.get_extra_info("socket"), port)

    def data_received(self, data: bytes) -> None:
        if self._login is not None:
            self._advance(self._login.feed, data)

    def connection_lost(self, error: Exception | None) -> None:
        detail = f"{REASON_CONN_CRASHED} {error}" if error else ""
        self._fail(ServerLoginFailed(REASON_CONN_CRASHED, detail=detail))

    def abandon(self) -> None:
        """Close, unless the login is over."""
        self._login = self._attempt = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _on_computed(self, result: bytes) -> None:
        if self._login is not None and self._transport is not None:
            self._transport.resume_reading()
            self._advance(self._login.on_computed, result)

    def _advance(self, advance: Callable[[bytes], list[LoginStep]], data: bytes) -> None:
        try:
            for step in advance(data):
                self._do(step)
        except ServerLoginFailed as error:
            self._fail(_bare(error))
        except TooManyJobs as error:
            self._fail(ServerLoginFailed(str(error)))

    def _do(self, step: LoginStep) -> None:
        transport = self._transport
        assert transport is not None
        if isinstance(step, Send):
            transport.write(step.data)
        elif isinstance(step, Compute):
            transport.pause_reading()
            self._computer.submit(step.job, self._on_computed)
        else:
            attempt = self._attempt
            self._login = self._attempt = self._transport = None
            self.ended.set_result(None)
            if attempt is not None:
                attempt.on_logged_in(transport, step)

    def _fail(self, failure: ServerLoginFailed) -> None:
        if self._login is not None:
            self.abandon()
            self.ended.set_result(failure)


class CancelAttempt:
    """One CancelRequest on its way."""

    __slots__ = ("_address", "_connector", "_on_done", "_packet", "_task", "started_at")

    def __init__(
        self, connector: Connector, address: Address, packet: bytes, on_done: OnCancelSent
    ) -> None:
        self._connector = connector
        self._address = address
        self._packet = packet
        self._on_done: OnCancelSent | None = on_done
        self.started_at = connector.clock()
        self._task: asyncio.Task[None] | None = connector.loop.create_task(self._run())

    def cancel(self, reason: str) -> None:
        """Close what is open and call nobody."""
        task = self._task
        self._on_done = self._task = None
        if task is not None:
            task.cancel(reason)

    async def _run(self) -> None:
        problem = ""
        try:
            await self._send()
        except OSError as error:
            problem = f"cannot connect to {self._address.place}: {_why(error)}"
        on_done = self._on_done
        self._on_done = self._task = None
        if on_done is not None:
            on_done(problem)

    async def _send(self) -> None:
        loop = self._connector.loop
        with await _open(loop, self._address, None) as sock:
            sock.send(self._packet)  # it fits: nothing else was ever sent
            # PostgreSQL answers nothing and closes. Whatever comes, it has read the packet.
            await _wait(sock, loop.add_reader, loop.remove_reader)


async def _open(
    loop: asyncio.AbstractEventLoop, address: Address, settings: Settings | None
) -> socket.socket:
    """A connected socket. Raises: OSError."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if settings is not None:
            tune(sock, settings)
        number = sock.connect_ex(address.sockaddr)
        if number == errno.EINPROGRESS:
            await _wait(sock, loop.add_writer, loop.remove_writer)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


async def _wait(
    sock: socket.socket, add: Callable[..., object], remove: Callable[[int], object]
) -> None:
    """Return when `sock` can be written to or read from, as `add` says."""
    ready: asyncio.Future[None] = asyncio.Future()
    add(sock.fileno(), _wake, ready)
    try:
        await ready
    finally:
        remove(sock.fileno())


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _bare(error: ServerLoginFailed) -> ServerLoginFailed:
    """Without its traceback, whose frames would keep the connection alive in a cycle."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
