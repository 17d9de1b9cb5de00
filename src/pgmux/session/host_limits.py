"""How many connections each server allows: it is asked now and then, by a server connection that is
idle.

The question is a client of its pool for a moment, as auth_query's are; it never waits, so it never
has a connection opened, and a pool whose servers are all busy is left alone. A host is where its
servers are connected to, whatever names lead there.

Source: PostgreSQL's max_connections, superuser_reserved_connections and (16 and later)
reserved_connections. Errors: none; who doesn't answer is asked again next time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pgmux.errors import PgmuxError
from pgmux.pool.states import SV_IDLE
from pgmux.session._relay_cy import ServerRelay
from pgmux.session.control import PoolControl
from pgmux.session.identity import QuestionInfo
from pgmux.session.own_client import OwnClient
from pgmux.session.pooler import Pooler
from pgmux.session.turns import in_turns
from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader

QUERY = (
    "SELECT pg_catalog.current_setting('max_connections', true),"
    " pg_catalog.current_setting('superuser_reserved_connections', true),"
    " pg_catalog.current_setting('reserved_connections', true)"
)
APPLICATION = "host_limits"  # what SHOW APPS counts it as
LOOK_PERIOD = 5.0  # seconds from one look for servers to ask to the next
ASK_PERIOD = 600.0
PATIENCE = 5.0  # for an answer
FORGET_PERIOD = 3600.0  # from the last question to a host: addresses come and go
_MAX_MESSAGE_LEN = 4096
_ASK = (
    build.build_parse("", QUERY)
    + build.build_bind("", "", [])
    + build.build_execute()
    + build.build_sync()
)


Row = tuple[int, int, int]


class Host(NamedTuple):
    """A server's address, as in SHOW SERVERS."""

    host: str
    port: int


class Limits(NamedTuple):
    """What it has answered; None where it has not. `reserved` are not for everybody."""

    asked_at: float
    max_connections: int | None = None
    reserved: int | None = None


def host_of(server: ServerRelay) -> Host:
    """Where a server connection leads."""
    peer = server.owner.addresses.peer
    return Host(peer.host, peer.port)


class HostLimits:
    """Who has been asked, and what has come of it. `soon` calls in a turn of its own: an answer
    comes in the middle of a server's work.
    """

    def __init__(self, pooler: Pooler, soon: Callable[[Callable[[], None]], object]) -> None:
        self.pooler = pooler
        self.soon = soon
        self.found: dict[Host, Limits] = {}
        self._running: set[Question] = set()
        self._look_at = float("-inf")

    def maintain(self) -> None:
        """Ask where it is time; to be called some times a second."""
        now = self.pooler.clock()
        for question in list(self._running):
            if now - question.began_at > PATIENCE:
                question.give_up()
        if now >= self._look_at:
            self._look_at = now + LOOK_PERIOD
            self._forget(now - FORGET_PERIOD)
            in_turns(self.pooler.outside.later, list(self.pooler.pools.values()), self._consider)

    def _forget(self, before: float) -> None:
        for host in [host for host, found in self.found.items() if found.asked_at < before]:
            del self.found[host]

    def _consider(self, control: PoolControl) -> None:
        """Ask by a server of this pool, where that costs nobody anything."""
        lists = control.pool.lists
        if lists.held or lists.waiting_count() or not lists.server_count(SV_IDLE):
            return
        server = lists.servers(SV_IDLE)[-1]
        now = self.pooler.clock()
        asked = self.found.get(host_of(server))
        if asked is not None and now - asked.asked_at < ASK_PERIOD:
            return
        self.found[host_of(server)] = asked._replace(asked_at=now) if asked else Limits(now)
        question = Question(self, control, now)
        self._running.add(question)
        question.ask()

    def on_done(self, question: Question, host: Host | None, row: Row | None) -> None:
        """It has been answered, or won't be."""
        self._running.discard(question)
        if host is not None and row is not None:
            most, superusers, others = row
            self.found[host] = Limits(question.began_at, most, superusers + others)


class Question(OwnClient):
    """One question."""

    __slots__ = ("_host", "_limits", "_reader", "_row", "began_at")

    def __init__(self, limits: HostLimits, control: PoolControl, now: float) -> None:
        key = control.pool.key
        info = QuestionInfo(next(limits.pooler.ids), key.database, key.user)
        super().__init__(control, info, limits.soon)
        self._limits = limits
        self._reader = MessageReader(_MAX_MESSAGE_LEN, "server")
        self._row: Row | None = None
        self._host: Host | None = None
        self.began_at = now

    def ask(self) -> None:
        """Take the idle server and ask."""
        self._ask(APPLICATION, _ASK)
        server = self.relay.linked_server
        if server is None:
            self._end()  # it was taken from under us: never wait
        else:
            self._host = host_of(server)

    def give_up(self) -> None:
        """No answer has come: have the server stop, and do without that connection."""
        if not self._is_over:
            self._stop_server(self._limits.pooler)
        self._end()

    # ---- as a transport

    def write(self, data: bytes) -> None:
        """From the server; or the pooler's last words."""
        if self._is_over:
            return
        try:
            for kind, body in self._reader.feed(data):
                self._on_message(kind, body)
        except PgmuxError:
            self._end()

    def close(self) -> None:
        """The pooler has closed the client, or its server is gone."""
        self._end()

    # ---- inside

    def _on_message(self, kind: int, body: bytes) -> None:
        if kind == codes.DATA_ROW:
            self._row = _read(parse.parse_data_row(body))
        elif kind == codes.READY_FOR_QUERY:
            self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._be_over()

    def _finished(self) -> None:
        self._limits.on_done(self, self._host, self._row)


def _read(row: tuple[bytes | None, ...]) -> Row | None:
    """None where that is no answer to the question: not everybody is PostgreSQL."""
    try:
        most, superusers, others = row
        return int(most or b""), int(superusers or b"0"), int(others or b"0")
    except ValueError:
        return None
