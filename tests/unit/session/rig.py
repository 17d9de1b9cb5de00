"""A pooler without sockets: a clock that tests advance, transports that record, servers that tests
speak for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

from pgmux.auth.credentials import Credentials
from pgmux.auth.scram import ScramKeys
from pgmux.auth.secrets import parse_secret
from pgmux.config import Config, Database, PoolMode, Settings
from pgmux.pool.pool import Failure, PoolKey
from pgmux.session import operator
from pgmux.session._entry_cy import ClientInfo
from pgmux.session.control import PoolControl
from pgmux.session.identity import ServerInfo
from pgmux.session.log import NONE, Fields, Name
from pgmux.session.maintenance import maintain
from pgmux.session.peers import Forward
from pgmux.session.pooler import Outside, Pooler
from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader
from pgmux.wire.replication import Replication

REPORTED = {"server_version": "17.2", "TimeZone": "UTC", "application_name": ""}

Message = tuple[str, bytes]


@dataclass(frozen=True)
class FakeSide:
    host: str = "10.0.0.9"
    port: int = 4711
    pid: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class FakeEnds:
    peer: FakeSide = FakeSide()
    local: FakeSide = FakeSide()


class FakeTransport:
    """Keeps what is written; `is_reading` is what flow control has made of it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = False
        self.is_reading = True
        self.unsent = 0  # bytes that the peer has not taken

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert not self.is_closed, f"written after the end: {data!r}"
        self.written += data

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True

    def abort(self) -> None:
        self.close()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True


class End:
    """One connection as its peer sees it: `sends` bytes to the pooler, reads what came of it."""

    reads_from: str

    def __init__(self, relay: Any, transport: FakeTransport) -> None:
        self.relay = relay
        self.transport = transport

    def send(self, *messages: bytes) -> None:
        self.relay.data_received(b"".join(messages))

    def lose(self) -> None:
        """The connection breaks."""
        self.relay.connection_lost(None)

    def messages(self) -> list[Message]:
        """What has come since the last look."""
        reader = MessageReader(2**31, self.reads_from)
        found = [(chr(kind), body) for kind, body in reader.feed(bytes(self.transport.written))]
        assert reader.rest() == b""
        self.transport.written.clear()
        return found

    def kinds(self) -> str:
        """The types of what has come since the last look."""
        return "".join(kind for kind, _ in self.messages())

    @property
    def is_closed(self) -> bool:
        return self.transport.is_closed


class ClientEnd(End):
    reads_from = "server"

    def query(self, sql: str = "SELECT 1") -> None:
        self.send(build.build_query(sql))

    def error(self) -> tuple[str, str, str]:
        """Severity, SQLSTATE and text of the one ErrorResponse since the last look."""
        (body,) = [body for kind, body in self.messages() if kind == "E"]
        error = parse.parse_error_response(body)
        return error.severity, error.sqlstate, error.message

    def statuses(self) -> dict[str, str]:
        """ParameterStatus since the last look."""
        found = [
            parse.parse_parameter_status(body) for kind, body in self.messages() if kind == "S"
        ]
        return {status.name: status.value for status in found}


def bound(body: bytes) -> tuple[bytes | None, ...]:
    """The values of a Bind."""
    return parse.parse_bind(body).parameters


