"""HOT: how a client comes in where others like it have come in before, and how one leaves that says
goodbye. Where clients come for one transaction, this is most of what they cost.

`Pooler.enter` and `PoolControl.close_client` are for everybody. Here is what is left of them where
nothing is to be asked, told apart or decided; it is found out first that this is so, and else
nothing has been done and the caller takes the ordinary way.

Errors: none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmux.pool import states
from pgmux.session._relay_cy import ClientRelay
from pgmux.session.farewell import close_with
from pgmux.session.identity import ClientInfo
from pgmux.wire.build import (
    build_authentication_ok,
    build_backend_key_data,
    build_ready_for_query,
)
from pgmux.wire.replication import Replication

if TYPE_CHECKING:
    from pgmux import _cython as cython
    from pgmux.auth.tls_info import TlsInfo
    from pgmux.session.identity import Ends
    from pgmux.session.login_method import Way
    from pgmux.session.startup import Startup
    from pgmux.session.startup_cache import StartupCache
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython

CL_ACTIVE = cython.declare(cython.int, states.CL_ACTIVE)
KEY_LEN = cython.declare(cython.int, 8)  # process id and key of protocol 3.0
KEYS = cython.declare(cython.int, 256)  # that are drawn at a time

AUTHENTICATION_OK = cython.declare(bytes, build_authentication_ok())
KEY_HEAD = cython.declare(bytes, build_backend_key_data(0, bytes(4))[:5])
READY_FOR_QUERY = cython.declare(bytes, build_ready_for_query())
PLAIN = cython.declare(object, Replication.NONE)


@cython.cclass
class Entry:
    """What clients with equal startup packets and the same credentials have in common, as long as
    all that it is made of is as it was.
    """

    user = cython.declare(str, visibility="public")
    database_name = cython.declare(str, visibility="public")
    config: Any
    database: Any
    entrance: Any
    control: Any
    space: Any
    version: Any  # of the space
    quotas: tuple[Any, Any]
    startup: Any
    vars: Any
    welcome: bytes  # up to the process id
    known: Any  # the credentials and what follows from them for the servers, see `logins`

    def __init__(self, config: Any, database: Any, entrance: Any, startup: Any) -> None:
        self.config = config
        self.database = database
        self.entrance = entrance
        self.control = entrance.control
        self.quotas = entrance.quotas
        self.known = entrance.known
        self.startup = startup
        self.space = self.control.space
        self.version = self.space.version
        self.user = startup.user
        self.database_name = startup.database
        self.vars, statuses = self.space.greet(startup.parameters)
        self.welcome = AUTHENTICATION_OK + statuses + KEY_HEAD


@cython.cclass
class Entries:
    """Finds them, and lets clients in by them."""

    pooler: Any
    startups: Any
    keys: list[bytes]  # to be given out

    def __init__(self, pooler: Any, startups: StartupCache) -> None:
        self.pooler = pooler
        self.startups = startups
        self.keys = []

    def find_unasked(self, packet: bytes) -> Entry | None:
        """Where a client comes in with that startup packet, if it isn't asked for anything; None:
        in the ordinary way.
        """
        startup = self.startups.find(packet, self.pooler.config)
        if startup is None:
            return None
        way = startup.ways.get(None)
        if way is None or not way.steps or startup.negotiation:
            return None
        return self._find(startup, way)

    def find_asked(self, packet: bytes) -> Startup | None:
        """The startup of a client with that packet, if it is asked for SCRAM as those were who have
        come in; None: in the ordinary way.
        """
        startup: Startup | None = self.startups.find(packet, self.pooler.config)
        if startup is None or startup.negotiation:
            return None
        way = startup.ways.get(None)
        return None if way is None or way.scram is None else startup

    def find(self, startup: Startup, way: Way, *, has_keys: bool) -> Entry | None:
        """Where a client comes in that has been let in that way, with SCRAM keys or without; None:
        in the ordinary way.
        """
        entry = self._find(startup, way)
        return None if entry is None or (has_keys and not entry.known[1]) else entry

    def let_in(
        self,
        entry: Entry,
        transport: Any,
        id_: int,
        addresses: Ends,
        tls: TlsInfo | None,
        connect_time: float,
        answer: bytes = b"",
    ) -> ClientRelay:
        """Let a client in, and welcome it; `answer` goes before that, in the same write."""
        startup, control, pooler = entry.startup, entry.control, self.pooler
        by_pid = pooler.cancel_keys.by_pid
        pid: cython.longlong = 0
        while pid == 0 or pid in by_pid:
            key = self._draw_key()
            pid = key[0] & 0x7F
            pid = pid << 24 | key[1] << 16 | key[2] << 8 | key[3]
        info = ClientInfo(id_, startup.database, startup.user, addresses, startup.parameters)
        info.startup_vars = entry.vars
        info.tls = tls
        info.quotas = entry.quotas
        info.cancel_pid = pid
        info.cancel_key = key[4:]
        info.welcomed = True
        relay = control.relay
        client = ClientRelay(relay, transport, info)
        client.vars = entry.vars
        client.connect_time = connect_time
        control.pool.lists.add_client(client)
        by_pid[pid] = ((info.cancel_key, client),)
        for quota in entry.quotas:
            quota.client_count += 1
        pooler.client_count += 1
        relay.counters.client_login_count += 1
        key_data = pid.to_bytes(4, "big") + info.cancel_key
        transport.write(answer + entry.welcome + key_data + READY_FOR_QUERY)
        return client

    # ---- inside

    @cython.cfunc
    def _find(self, startup: Any, way: Any) -> Entry | None:
        entry: Entry | None = way.entry
        if entry is not None and self._is_valid(entry):
            return entry
        way.entry = entry = self._make(startup, way)
        return entry if entry is not None and self._is_valid(entry) else None

    @cython.cfunc
    def _make(self, startup: Any, way: Any) -> Entry | None:
        """None where such clients don't come in here, or nobody has yet."""
        pooler = self.pooler
        config = pooler.config
        database = pooler.databases.get(startup.database)
        if database is None or startup.long_key or startup.replication is not PLAIN:
            return None
        entrance = database.entrances.get(way.found.user)
        if entrance is None or entrance.known is None or entrance.known[0] != way.found:
            return None
        if entrance.control.space is None or entrance.control.pool.limits.links_at_login:
            return None
        if config.peer_id or config.settings.login_notify_message:
            return None
        return Entry(config, database, entrance, startup)

    @cython.cfunc
    def _is_valid(self, entry: Entry) -> cython.bint:
        """Nothing has changed since, and there is room."""
        pooler = self.pooler
        entrance = entry.entrance
        if (
            entry.config is not pooler.config
            or entry.database.disabled
            or entry.database.entrances.get(entry.known[0].user) is not entrance
            or entrance.known is not entry.known
            or pooler.logins.get(entry.control.pool.key) is not entry.known[2]
            or entry.control.space is not entry.space
            or entry.space.version != entry.version
        ):
            return False
        database, user = entry.quotas
        return not (
            0 < database.max_clients <= database.client_count
            or 0 < user.max_clients <= user.client_count
        )

    @cython.cfunc
    def _draw_key(self) -> bytes:
        if not self.keys:
            drawn: bytes = self.pooler.outside.random(KEYS * KEY_LEN)
            self.keys = [drawn[at : at + KEY_LEN] for at in range(0, len(drawn), KEY_LEN)]
        return self.keys.pop()


def leave(control: Any, client: Any, reason: str) -> bool:
    """End the connection of a client that has said goodbye between transactions, or that has gone
    there; False, having done nothing, where more is to be done about it.
    """
    info = client.owner
    if (
        client.closed
        or client.linked_server is not None
        or client.state != CL_ACTIVE
        or info.replication is not PLAIN
        or info.is_lookup
    ):
        return False
    pooler = control.pooler
    client.closed = True
    if pooler.config.settings.log_disconnections:
        pooler.log_end(control.name(client), reason, client.connect_time)
    close_with(client.transport)
    control.pool.lists.remove_client(client)
    for quota in info.quotas:
        quota.client_count -= 1
    pooler.client_count -= 1
    pooler.cancel_keys.remove(info.cancel_pid, info.cancel_key)
    pooler.on_change()
    return True
