"""HOT: how a client comes in where others like it have come in before, and how one leaves that says
goodbye. Where clients come for one transaction, this is most of what they cost.

`Pooler.enter` and `PoolControl.close_client` are for everybody. Here is what is left of them where
nothing is to be asked, told apart or decided; it is found out first that this is so, and else
nothing has been done and the caller takes the ordinary way. `ClientInfo` is here as well, so that
its fields are C's for both.

Errors: none.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from pgmux.pool import states
from pgmux.session import startup_cache
from pgmux.session._relay_cy import ClientRelay
from pgmux.session.log import log_end
from pgmux.wire.build import (
    build_authentication_ok,
    build_backend_key_data,
    build_ready_for_query,
)
from pgmux.wire.replication import Replication

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmux import _cython as cython
    from pgmux.auth.tls_info import TlsInfo
    from pgmux.session.identity import Ends
    from pgmux.session.login_method import Way
    from pgmux.session.startup import Startup
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython

CL_ACTIVE = cython.declare(cython.int, states.CL_ACTIVE)
KEY = cython.declare(object, Struct("4s4s"))  # process id and key of protocol 3.0
KEY_LEN = cython.declare(cython.int, 8)
KEYS = cython.declare(cython.int, 256)  # that are drawn at a time
POSITIVE = cython.declare(bytes, bytes(byte & 0x7F for byte in range(256)))  # a process id's first
MAX_PACKETS = cython.declare(cython.int, startup_cache.MAX_PACKETS)

AUTHENTICATION_OK = cython.declare(bytes, build_authentication_ok())
KEY_HEAD = cython.declare(bytes, build_backend_key_data(0, bytes(4))[:5])
READY_FOR_QUERY = cython.declare(bytes, build_ready_for_query())
PLAIN = cython.declare(object, Replication.NONE)


@cython.cclass
class ClientInfo:
    """A logged-in client. `startup` are the parameters of its StartupMessage: those that follow it,
    or, with replication, all that its own server begins with.
    """

    id = cython.declare(object, visibility="public")
    database = cython.declare(str, visibility="public")
    user = cython.declare(str, visibility="public")
    addresses = cython.declare(object, visibility="public")  # `identity.Ends`
    startup = cython.declare(object, visibility="public")
    # `Vars` as `startup`, once its pool knows what the server tracks
    startup_vars = cython.declare(object, visibility="public")
    replication = cython.declare(object, visibility="public")
    tls = cython.declare(object, visibility="public")  # a TlsInfo or None
    cancel_pid = cython.declare(cython.longlong, visibility="public")
    cancel_key = cython.declare(bytes, visibility="public")
    is_lookup = cython.declare(cython.bint, visibility="public")  # a `LookupInfo`
    # it can take a long cancel key
    long_key = cython.declare(cython.bint, visibility="public")
    # it gets its server first, and is welcomed with that
    links_at_login = cython.declare(cython.bint, visibility="public")
    # and has been told so, before its welcome
    is_authenticated = cython.declare(cython.bint, visibility="public")
    welcomed = cython.declare(cython.bint, visibility="public")
    # and is to be told the values that it has got back
    has_reset = cython.declare(cython.bint, visibility="public")
    # start of the last wait that it was told of
    notified_wait = cython.declare(cython.double, visibility="public")
    # that it counts for: its database's, its user's
    quotas = cython.declare(tuple, visibility="public")

    def __init__(
        self, id_: int, database: str, user: str, addresses: Ends, startup: Mapping[str, str]
    ) -> None:
        self.id = id_
        self.database = database
        self.user = user
        self.addresses = addresses
        self.startup = startup
        self.startup_vars = self.tls = None
        self.replication = PLAIN
        self.cancel_pid = 0
        self.cancel_key = b""
        self.is_lookup = self.long_key = self.links_at_login = self.is_authenticated = False
        self.welcomed = self.has_reset = False
        self.notified_wait = 0.0
        self.quotas = ()


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
    entrances: dict[str, Any]  # of the database
    control: Any
    pool_key: Any
    lists: Any
    relay: Any
    space: Any
    version: Any  # of the space
    app: Any  # one whose clients come in here
    quotas: tuple[Any, Any]
    is_limited: cython.bint  # by one of its quotas
    startup: Any
    vars: Any
    welcome: bytes  # up to the process id
    known: Any  # the credentials and what follows from them for the servers, see `logins`
    known_user: Any
    known_login: Any

    def __init__(self, config: Any, database: Any, entrance: Any, startup: Any) -> None:
        self.config = config
        self.database = database
        self.entrance = entrance
        self.entrances = database.entrances
        self.control = entrance.control
        self.pool_key = self.control.pool.key
        self.lists = self.control.pool.lists
        self.relay = self.control.relay
        self.quotas = entrance.quotas
        self.is_limited = any(quota.max_clients > 0 for quota in self.quotas)
        self.known = entrance.known
        self.known_user = entrance.known[0].user
        self.known_login = entrance.known[2]
        self.startup = startup
        self.space = self.control.space
        self.version = self.space.version
        self.user = startup.user
        self.database_name = startup.database
        self.vars, statuses = self.space.greet(startup.parameters)
        self.welcome = AUTHENTICATION_OK + statuses + KEY_HEAD
        self.app = self.relay.unnamed


@cython.cclass
class Entries:
    """Finds them, and lets clients in by them.

    `max_client_conn` and `log_connections` are the settings under which one was last looked for.
    """

    max_client_conn = cython.declare(cython.longlong, visibility="readonly")
    log_connections = cython.declare(cython.bint, visibility="readonly")
    pooler: Any
    config: Any  # that the settings are of, and what is in `unasked`
    startups: Any
    unasked: dict[bytes, Entry]  # by startup packet
    logins: dict[Any, Any]  # the pooler's
    by_pid: dict[int, Any]  # the clients' cancel keys
    drawn: bytes  # keys to be given out
    drawn_at: cython.Py_ssize_t

    def __init__(self, pooler: Any, startups: startup_cache.StartupCache) -> None:
        self.pooler = pooler
        self.startups = startups
        self.logins = pooler.logins
        self.by_pid = pooler.cancel_keys.by_pid
        self.drawn = b""
        self.drawn_at = 0
        self._use_config(pooler.config)

    def find_unasked(self, packet: bytes) -> Entry | None:
        """Where a client comes in with that startup packet, if it isn't asked for anything; None:
        in the ordinary way.
        """
        config = self.pooler.config
        if config is not self.config:
            self._use_config(config)
        entry: Entry | None = self.unasked.get(packet)
        if entry is not None and self._is_valid(entry):
            return entry
        startup = self.startups.find(packet, config)
        if startup is None:
            return None
        way = startup.ways.get(None)
        if way is None or not way.steps or startup.negotiation:
            return None
        entry = self._find(startup, way)
        if entry is not None:
            if len(self.unasked) >= MAX_PACKETS:
                self.unasked.clear()
            self.unasked[packet] = entry
        return entry

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
        pid_bytes: bytes = b""
        key: bytes = b""
        pid: cython.longlong = 0
        while pid == 0 or pid in self.by_pid:
            pid_bytes, key = self._draw_key()
            pid = pid_bytes[0]
            pid = pid << 24 | pid_bytes[1] << 16 | pid_bytes[2] << 8 | pid_bytes[3]
        startup = entry.startup
        info = ClientInfo(id_, entry.database_name, entry.user, addresses, startup.parameters)
        info.startup_vars = entry.vars
        info.tls = tls
        info.quotas = entry.quotas
        info.cancel_pid = pid
        info.cancel_key = key
        info.welcomed = True
        client = ClientRelay(entry.relay, transport, info)
        client.vars = entry.vars
        client.connect_time = connect_time
        if not entry.app.is_known:
            entry.app = entry.control.find_app(client, entry.vars.get("application_name"))
        client.count_as(entry.app)
        entry.lists.add_client(client)
        self.by_pid[pid] = ((key, client),)
        for quota in entry.quotas:
            quota.client_count += 1
        self.pooler.client_count += 1
        entry.relay.counters.client_login_count += 1
        transport.write(b"".join((answer, entry.welcome, pid_bytes, key, READY_FOR_QUERY)))
        return client

    # ---- inside

    @cython.cfunc
    def _use_config(self, config: Any) -> None:
        self.config = config
        self.unasked = {}
        self.max_client_conn = config.settings.max_client_conn
        self.log_connections = config.settings.log_connections

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
        if (
            entry.config is not self.pooler.config
            or entry.database.disabled
            or entry.entrance.known is not entry.known
            or entry.entrances.get(entry.known_user) is not entry.entrance
            or self.logins.get(entry.pool_key) is not entry.known_login
            or entry.control.space is not entry.space
            or entry.space.version != entry.version
        ):
            return False
        if not entry.is_limited:
            return True
        database, user = entry.quotas
        return not (database.is_full_of_clients() or user.is_full_of_clients())

    @cython.cfunc
    def _draw_key(self) -> tuple[bytes, bytes]:
        """Process id and key, as the client is told them."""
        if self.drawn_at == len(self.drawn):
            random = bytearray(self.pooler.outside.random(KEYS * KEY_LEN))
            random[::KEY_LEN] = random[::KEY_LEN].translate(POSITIVE)
            self.drawn = bytes(random)
            self.drawn_at = 0
        key: tuple[bytes, bytes] = KEY.unpack_from(self.drawn, self.drawn_at)
        self.drawn_at += KEY_LEN
        return key


def leave(control: Any, client: Any, reason: str) -> bool:
    """End the connection of a client that has said goodbye between transactions; False, having done
    nothing, where more is to be done about it. `reason` is one of `session.reasons`.
    """
    info: ClientInfo = client.owner
    if (
        client.closed
        or client.linked_server is not None
        or client.state != CL_ACTIVE
        or info.replication is not PLAIN
        or info.is_lookup
    ):
        return False
    pooler, transport = control.pooler, client.transport
    client.closed = True
    control.tally.client_ends[reason] += 1
    if pooler.config.settings.log_disconnections:
        age: cython.double = pooler.clock() - client.connect_time
        log_end(pooler.log, control.name(client), reason, age)
    if transport.get_write_buffer_size() > 0:  # as `close_with`
        transport.abort()
    else:
        transport.close()
    control.pool.lists.remove_client(client)
    client.count_out()
    for quota in info.quotas:
        quota.client_count -= 1
    pooler.client_count -= 1
    by_pid: dict[int, Any] = pooler.cancel_keys.by_pid
    if len(by_pid.get(info.cancel_pid, ())) == 1:  # nobody else has that process id
        del by_pid[info.cancel_pid]
    else:
        pooler.cancel_keys.remove(info.cancel_pid, info.cancel_key)
    pooler.on_change()
    return True