class ServerEnd(End):
    reads_from = "client"

    def answer(self, tag: str = "SELECT 1", status: int = codes.TRANSACTION_IDLE) -> None:
        """The answer to one simple query."""
        self.send(build.build_command_complete(tag), build.build_ready_for_query(status))

    def report(self, name: str, value: str) -> None:
        self.send(build.build_parameter_status(name, value))

    def fail(self, sqlstate: str = "22P02", message: str = "broken") -> None:
        """An error, without ReadyForQuery."""
        self.send(build.build_error_response("ERROR", sqlstate, message))

    def asked(self) -> list[str]:
        """Simple queries, and the text of each Parse, since the last look."""
        found = []
        for kind, body in self.messages():
            if kind == "Q":
                found.append(parse.parse_query(body).decode())
            elif kind == "P":
                found.append(parse.parse_parse(body).query.decode())
        return found

    def assigned(self) -> dict[str, str | None]:
        """The parameters that the pooler sets, since the last look."""
        found: dict[str, str | None] = {}
        for kind, body in self.messages():
            if kind == "B":
                texts = [v.decode() if v is not None else None for v in bound(body)]
                found |= {str(n): v for n, v in zip(texts[::2], texts[1::2], strict=True)}
        return found

    def accept(self, **reported: str) -> None:
        """The answer to the pooler's setting of parameters."""
        statuses = [build.build_parameter_status(*item) for item in reported.items()]
        done = build.build_command_complete("SELECT 1")
        prepared = build.build_parse_complete() + build.build_bind_complete()
        self.send(prepared, done, *statuses, build.build_ready_for_query())


@dataclass(eq=False)
class FakeAttempt:
    """A connect, or a cancel request, that is under way until the test says otherwise."""

    target: Any = None
    done: Callable[[], None] = lambda: None
    canceled: str | None = None
    client: ClientInfo | None = None  # whom alone it is for

    def cancel(self, reason: str) -> None:
        assert self.canceled is None
        self.canceled = reason


