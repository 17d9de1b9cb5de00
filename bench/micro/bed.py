"""A whole pooler whose transports drop what is written, and the bytes that both sides send it.

The servers are there from the beginning: what is measured asks for no connect.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

from pgmux.auth.credentials import Credentials
from pgmux.auth.scram import ScramKeys
from pgmux.config import AuthType, Config, Database, Settings
from pgmux.config.model import PoolMode, SslMode
from pgmux.pool.pool import PoolKey
from pgmux.session._entry_cy import ClientInfo
from pgmux.session.client import ClientLogin, LoginContext
from pgmux.session.identity import ServerInfo
from pgmux.session.log import Log
from pgmux.session.login_steps import Enter, LoginStep
from pgmux.session.pooler import Outside, Pooler
from pgmux.wire import build, codes
from pgmux.wire.parse import Column

DATABASE, USER = "app", "bob"
REPORTED = {"server_version": "17.2", "TimeZone": "UTC", "application_name": ""}

ROW = build.build_data_row([b"1" * 8])
COLUMNS = build.build_row_description([Column("abalance", type_oid=23, typlen=4)])
ANSWERED = build.build_command_complete("SELECT 1") + build.build_ready_for_query()
QUERY = build.build_query("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;")
STARTUP = build.build_startup_message(
    {"user": USER, "database": DATABASE, "application_name": "psql", "client_encoding": "UTF8"}
)


class Sink:
    """A transport; `write` is C, so that it costs as little as a call can."""

    def __init__(self) -> None:
        self.write = deque[bytes](maxlen=0).append

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Side:
    """An end of a connection over TCP."""

    host: str = "10.0.0.9"
    port: int = 4711
    pid: int = 0
    is_unix: bool = False
    uid: int = -1


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends."""

    peer: Side = Side()
    local: Side = Side()


@dataclass(eq=False, slots=True)
class Attempt:
    """A connect."""

    target: Any

    def cancel(self, reason: str) -> None: ...


class Quiet:
    """A log that drops its lines, except what a bug of ours is told by."""

    is_debug = is_noise = False

    def exception(self, text: str, error: BaseException, about: object = None) -> None:
        raise AssertionError(text) from error

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: None


class Bed:
    """The pooler, and its one pool's servers."""

    def __init__(
        self, auth_type: AuthType = AuthType.TRUST, secret: str = "", servers: int = 1
    ) -> None:
        settings = Settings(
            pool_mode=PoolMode.TRANSACTION,
            auth_type=auth_type,
            default_pool_size=servers,
            log_connections=False,
            log_disconnections=False,
        )
        config = Config(
            settings=settings,
            databases={DATABASE: Database(DATABASE, DATABASE)},
            userlist={USER: secret},
        )
        unused = cast(Any, None)
        outside = Outside(_clock, os.urandom, self._connect, unused, _later, unused)
        self._attempts: list[Attempt] = []
        self.pooler = Pooler(config, cast(Log, Quiet()), outside)
        self.context = LoginContext(
            config=lambda: config,
            random=lambda size: b"r" * size,  # so that a login can be sent again
            connection_count=lambda: 0,
            own_uid=0,
            tls_mode=lambda: SslMode.DISABLE,
            os_user=lambda uid: None,
            mock_key=bytes(32),
        )
        self.servers = self._begin(servers)
        self.lists = self.pooler.pools[PoolKey(DATABASE, USER)].pool.lists

    def enter(
        self, credentials: Credentials | None = None, scram_keys: ScramKeys | None = None
    ) -> Any:
        """A client that has authenticated: its relay."""
        info = ClientInfo(next(self.pooler.ids), DATABASE, USER, Ends(), {})
        credentials = credentials or Credentials(USER)
        return self.pooler.enter(Sink(), info, credentials, scram_keys, long_key=False)

    def log_in(self, *packets: bytes) -> Any:
        """A client that sends these, one after the other: its relay."""
        login = ClientLogin(self.context, cast(Any, Side()))
        steps: list[LoginStep] = []
        for packet in packets:
            steps = login.feed(packet)
        step = steps[-1]
        assert isinstance(step, Enter), steps
        return self.enter(step.credentials, step.scram_keys)

    def _begin(self, count: int) -> list[Any]:
        """As many servers have been connected because so many clients wanted one; these leave."""
        clients, servers = [], []
        for _ in range(count):
            client = self.enter()
            client.data_received(QUERY)
            servers.append(self._serve(self._attempts.pop()))
            clients.append(client)
        for server in servers:
            server.data_received(ANSWERED)
        for client in clients:
            client.data_received(build.build_terminate())
        return servers

    def _serve(self, attempt: Attempt) -> Any:
        info = ServerInfo(next(self.pooler.ids), DATABASE, USER, Ends())
        server = self.pooler.connects.on_connected(attempt, Sink(), info, REPORTED)
        self.pooler.connects.admit(server)
        return server

    def _connect(self, control: Any, client: ClientInfo | None) -> Attempt:
        self._attempts.append(Attempt(control))
        return self._attempts[-1]


def extended(statement: str = "") -> bytes:
    """Bind, Describe, Execute, Sync."""
    bind = build.build_bind("", statement, [b"4711"])
    describe = build.build_describe(codes.KIND_PORTAL, "")
    return bind + describe + build.build_execute() + build.build_sync()


def parse(statement: str = "") -> bytes:
    """Parse alone."""
    return build.build_parse(statement, "SELECT abalance FROM pgbench_accounts WHERE aid = $1;")


def _clock() -> float:
    return 1000.0


def _later(seconds: float, call: object) -> None: ...
