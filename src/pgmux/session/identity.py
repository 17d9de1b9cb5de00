"""Who a connection is: what logs and SHOW say of it, and what cancels it. One per connection, made
at its login.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pgmux.auth.tls_info import TlsInfo
from pgmux.session._entry_cy import ClientInfo
from pgmux.wire.replication import Replication

if TYPE_CHECKING:
    from pgmux.session._relay_cy import ClientRelay, ServerRelay
    from pgmux.session.varcache import Vars


class Side(Protocol):
    """One end of a connection; `str()` of it is as in PgBouncer's log (`127.0.0.1:6432`,
    `unix(4711):6432`).
    """

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def pid(self) -> int: ...


class Ends(Protocol):
    """Both ends of a connection, as `net.sockets` reads them off a socket."""

    @property
    def peer(self) -> Side: ...
    @property
    def local(self) -> Side: ...


@dataclass(frozen=True, slots=True)
class _Here:
    """Both ends of what never leaves the process."""

    host: str = ""
    port: int = 0
    pid: int = 0

    @property
    def peer(self) -> _Here:
        return self

    local = peer

    def __str__(self) -> str:
        return "auth_query"


class LookupInfo(ClientInfo):
    """A client of the pooler's own, that runs auth_query. It can't be cancelled, and is no client
    to who counts or lists clients.
    """

    __slots__ = ()

    def __init__(self, id_: int, database: str, user: str) -> None:
        super().__init__(id_, database, user, _Here(), {})
        self.is_lookup = True
        self.welcomed = True  # it waits for a server, not for parameters

    def vars_on(self, server: ServerRelay) -> Vars:
        """The parameters that its query runs with: the connection's own."""
        own: Vars = server.vars.space.for_lookup()
        return own


class QuestionInfo(LookupInfo):
    """The same for a question whose answer doesn't depend on parameters: it takes those that the
    server has.
    """

    __slots__ = ()

    def vars_on(self, server: ServerRelay) -> Vars:
        vars_: Vars = server.vars
        return vars_


class ServerInfo:
    """A logged-in server connection; with `replication` one client's own."""

    __slots__ = (
        "addresses",
        "cancel_key",
        "cancel_pid",
        "cancels",
        "database",
        "dedicated_to",
        "has_own_settings",
        "id",
        "opening",
        "own_settings",
        "replication",
        "reported",
        "resetting",
        "setting",
        "tls",
        "unless_set",
        "user",
    )

    def __init__(self, id_: int, database: str, user: str, addresses: Ends) -> None:
        self.id = id_
        self.database = database
        self.user = user
        self.addresses = addresses
        self.replication = Replication.NONE
        self.reported: Mapping[str, str] = {}  # its parameters at its login
        self.tls: TlsInfo | None = None
        self.dedicated_to: ClientRelay | None = None  # till they are linked
        self.opening: Any = None  # how TLS was begun with it (net's): its cancel requests do so
        self.cancel_pid = 0
        self.cancel_key = b""
        self.cancels = 0  # cancel requests on their way to it
        self.resetting = False  # runs server_reset_query
        self.own_settings: Mapping[str, str] = {}  # its client's, that are to be set
        self.unless_set: frozenset[str] = frozenset()  # to be set unless the client has since
        self.has_own_settings = False  # its client's, that no other is to find and nobody follows
        self.setting: Mapping[str, str | None] = {}  # parameters being set for its client
