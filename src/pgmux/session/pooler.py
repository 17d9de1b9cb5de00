"""The pooler: databases, pools, clients and servers. One per process, no sockets.

What touches the outside is handed in as `Outside`: connecting to a server, sending a cancel
request, the clock, random bytes.
What an operator does to it is in `operator`, what is due in `maintenance`, connects under way in
`connects`.
Source: PgBouncer's objects.c in outline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from pgmux.auth.credentials import Credentials, ServerLogin
from pgmux.auth.scram import ScramKeys
from pgmux.config import Config, Database
from pgmux.errors import PoolerError
from pgmux.pool.limits import check_client
from pgmux.pool.pool import Pool, PoolKey, limits_of
from pgmux.pool.states import CL_WAITING, SV_BEING_CANCELED
from pgmux.session import database_ddl, dedicated, linking, logins, places
from pgmux.session._entry_cy import ClientInfo
from pgmux.session._relay_cy import ClientRelay, Counters, ServerRelay
from pgmux.session.apps import Apps
from pgmux.session.cancel import KEY_LEN, LONG_KEY_LEN, CancelKeys, build_key
from pgmux.session.connects import Attempt, Connects
from pgmux.session.control import PoolControl
from pgmux.session.database import DatabaseState, Entrance
from pgmux.session.identity import ServerInfo
from pgmux.session.log import Log, Name, log_end
from pgmux.session.peers import Forward, Peers
from pgmux.session.prepare import Statements
from pgmux.session.quotas import Quotas
from pgmux.session.reasons import CANCEL_REQUEST, LOGIN_FAILED
from pgmux.session.tally import Tallies
from pgmux.session.varcache import VarSpace, accepted
from pgmux.session.welcome import build_welcome

# Cancel requests on their way to one server; whoever holds a key could open any number otherwise.
MAX_CANCELS = 2
MAX_ENTRANCES = 1000  # of a database; with a forced user any number of clients' names share a pool


T = TypeVar("T")
OnCancelled = Callable[[str], None]


@dataclass(slots=True)
class Outside:
    """What the pooler asks of the process around it."""

    clock: Callable[[], float]
    random: Callable[[int], bytes]
    connect: Callable[[PoolControl, ClientInfo | None], Attempt]  # for that client alone, if any
    send_cancel: Callable[[ServerInfo, OnCancelled], Attempt]
    later: Callable[[float, Callable[[], None]], object]  # call it, so many seconds from now
    connect_to_peer: Callable[[Forward, OnCancelled], Attempt]


class Pooler:
    """See the module."""

    def __init__(self, config: Config, log: Log, outside: Outside) -> None:
        self.config = config
        self.log: Log = log
        self.outside = outside
        self.clock = outside.clock
        self.databases: dict[str, DatabaseState] = {}
        self.pools: dict[PoolKey, PoolControl] = {}
        self.logins: dict[PoolKey, ServerLogin] = {}
        self.connects = Connects(self)
        self.cancels: dict[Attempt, tuple[float, OnCancelled]] = {}
        self.cancel_keys: CancelKeys[ClientRelay] = CancelKeys()
        self.connect_to_peer = outside.connect_to_peer
        self.ids = count(1)
        self.peers = Peers(self)
        self.client_count = 0
        self.maintained_at = self.clock()
        self.quotas = Quotas(config)
        self.apps = Apps(config.pgmux.max_applications)
        self.tallies = Tallies()
        self.paused = False
        # a client or server has gone: somebody may wait for that
        self.on_change: Callable[[], None] = lambda: None
        self._statement_numbers = count(1)
        for name, database in config.databases.items():
            self.add_database(name, database, is_auto=False)

    # ---- databases and pools

    def add_database(self, name: str, database: Database, *, is_auto: bool) -> DatabaseState:
        statements = Statements(self._statement_numbers)
        quota = self.quotas.of_database(database)
        state = DatabaseState(name, database, statements, quota, is_auto=is_auto)
        self.databases[name] = state
        self.tallies.add(name)
        return state

    def forget_database(self, name: str) -> None:
        """A database whose pools have been dropped is no more; what it has counted is nobody's."""
        counters = self.databases.pop(name).counters
        self.tallies.drop(name, 0 if counters is None else counters.client_login_count)

    def find_database(self, name: str) -> DatabaseState | None:
        """The database of that name; one that only `*` serves is registered at its first use."""
        state = self.databases.get(name)
        if state is not None:
            return state
        database = self.config.find_database(name)
        if database is None:
            return None
        text = f"registered new auto-database: {name}"
        self.log.log(text, limit="registered new auto-database")
        return self.add_database(name, database, is_auto=True)

    def find_pool(self, database: DatabaseState, user: str) -> PoolControl:
        """The pool of a database's clients of that name, made at its first use."""
        return self.open_pool(database, database.config.user or user)

    def open_pool(self, database: DatabaseState, user: str) -> PoolControl:
        """The pool of a database whose servers are logged in as `user`, made at its first use."""
        key = PoolKey(database.name, user)
        control = self.pools.get(key)
        if control is None:
            limits = limits_of(self.config, database.config, key.user)
            quotas = (database.quota, self.quotas.of_user(key.user))
            pool = Pool(key, limits, quotas)
            pool.lists.held = self.paused or database.paused
            control = self.pools[key] = PoolControl(self, pool, database.statements)
            if self.log.is_debug:
                self.log.debug(f"new pool: {key.database}/{key.user}")
        return control

    def drop_pool(self, control: PoolControl) -> None:
        """Forget a pool that has neither clients nor servers; what it has counted stays."""
        pool, database = control.pool, self.databases[control.pool.key.database]
        database.counters = database.counters or Counters()
        database.counters.add(control.relay.counters)
        for quota in pool.quotas:
            quota.contenders.discard(pool)
        control.apps.clear()
        database.entrances.clear()
        del self.pools[pool.key]

    def on_end(
        self, name: Name, reason: str, connect_time: float, *, limit: str = "", connect: str = ""
    ) -> None:
        """A connection of a client or server ends: count it, and say so. `connect`: how it came,
        where that hasn't been counted, as it never was let in.
        """
        tally = self.tallies.find(name.database)
        tally.on_end(name.side, reason)
        if connect:
            tally.on_connect(name.side, connect)
        if self.config.settings.log_disconnections:
            log_end(self.log, name, reason, self.clock() - connect_time, limit)

    def on_attempt_end(self, name: Name, reason: str, began_at: float) -> None:
        """A connection to a server, or to a peer for a cancel request, ends without a login."""
        is_cancel = name.peer_id > 0  # which anybody can cause
        limit, connect = ("closing because", CANCEL_REQUEST) if is_cancel else ("", LOGIN_FAILED)
        self.on_end(name, reason, began_at, limit=limit, connect=connect)

    def pools_of(self, database: str | None) -> Iterator[PoolControl]:
        """The pools of one database, or all."""
        return (
            c for k, c in list(self.pools.items()) if database is None or k.database == database
        )

    # ---- clients

    def enter(
        self,
        transport: Any,
        info: ClientInfo,
        credentials: Credentials,
        scram_keys: ScramKeys | None,
        *,
        long_key: bool,
    ) -> ClientRelay:
        """Let a client in that has authenticated: it is welcomed at once, or when the pool's first
        server has logged in, or when it has its own server.

        Raises: PoolerError for a database that does not exist, is disabled or, like its user, has
        as many clients as it may.
        """
        entrance = self._find_entrance(info.database, credentials.user)
        logins.on_client(self, entrance, credentials, scram_keys)
        control = entrance.control
        relay = control.dedicated_relay() if info.replication else control.relay
        client = ClientRelay(relay, transport, info)
        client.count_as(control.find_app(client, info.startup.get("application_name")))
        info.long_key = long_key
        control.pool.lists.add_client(client)
        self.client_count += 1
        relay.counters.client_login_count += 1
        info.quotas = self.quotas.enter(*entrance.quotas)
        if control.pool.limits.links_at_login or info.replication:
            info.links_at_login = True
            wait = dedicated.enter if info.replication else linking.enter
            wait(self, control, client)
            return client
        self._give_key(client)
        if control.space is None:
            client.hold()
            client.wait_start = self.clock()
            control.has_newcomers = True
            control.pool.lists.wait(client)
            control.on_client_waits(client)
        else:
            self.welcome(control, client)
        return client

    def _find_entrance(self, name: str, user: str) -> Entrance:
        """Where a client of that database and name comes in. Raises: as `enter`."""
        database = self.databases.get(name) or self.find_database(name)
        if database is None:
            raise PoolerError(f"no such database: {name}")
        if database.disabled:
            raise PoolerError(f'database "{name}" is disabled')
        entrance = database.entrances.get(user)
        if entrance is not None:
            check_client(*entrance.quotas)
            return entrance
        quotas = self.quotas.check_client(database.quota, user)
        if len(database.entrances) >= MAX_ENTRANCES:
            database.entrances.clear()
        entrance = Entrance(self.find_pool(database, user), quotas)
        database.entrances[user] = entrance
        return entrance

    def give_key(
        self, keys: CancelKeys[T], client: T, *, long: bool, server_pid: int = 0
    ) -> tuple[int, bytes]:
        """A new process id and key for a client of any kind; among peers they are all short.

        `server_pid` is that of the server that the client has for good: but for peers, who have to
        be told whose client it is, it is the client's, too.
        """
        peer_id = self.config.peer_id
        length = LONG_KEY_LEN if long and not peer_id else KEY_LEN
        while True:
            pid, key = build_key(self.outside.random(4 + length), peer_id)
            if server_pid and not peer_id:
                pid = server_pid
            if keys.add(pid, key, client):
                return pid, key

    def _give_key(self, client: ClientRelay, server_pid: int = 0) -> None:
        info: ClientInfo = client.owner
        info.cancel_pid, info.cancel_key = self.give_key(
            self.cancel_keys, client, long=info.long_key, server_pid=server_pid
        )

    def welcome(self, control: PoolControl, client: ClientRelay) -> None:
        """Tell a client that it is logged in; it may send queries from now on."""
        info: ClientInfo = client.owner
        assert control.space is not None
        client.vars, statuses = control.space.greet(info.startup)
        info.startup_vars = client.vars
        self._greet(client, statuses)

    def welcome_linked(self, client: ClientRelay, server: ServerRelay) -> None:
        """The same for one that has its server, with what that says, and its process id."""
        client.owner.startup_vars = client.vars
        self._give_key(client, server.owner.cancel_pid)
        self._greet(client, linking.statuses(server))

    def _greet(self, client: ClientRelay, statuses: bytes) -> None:
        info: ClientInfo = client.owner
        info.welcomed = True
        notice = self.config.settings.login_notify_message
        key = (info.cancel_pid, info.cancel_key)
        welcome = build_welcome(statuses, key, notice, is_authenticated=info.is_authenticated)
        client.transport.write(welcome)

    def on_client_gone(self, client: ClientRelay) -> None:
        """A client has left its pool."""
        if client.owner.replication:
            dedicated.leave(self, client)
        self.client_count -= 1
        self.quotas.leave(*client.owner.quotas)
        self.cancel_keys.remove(client.owner.cancel_pid, client.owner.cancel_key)
        self.on_change()

    # ---- servers

    def launch(self, control: PoolControl) -> None:
        """Get servers for the pool's queue."""
        places.launch(self, control)

    def launch_all(self) -> None:
        """The same for all pools: there may be more places than there were."""
        places.launch_all(self)

    def accepted_parameters(self, control: PoolControl) -> tuple[str, ...]:
        """Startup parameters that logins take, whether or not this pool's server reports them."""
        config, database = self.config, self.databases[control.pool.key.database].config
        extra = config.settings.track_extra_parameters
        return tuple(accepted(*extra, *config.startup_parameters(database)).values())

    def _follow_accepted(self, control: PoolControl) -> None:
        """After a RELOAD: what logins take from now on is set on the servers that are there, too.

        What they take no more stays tracked: servers may carry it.
        """
        old, names = control.space, self.accepted_parameters(control)
        if old is None or old.follows(names):
            return
        control.space = VarSpace(old.reported, (*old.unreported, *names))
        for server in control.pool.lists.all_servers():
            if server.vars.space is old:
                server.vars = control.space.adopt(server.vars)

    def server_login(self, control: PoolControl) -> ServerLogin:
        """What a connect of this pool logs in with."""
        return logins.find(self, control)

    def use_config(self, config: Config) -> None:
        """Go by these settings from now on; databases are those that are there. `launch_all` when
        all is in order.
        """
        self.config = config
        for database in self.databases.values():
            database.entrances.clear()
        self.quotas.use_config(config, self.databases)
        self.apps.use_limit(config.pgmux.max_applications)
        self.peers.use_config()
        for key, control in self.pools.items():
            control.pool.limits = limits_of(config, self.databases[key.database].config, key.user)
            control.apply_limits()
            self._follow_accepted(control)

    def on_server_gone(self, control: PoolControl) -> None:
        """A server has left its pool; its place may be wanted."""
        control.pool.on_server_gone()
        places.on_place_free(self, control)
        self.launch(control)
        self.on_change()

    def on_server_idle(self, control: PoolControl) -> None:
        """A server of this pool idles while other pools lack one."""
        places.on_server_idle(self, control)

    def on_database_ddl(self, control: PoolControl, statement: str) -> None:
        """A client is about to send this, for which a database may have to be left alone."""
        database_ddl.free_database(self, control, statement)

    # ---- cancel requests

    def cancel(self, pid: int, key: bytes, on_done: OnCancelled) -> Forward | None:
        """Do what a CancelRequest asks for; returns it where it is passed on to a peer. `on_done`
        is called with why its connection closes: at once, or when the server has stopped the query.
        Till then it stays open, as with PostgreSQL: what its client sends next must not be hit.
        """
        client = self.cancel_keys.find(pid, key, passed_on=self.config.peer_id > 0)
        if client is not None:
            self._cancel_client(client, on_done)
        elif self.peers.has_client(pid):
            return self.peers.forward(pid, key, on_done)
        else:
            on_done("failed cancel request")
        return None

    def _cancel_client(self, client: ClientRelay, on_done: OnCancelled) -> None:
        control: PoolControl = client.pool_relay.control
        server = client.linked_server
        if client.state == CL_WAITING:
            on_done(control.cancel_waiting(client))
        elif server is None or server.ready or server.owner.setting:
            on_done("cancel request for idle client")
        elif server.owner.cancels >= MAX_CANCELS:
            on_done("cancel request already on its way")
        else:
            self.cancel_query(control, server, on_done)

    def cancel_query(self, control: PoolControl, server: ServerRelay, on_done: OnCancelled) -> None:
        """Have the server stop what it works on."""
        info: ServerInfo = server.owner
        info.cancels += 1
        control.refresh_special(server)

        def done(reason: str) -> None:
            self.cancels.pop(attempt, None)
            self._cancel_done(control, server)
            on_done(reason)

        attempt = self.outside.send_cancel(info, done)
        self.cancels[attempt] = (self.clock(), done)

    def _cancel_done(self, control: PoolControl, server: ServerRelay) -> None:
        server.owner.cancels -= 1
        if not server.closed:
            control.refresh_special(server)
            if server.state == SV_BEING_CANCELED and server.owner.cancels == 0:
                control.on_release(server)
