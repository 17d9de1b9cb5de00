"""Connections to servers: from an entry of [databases] to a transport that has logged in.

One attempt goes through all hosts of the entry and all addresses of each (`net/dial.py`), in the
order of `net/hosts.py`, till one lets us in; a refusal that would be the same everywhere ends it.
Where others are left, a login may take its share of server_connect_timeout; the whole attempt has
no timer: whoever started it looks at the clock.

Source: PgBouncer 1.25.2 as it runs, its reasons; trying the next host at once is ours.
Errors: none are raised; an attempt ends with one call to `on_ready` or to `on_failed`, or with
none where it was cancelled.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from pgmux.auth import credentials
from pgmux.auth.server_auth import SaltedCache
from pgmux.auth.tls_info import TlsInfo
from pgmux.config.model import Database, Settings
from pgmux.net.cancel_request import CancelAttempt, OnCancelSent
from pgmux.net.compute import Computer
from pgmux.net.dial import Connected, Failed, Late, Place, Race, open_socket
from pgmux.net.hosts import Hosts
from pgmux.net.loop import open_transport
from pgmux.net.server_login import LoginProtocol
from pgmux.net.server_opening import ServerTls, server_tls
from pgmux.net.sockets import (
    Address,
    Addresses,
    at_port,
    literal_addresses,
    read_addresses,
    unix_address,
)
from pgmux.net.tls_context import TlsInForce
from pgmux.session.log import Log, Name
from pgmux.session.server import (
    REASON_AUTH_FAILED,
    LoggedIn,
    ServerLogin,
    ServerLoginFailed,
    startup_parameters,
)
from pgmux.wire import build
from pgmux.wire.replication import Replication

REASON_CONNECT_TIMEOUT = "connect timeout"


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What to connect to, and as whom. `salted_cache` is the process's; `id` is for the log.

    `replication` and `startup` are what the one client wants that the connection is for, if it is.
    """

    database: Database
    credentials: credentials.ServerLogin
    settings: Settings
    salted_cache: SaltedCache = field(repr=False)
    id: int = 0
    replication: Replication = Replication.NONE
    startup: Mapping[str, str] = field(default_factory=dict)


OnReady = Callable[[asyncio.Transport, LoggedIn, Addresses], None]
OnFailed = Callable[[ServerLoginFailed], None]
OnEnd = Callable[[Name, str, float], None]  # whose, why, and when it was begun
Resolve = Callable[[str], Awaitable[Sequence[Address]]]


class Connector:
    """Makes connections. `resolve` finds the addresses of a name: see `net/resolver.py`; `on_end`
    is told of each that ends before it has logged in.
    """

    __slots__ = ("clock", "computer", "hosts", "log", "loop", "on_end", "resolve", "tls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        clock: Callable[[], float],
        computer: Computer,
        resolve: Resolve,
        tls: TlsInForce,
        on_end: OnEnd,
    ) -> None:
        self.loop = loop
        self.log = log
        self.clock = clock
        self.computer = computer
        self.resolve = resolve
        self.tls = tls
        self.on_end = on_end
        self.hosts = Hosts(clock)

    def connect(self, request: ConnectRequest, on_ready: OnReady, on_failed: OnFailed) -> Attempt:
        """Start to connect and log in; neither callback comes before this returns.

        `on_ready(transport, logged_in, addresses)` is called while the login's last bytes are
        handled: it sets the transport's next protocol, and feeds it `logged_in.rest`.
        """
        return Attempt(self, request, on_ready, on_failed)

    def send_cancel(
        self,
        address: Address,
        pid: int,
        key: bytes,
        on_done: OnCancelSent,
        tls: ServerTls | None = None,
    ) -> CancelAttempt:
        """Send a CancelRequest to where `address` is, which is a server connection's peer; with
        that connection's `tls`.

        `on_done("")` is called once the server has closed, which it does when it has sent the
        signal; else with what went wrong.
        """
        packet = build.build_cancel_request(pid, key)
        return CancelAttempt(self.loop, address, packet, tls, on_done)


