"""The composition root: configuration, pooler, sockets, console and timers put together; and how
the process ends.

All state that outlives a connection hangs off the `App`; nothing else in pgmux keeps any.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pgmux.admin.pooler import ShutdownMode
from pgmux.auth.server_auth import SaltedCache
from pgmux.config import Config
from pgmux.daemon import systemd
from pgmux.daemon.admin import DaemonAdmin, WebAdmin
from pgmux.daemon.collector import Collector
from pgmux.daemon.configuration import describe, say_problems
from pgmux.daemon.interpreter import Interpreter
from pgmux.daemon.log import Log, cannot_open
from pgmux.daemon.names import Names
from pgmux.daemon.readiness import Readiness
from pgmux.daemon.snapshot import DaemonSnapshot
from pgmux.daemon.systemd import ServiceManager
from pgmux.daemon.web_process import WebProcess
from pgmux.errors import ConfigError
from pgmux.metrics.averages import stats_fields, stats_line
from pgmux.net._client_connection_cy import ClientConnection
from pgmux.net.compute import Computer
from pgmux.net.connector import Connector, ConnectRequest
from pgmux.net.console_connection import Consoles
from pgmux.net.door import Admission, Door
from pgmux.net.listener import Listener
from pgmux.net.peer_request import Outside as PeerOutside
from pgmux.net.peer_request import PeerRequest
from pgmux.net.random_bytes import RandomBytes
from pgmux.net.sockets import Address, Addresses, os_user_name
from pgmux.net.tls import tls_info
from pgmux.net.tls_context import Tls, TlsInForce, TlsSetupError, load_tls
from pgmux.net.verifier import Verifier
from pgmux.pool import janitor
from pgmux.pool.pool import Failure
from pgmux.session import operator
from pgmux.session._entry_cy import ClientInfo
from pgmux.session.client import LoginContext
from pgmux.session.connects import Attempt
from pgmux.session.control import PoolControl
from pgmux.session.host_limits import HostLimits
from pgmux.session.identity import ServerInfo
from pgmux.session.log import Name
from pgmux.session.maintenance import maintain
from pgmux.session.pooler import OnCancelled, Outside, Pooler
from pgmux.session.server import LoggedIn, ServerLoginFailed

_MOCK_KEY_LEN = 32
_SIGNAL_TEXTS = {
    "HUP": "got SIGHUP, re-reading config",
    "TERM": "got SIGTERM, shutting down, waiting for all clients disconnect",
    "INT": "got SIGINT, shutting down, waiting for all servers connections to be released",
    "QUIT": "got SIGQUIT, fast exit",
    "USR1": "got SIGUSR1, pausing all activity",
    "USR2": "got SIGUSR2, continuing from PAUSE",
}
_TEXTS_WHILE_SHUTTING_DOWN = {
    "TERM": "got SIGTERM while shutting down, fast exit",
    "INT": "got SIGINT while shutting down, fast exit",
    "USR2": "got SIGUSR2 while shutting down, ignoring",
}
_TLS_KEPT = "TLS configuration could not be reloaded, keeping old configuration"
_LAST_TEXTS = {
    ShutdownMode.WAIT_FOR_CLIENTS: "client connections dropped, exiting",
    ShutdownMode.WAIT_FOR_SERVERS: "server connections dropped, exiting",
}


class App:
    """A running pooler; see `daemon.main.Application` for the order of calls."""

    def __init__(
        self,
        config: Config,
        tls: Tls,
        reload: Callable[[str], Config],
        log: Log,
        manager: ServiceManager,
        interpreter: Interpreter,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._read_config = reload
        self._manager = manager
        self.log = log
        self._tls = TlsInForce(tls)
        self._say_warnings(tls)
        self._closed: asyncio.Future[int] = loop.create_future()
        self._shutdown: ShutdownMode | None = None
        self._salted_cache: SaltedCache = {}
        self._computer = Computer(loop)
        self._names = Names(loop, log, lambda: self.pooler)
        resolve = self._names.resolver.resolve
        self._connector = Connector(
            loop,
            log,
            time.monotonic,
            self._computer,
            resolve,
            self._tls,
            lambda *end: self.pooler.on_attempt_end(*end),
        )
        self._random = RandomBytes()
        outside = Outside(
            time.monotonic,
            self._random,
            self._connect,
            self._send_cancel,
            later=loop.call_later,
            connect_to_peer=partial(PeerRequest, self._peer_outside()),
        )
        self.pooler = Pooler(config, log, outside)
        self.pooler.on_change = self._on_change
        self.admin = DaemonAdmin(self)
        self.consoles = Consoles(self.pooler, self.admin)
        self._verifier = Verifier(loop)
        self.door = Door(
            self.pooler,
            self._login_context(),
            self._computer,
            self._verifier,
            self.consoles,
            lambda: self._tls.client.context,
        )
        self._reload_problem = ""
        self._host_limits = HostLimits(self.pooler, loop.call_soon)
        self._web = WebProcess(
            loop,
            self.pooler,
            self.admin,
            WebAdmin(self),
            interpreter,
            has_own_sockets=not manager.sockets,
        )
        self.snapshot = DaemonSnapshot(
            self.pooler,
            self.door,
            self.consoles,
            self._names.resolver,
            self._web,
            Readiness(self.pooler, self._why_not_listening, lambda: self._reload_problem),
            self._host_limits,
        )
        # has the methods; a compiled class can't inherit asyncio.Protocol
        factory: Any = partial(ClientConnection, self.door)
        self._listener = Listener(config.settings, log, factory, manager.sockets)
        self._collector = Collector()

    def _peer_outside(self) -> PeerOutside:
        return PeerOutside(
            self._loop,
            self.log,
            time.monotonic,
            lambda: self.pooler.config.settings,
            self._connector.hosts,
            self._names.resolver.resolve,
            lambda *end: self.pooler.on_attempt_end(*end),
        )

    def _login_context(self) -> LoginContext:
        return LoginContext(
            config=lambda: self.pooler.config,
            random=self._random,
            connection_count=lambda: self.pooler.client_count + len(self.door.logins),
            own_uid=os.geteuid(),
            tls_mode=lambda: self._tls.client.mode,
            os_user=os_user_name,
            mock_key=self._random(_MOCK_KEY_LEN),
        )

    # ---- daemon.main.Application

    async def start(self) -> None:
        """Listen. Raises: ListenError."""
        await self._listener.start()
        self._loop.call_later(janitor.PERIOD, self._maintain)
        self._loop.call_later(self.pooler.config.settings.stats_period, self._tick)
        if self._manager.watchdog:
            self._show_life()
        self._collector.begin(self.pooler.clock())
        self.set_up_web()

    async def wait_closed(self) -> int:
        """The exit code, when the process is to end."""
        code = await self._closed
        self._listener.close()
        await self._web.close()
        self._computer.close()
        self._verifier.close()
        self._names.resolver.close()
        return code

    def on_signal(self, name: str) -> None:
        """What PgBouncer does on this signal."""
        self.log.log(self._signal_text(name))
        if name == "USR2" and self._shutdown is not None:
            return
        match name:
            case "HUP":
                self.reload_quietly()
            case "TERM":
                self.shut_down(ShutdownMode.WAIT_FOR_CLIENTS)
            case "INT":
                self.shut_down(ShutdownMode.WAIT_FOR_SERVERS)
            case "QUIT":
                self.shut_down(ShutdownMode.IMMEDIATE)
            case "USR1":
                operator.hold(self.pooler, None, held=True)
            case "USR2":
                operator.hold(self.pooler, None, held=False)

    def _signal_text(self, name: str) -> str:
        if self._shutdown is not None and name in _TEXTS_WHILE_SHUTTING_DOWN:
            return _TEXTS_WHILE_SHUTTING_DOWN[name]
        if name == "USR1" and self.pooler.paused:
            return "got SIGUSR1, but already paused/suspended"
        if name == "USR2" and not self.pooler.paused:
            return "got SIGUSR2, but not paused/suspended"
        return _SIGNAL_TEXTS[name]

    # ---- configuration

    def reload_quietly(self) -> None:
        """SIGHUP: what is wrong is in the log, and the old configuration stays."""
        with contextlib.suppress(ConfigError):
            self.reload()

    def reload(self) -> None:
        """RELOAD, whole or not at all. Raises: ConfigError, when it is in the log already."""
        try:
            config_file = self.pooler.config.settings.conffile or ""
            config = self._read_config(config_file)
            tls = load_tls(config.settings)
            change = operator.reload(self.pooler, config)
        except TlsSetupError as error:
            self._say_tls_problems(error)
            self.log.error(_TLS_KEPT)
            self._reload_problem = _summary(error)
            raise
        except ConfigError as error:
            for problem in error.problems:
                self.log.error(describe(problem))
            self.log.warning("config file loading failed")
            self._reload_problem = _summary(error)
            raise
        self._reload_problem = ""
        say_problems(self.pooler.config, self.log)
        self._use_tls(tls)
        self.tune_sockets()
        self._configure_log()
        self._names.on_reload()
        self.set_up_web()
        for what in change.texts():
            self.log.debug(what)
        for name in change.needs_restart:
            self.log.warning(f"changed setting needs a restart, the old value stays: {name}")

    def set_up_tls(self) -> bool:
        """Go by the TLS settings as they are and the files as they stand; False where they are bad,
        which the log says, and the old ones stay in force.
        """
        try:
            tls = load_tls(self.pooler.config.settings)
        except TlsSetupError as error:
            self._say_tls_problems(error)
            return False
        self._use_tls(tls)
        return True

    def _use_tls(self, tls: Tls) -> None:
        self._say_warnings(tls)
        if self._tls.use(tls):
            operator.reconnect(self.pooler, None)

    def _say_tls_problems(self, error: TlsSetupError) -> None:
        for problem in error.problems:
            self.log.error(f"TLS setup failed: {describe(problem)}")

    def _say_warnings(self, tls: Tls) -> None:
        for warning in tls.warnings:
            self.log.warning(describe(warning))

    def tune_sockets(self) -> None:
        """Go by the tcp_* settings in force, for connections from now on."""
        self._listener.tune(self.pooler.config.settings)

    def set_up_web(self) -> None:
        """Go by the http_* settings in force."""
        self._web.use_config(self.pooler.config)

    def _configure_log(self) -> None:
        config = self.pooler.config
        try:
            self.log.use_file(config.settings.logfile)
        except OSError as error:
            self.log.error(cannot_open(config.settings.logfile, error))
        self.log.configure(config.settings, config.pgmux)

    # ---- the end

    @property
    def is_shutting_down(self) -> bool:
        return self._shutdown is not None

    def _why_not_listening(self) -> str:
        """Why no new client is let in, or ""."""
        if self._shutdown is not None or self._closed.done():
            return "the pooler is shutting down"
        return "" if self._listener.is_listening else "nothing listens"

    def shut_down(self, mode: ShutdownMode) -> None:
        """Begin to end; what was asked for a second time ends at once."""
        self._manager.notify(systemd.STOPPING)
        if mode is ShutdownMode.IMMEDIATE or self._shutdown is not None:
            self._end()
            return
        self._shutdown = mode
        if mode is ShutdownMode.WAIT_FOR_CLIENTS:
            self.door.admission = Admission.LAST
        else:
            self.door.admission = Admission.SHUT
        self._listener.close_tcp()
        if mode is ShutdownMode.WAIT_FOR_SERVERS:
            operator.hold(self.pooler, None, held=True)
        self._on_change()

    def _on_change(self) -> None:
        """Something has ended: is it what somebody waits for?"""
        if self.consoles.open:
            self.consoles.on_change()
        if self._shutdown is not None and self._is_over() and not self._closed.done():
            self.log.log(_LAST_TEXTS[self._shutdown])
            self._end()

    def _is_over(self) -> bool:
        """Whether what a shutdown waits for has come."""
        if self._shutdown is ShutdownMode.WAIT_FOR_CLIENTS:
            return (
                self.pooler.client_count == 0
                and not self._listener.is_draining
                and self.door.expected_count() == 0
            )
        return (
            self._shutdown is ShutdownMode.WAIT_FOR_SERVERS
            and operator.busy_count(self.pooler) == 0
        )

    def _end(self) -> None:
        if not self._closed.done():
            self._closed.set_result(0)

    # ---- timers

    def _maintain(self) -> None:
        self._loop.call_later(janitor.PERIOD, self._maintain)
        try:
            waiting_end = self._shutdown is ShutdownMode.WAIT_FOR_SERVERS
            maintain(self.pooler, waiting_clients_end=waiting_end)
            self._names.maintain()
            self._web.maintain()
            if self.pooler.config.pgmux.http_listen:
                self._host_limits.maintain()
            timeout = self.pooler.config.settings.client_login_timeout
            if timeout > 0:
                self.door.end_slow_logins(timeout, self.pooler.clock())
            self._on_change()
            self.log.say_suppressed()
            count = self.door.context.connection_count() + len(self.pooler.pools)
            self._collector.maintain(self.pooler.clock(), count)
        except Exception as error:
            self.log.exception("internal error in the janitor", error)

    def _tick(self) -> None:
        settings = self.pooler.config.settings
        self._loop.call_later(max(1, settings.stats_period), self._tick)
        averages = self.snapshot.counted.tick()
        line = stats_line(averages)
        if settings.log_stats:
            self.log.log(line, fields=stats_fields(averages))
        self._manager.notify(systemd.status(line))

    def _show_life(self) -> None:
        """What the manager's watchdog waits for: a loop that is stuck says it no more."""
        self._loop.call_later(self._manager.watchdog / 2, self._show_life)
        self._manager.notify(systemd.ALIVE)

    # ---- what the pooler asks for

    def _connect(self, control: PoolControl, client: ClientInfo | None) -> Attempt:
        key = control.pool.key
        request = ConnectRequest(
            self.pooler.databases[key.database].config,
            self.pooler.server_login(control),
            self.pooler.config.settings,
            self._salted_cache,
            next(self.pooler.ids),
        )
        if client is not None:
            request = replace(request, replication=client.replication, startup=client.startup)

        def on_ready(
            transport: asyncio.Transport, logged_in: LoggedIn, addresses: Addresses
        ) -> None:
            info = ServerInfo(request.id, key.database, key.user, addresses)
            info.cancel_pid, info.cancel_key = logged_in.cancel_pid, logged_in.cancel_key
            if attempt.tls is not None:
                info.tls, info.opening = tls_info(transport), attempt.tls
            server = self.pooler.connects.on_connected(
                attempt, transport, info, logged_in.parameters
            )
            if self.log.is_debug:
                text = "server login ok, start accepting queries"
                self.log.debug(text, control.name(server))
            if logged_in.warning:
                self.log.error(logged_in.warning, control.name(server))
            relay: Any = server  # has the methods; a compiled class can't inherit asyncio.Protocol
            transport.set_protocol(relay)
            if logged_in.rest:
                server.data_received(logged_in.rest)
            if not server.closed:
                self.pooler.connects.admit(server)

        def on_failed(error: ServerLoginFailed) -> None:
            failure = Failure(error.reason)
            if error.from_server or not error.is_transient:
                failure = Failure(error.reason, error.sqlstate, error.message, error.from_server)
            self.pooler.connects.on_failed(attempt, failure, transient=error.is_transient)

        if self.log.is_debug:
            name = Name("server", request.id, key.database, key.user, None)
            self.log.debug("launching new connection to server", name)
        attempt = self._connector.connect(request, on_ready, on_failed)
        return attempt

    def _send_cancel(self, info: ServerInfo, done: OnCancelled) -> Attempt:
        peer = info.addresses.peer
        assert isinstance(peer, Address)
        return self._connector.send_cancel(
            peer,
            info.cancel_pid,
            info.cancel_key,
            lambda problem: done(problem or "successfully sent cancel request"),
            info.opening,
        )


def _summary(error: ConfigError) -> str:
    """The first problem, and how many there are."""
    texts = [describe(problem) for problem in error.problems] or [str(error)]
    return texts[0] + (f" (and {len(texts) - 1} more, see the log)" if len(texts) > 1 else "")