@dataclass
class FakeLog:
    lines: list[str] = field(default_factory=list)
    exceptions: list[BaseException] = field(default_factory=list)
    is_debug: bool = True
    is_noise: bool = False

    def error(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        self.lines.append(f"{about} {text}" if about else text)

    warning = log = error

    def debug(self, text: str, about: Name | None = None) -> None:
        pass

    def noise(self, text: str, about: Name | None = None) -> None:
        if self.is_noise:
            self.lines.append(text)

    def exception(self, text: str, error: BaseException, about: Name | None = None) -> None:
        self.error(text, about)
        self.exceptions.append(error)

    def is_flooded(self, kind: str) -> bool:
        return False


def configure(
    mode: PoolMode = PoolMode.TRANSACTION,
    database: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Config:
    """One database `app`; users bob and eve."""
    return Config(
        settings=Settings(pool_mode=mode, **settings),
        databases={"app": Database("app", "app", **(database or {}))},
        userlist={"bob": "pw", "eve": "pw"},
    )


def with_databases(*databases: Database, autodb: Database | None = None) -> Config:
    """These databases, transaction mode."""
    return replace(configure(), databases={db.name: db for db in databases}, autodb=autodb)


class Rig:
    """The pooler, and all that tests do to it from outside."""

    def __init__(self, config: Config | None = None) -> None:
        self.now = 1000.0
        self.log = FakeLog()
        self.connects: list[FakeAttempt] = []
        self.cancels: list[FakeAttempt] = []
        self.forwards: list[FakeAttempt] = []
        self._random = count(1)
        self.alarms: list[tuple[float, Callable[[], None]]] = []
        outside = Outside(
            self._clock,
            self._random_bytes,
            self._connect,
            self._send_cancel,
            self._later,
            self._connect_to_peer,
        )
        self.pooler = Pooler(config or configure(), self.log, outside)

    def _clock(self) -> float:
        return self.now

    def _random_bytes(self, size: int) -> bytes:
        return next(self._random).to_bytes(4, "big").ljust(size, b"k")

    def _connect(self, control: PoolControl, client: ClientInfo | None) -> FakeAttempt:
        self.connects.append(FakeAttempt(control, client=client))
        return self.connects[-1]

    def _send_cancel(self, info: ServerInfo, done: Callable[[str], None]) -> FakeAttempt:
        sent = partial(done, "successfully sent cancel request")
        self.cancels.append(FakeAttempt(info, sent))
        return self.cancels[-1]

    def _connect_to_peer(self, forward: Forward, done: Callable[[str], None]) -> FakeAttempt:
        self.forwards.append(FakeAttempt(forward, partial(done, "")))
        return self.forwards[-1]

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self.alarms.append((self.now + seconds, call))

    # ---- what the world does

    def pass_moment(self, seconds: float) -> None:
        """Too short for the janitor to come; what was to be called by then is."""
        self.now += seconds
        due = [alarm for alarm in self.alarms if alarm[0] <= self.now + 1e-9]
        self.alarms = [alarm for alarm in self.alarms if alarm not in due]
        for _, call in due:
            call()

    def pass_time(self, seconds: float, *, shutting_down: bool = False) -> None:
        """Then the janitor comes."""
        self.pass_moment(seconds)
        maintain(self.pooler, waiting_clients_end=shutting_down)

    def enter(
        self,
        startup: Mapping[str, str] | None = None,
        *,
        database: str = "app",
        user: str = "bob",
        secret: str | None = None,
        as_of: int = 0,
        scram_keys: ScramKeys | None = None,
        long_key: bool = False,
        replication: Replication = Replication.NONE,
    ) -> ClientEnd:
        """A client that has authenticated, with `secret` where it matters which that was."""
        transport = FakeTransport()
        info = ClientInfo(next(self.pooler.ids), database, user, FakeEnds(), startup or {})
        info.replication = replication
        credentials = Credentials(user, None if secret is None else parse_secret(secret), as_of)
        relay = self.pooler.enter(transport, info, credentials, scram_keys, long_key=long_key)
        return ClientEnd(relay, transport)

    def pending(self) -> list[FakeAttempt]:
        """The connects under way, oldest first."""
        return [a for a in self.connects if a in self.pooler.connects.attempts]

    def log_in(
        self, attempt: FakeAttempt | None = None, rest: bytes = b"", **reported: str
    ) -> ServerEnd:
        """A connect (the oldest) has logged in."""
        attempt = attempt or self.pending()[0]
        key = attempt.target.pool.key
        transport = FakeTransport()
        info = ServerInfo(next(self.pooler.ids), key.database, key.user, FakeEnds())
        relay = self.pooler.connects.on_connected(attempt, transport, info, REPORTED | reported)
        if rest:
            relay.data_received(rest)
        if not relay.closed:
            self.pooler.connects.admit(relay)
        return ServerEnd(relay, transport)

    def refuse(
        self,
        reason: str = "connect failed",
        sqlstate: str = "",
        message: str = "",
        *,
        from_server: bool = False,
    ) -> None:
        """The oldest connect fails; with an SQLSTATE, for a reason that lasts."""
        failure = Failure(reason, sqlstate, message, from_server)
        self.pooler.connects.on_failed(self.pending()[0], failure, transient=not sqlstate)

    def reload(self, **changes: Any) -> None:
        """RELOAD with settings (or `databases=`, `autodb=`, `userlist=`, `peers=`) that differ."""
        old = self.pooler.config
        names = {"databases", "autodb", "userlist", "peers"} & changes.keys()
        whole = {name: changes.pop(name) for name in names}
        operator.reload(
            self.pooler, replace(old, settings=replace(old.settings, **changes), **whole)
        )

    # ---- what tests look at

    def control(self, database: str = "app", user: str = "bob") -> PoolControl:
        return self.pooler.pools[PoolKey(database, user)]

    def servers(self, state: int, database: str = "app", user: str = "bob") -> list[Any]:
        return self.control(database, user).pool.lists.servers(state)


def linked(rig: Rig, startup: Mapping[str, str] | None = None) -> tuple[ClientEnd, ServerEnd]:
    """A welcomed client whose query a new server is working on; nothing of it is left to read."""
    client = rig.enter(startup)
    client.query()
    server = rig.log_in()
    client.messages()
    server.messages()
    assert client.relay.linked_server is server.relay
    return client, server


def idle(rig: Rig) -> tuple[ClientEnd, ServerEnd]:
    """A client between transactions, and an idle server."""
    client, server = linked(rig)
    server.answer()
    client.messages()
    server.messages()
    return client, server