class Attempt:
    """One connection in the making. `address` is the last one that was tried; `tls` is what the
    login was encrypted with.
    """

    __slots__ = (
        "_connector",
        "_on_failed",
        "_on_ready",
        "_protocol",
        "_request",
        "_task",
        "address",
        "started_at",
        "tls",
    )

    def __init__(
        self, connector: Connector, request: ConnectRequest, on_ready: OnReady, on_failed: OnFailed
    ) -> None:
        self._connector = connector
        self._request = request
        self._on_ready: OnReady | None = on_ready
        self._on_failed: OnFailed | None = on_failed
        self._protocol: LoginProtocol | None = None
        self.address: Address | None = None
        self.tls: ServerTls | None = None
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
            self._end(reason)
            self._forget()
            task.cancel(reason)

    def _on_logged_in(self, transport: asyncio.Transport, logged_in: LoggedIn) -> None:
        """Hand the connection over."""
        on_ready = self._on_ready
        if on_ready is None:
            transport.abort()
            return
        self.tls = self._protocol.tls if self._protocol is not None else None
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
                log = self._connector.log
                write = log.error if failure.reason == REASON_AUTH_FAILED else log.warning
                write(failure.detail, name)
            self._end(failure.reason)
            on_failed(failure)

    # ---- hosts and addresses

    async def _try_hosts(self) -> ServerLoginFailed | None:
        """None once logged in, else why the last of all hosts didn't let us in."""
        database = self._request.database
        hosts = self._connector.hosts.hosts(database)
        race = Race(hosts, self._literal, self._resolve, self._open, self._time_left)
        failure: ServerLoginFailed | None = None
        try:
            while (outcome := await race.next()) is not None:
                if isinstance(outcome, Late):
                    self._on_late(outcome.place, race)
                    continue
                failure = await self._try_outcome(outcome, race)
                if failure is None or not failure.is_transient:
                    return failure
                whole_host = race.is_over_for(outcome.place.host)
                is_news = self._blame(outcome.place, whole_host=whole_host)
                # What others, who try at the same time, have found out as well is said once.
                if race.next_place and (is_news or isinstance(outcome, Connected)):
                    self._say(failure.detail or failure.reason, race.next_place)
                    self._end(failure.reason)
        finally:
            race.close()
        return failure

    async def _try_outcome(
        self, outcome: Connected | Failed, race: Race
    ) -> ServerLoginFailed | None:
        """None once logged in."""
        self.address = outcome.place.address
        if isinstance(outcome, Failed):
            return outcome.failure
        share = race.share(inf) if race.next_place is not None else inf
        tls = server_tls(self._connector.tls.server, outcome.place.host)
        failure = await self._log_in(outcome.sock, tls, share)
        if failure is None:
            place = outcome.place
            self._connector.hosts.on_connected(self._request.database, place.host, place.address)
            for late in race.late():
                self._blame(late, whole_host=late.host != place.host)
        return failure

    def _on_late(self, place: Place, race: Race) -> None:
        hosts, request = self._connector.hosts, self._request
        retry = request.settings.server_login_retry
        if hosts.on_late(request.database, place.host, place.address, retry):
            self._say(f"no answer from {place} yet", race.next_place)

    def _blame(self, place: Place, *, whole_host: bool) -> bool:
        """Let what didn't serve come last for a while. Returns whether that is news."""
        hosts, request = self._connector.hosts, self._request
        retry = request.settings.server_login_retry
        is_news = False
        if place.address is not None:
            is_news = hosts.on_failed(request.database, place.host, place.address, retry)
        if whole_host:
            is_news |= hosts.on_failed(request.database, place.host, None, retry)
        return is_news

    def _literal(self, host: str | None) -> Sequence[Address] | None:
        """The addresses of what is no name. Raises: ServerLoginFailed."""
        database, settings = self._request.database, self._request.settings
        directory = settings.unix_socket_dir if host is None else host
        if not directory:
            detail = f"unix socket dir not configured: {database.name}"
            raise ServerLoginFailed("cannot connect", detail=detail)
        if host is None:
            return [unix_address(directory, database.port)]
        return literal_addresses(host, database.port)

    async def _resolve(self, host: str) -> Sequence[Address]:
        """The addresses of a name. Raises: LookupFailed."""
        found = await self._connector.resolve(host)
        addresses = at_port(found, self._request.database.port)
        return self._connector.hosts.addresses(host, addresses)

    async def _open(self, address: Address) -> socket.socket:
        self.address = address
        return await open_socket(self._connector.loop, address, self._request.settings)

    def _time_left(self) -> float:
        """Seconds till whoever started this gives it up."""
        timeout = self._request.settings.server_connect_timeout
        return self.started_at + timeout - self._connector.clock() if timeout > 0 else inf

    # ---- the login

    async def _log_in(
        self, sock: socket.socket, tls: ServerTls | None, share: float
    ) -> ServerLoginFailed | None:
        """None once logged in; for at most `share` seconds."""
        self._log_connected(sock)
        connector = self._connector
        protocol = LoginProtocol(
            self._login(), connector.computer, tls, self._log_tls, self._on_logged_in
        )
        self._protocol = protocol
        # The socket is the transport's from here on, whatever happens.
        await open_transport(connector.loop, protocol, sock)
        await asyncio.wait([protocol.ended], timeout=None if share == inf else share)
        if protocol.ended.done():
            return protocol.ended.result()
        protocol.abandon()
        detail = f"no login at {self.address and self.address.place} within {share:.1f} s"
        return ServerLoginFailed(REASON_CONNECT_TIMEOUT, detail=detail)

    def _login(self) -> ServerLogin:
        request = self._request
        database = request.database
        parameters = startup_parameters(database)
        if request.replication:
            # of names that differ in case alone, the server takes the last
            parameters |= {"replication": request.replication.parameter, **request.startup}
        return ServerLogin(
            request.credentials,
            parameters,
            database.dbname,
            secrets.token_urlsafe(18),
            request.salted_cache,
            # which takes no SQL
            None if request.replication is Replication.PHYSICAL else database.connect_query,
            request.settings.max_packet_size,
        )

    # ---- the log, in PgBouncer's lines of a server's connection

    def _say(self, what: str, following: Place | None) -> None:
        text = f"{self._request.database.name}: {what}; trying {following}"
        self._connector.log.warning(text)

    def _name(self) -> Name:
        request = self._request
        user = request.credentials.user
        return Name("server", request.id, request.database.name, user, self.address)

    def _log_connected(self, sock: socket.socket) -> None:
        if self._request.settings.log_connections:
            ends = read_addresses(sock, self._request.database.port)
            origin = "" if ends.local.is_unix else f" (from {ends.local})"
            self._connector.log.log(f"new connection to server{origin}", self._name())

    def _log_tls(self, info: TlsInfo) -> None:
        if self._request.settings.log_connections:
            self._connector.log.log(f"SSL established: {info}", self._name())

    def _end(self, reason: str) -> None:
        self._connector.on_end(self._name(), reason, self.started_at)
