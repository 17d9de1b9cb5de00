"""What SHOW tells: rows read off the pooler at the moment they are asked for.

Points in time are kept on the monotonic clock and shown on the wall clock, in the local zone, as
PgBouncer shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pgmux.config import Database, LoadBalanceHosts
from pgmux.config.model import ADMIN_DATABASE
from pgmux.daemon import activity
from pgmux.daemon.connections import CONSOLE_POOL, Connections
from pgmux.daemon.hosts import host_rows
from pgmux.daemon.readiness import Readiness
from pgmux.daemon.stats import Stats
from pgmux.daemon.waiters import waiter_rows
from pgmux.daemon.web_process import WebProcess
from pgmux.metrics.snapshot import (
    AppRow,
    ConnectionRow,
    ConnectRow,
    DatabaseRow,
    DnsCache,
    DnsHostRow,
    DnsZoneRow,
    ErrorRow,
    HistogramRow,
    HostRow,
    ListsRow,
    MemRow,
    PeerPoolRow,
    PeerRow,
    PoolRow,
    ReadinessRow,
    SocketRow,
    StatsRow,
    UserRow,
    WaiterRow,
    WebRow,
)
from pgmux.net.console_connection import Consoles
from pgmux.net.door import Door
from pgmux.net.rows import wall_time
from pgmux.pool import states
from pgmux.session._relay_cy import Relay, ServerRelay
from pgmux.session.control import PoolControl
from pgmux.session.database import DatabaseState
from pgmux.session.host_limits import HostLimits
from pgmux.session.peers import PeerPool
from pgmux.session.pooler import Pooler


class DaemonSnapshot:
    """`metrics.snapshot.Snapshot` of a running pooler."""

    def __init__(
        self,
        pooler: Pooler,
        door: Door,
        consoles: Consoles,
        dns: DnsCache,
        web: WebProcess,
        readiness: Readiness,
        host_limits: HostLimits,
    ) -> None:
        self._dns = dns
        self._web = web
        self._readiness = readiness
        self._host_limits = host_limits
        self._pooler = pooler
        self._door = door
        self._consoles = consoles
        self._connections = Connections(pooler, door, consoles)
        self.counted = Stats(pooler, consoles)

    # ---- SHOW DATABASES, POOLS, USERS, LISTS

    def databases(self) -> Iterator[DatabaseRow]:
        """By name; the console's own is one of them."""
        states = dict(self._pooler.databases)
        for name in sorted([*states, ADMIN_DATABASE]):
            is_console = name == ADMIN_DATABASE
            yield self._console_database() if is_console else self._database(states[name])

    def _console_database(self) -> DatabaseRow:
        """What is set for all databases is shown here too, though nothing here heeds it."""
        settings, quota = self._pooler.config.settings, self._pooler.quotas.console
        return DatabaseRow(
            name=ADMIN_DATABASE,
            host=None,
            port=settings.listen_port,
            database=ADMIN_DATABASE,
            force_user=ADMIN_DATABASE,
            pool_size=2,
            min_pool_size=0,
            reserve_pool_size=0,
            server_lifetime=settings.server_lifetime,
            pool_mode="statement",
            load_balance_hosts=None,
            max_connections=settings.max_db_connections,
            current_connections=0,
            max_client_connections=quota.max_clients,
            current_client_connections=quota.client_count,
            paused=False,
            disabled=False,
        )

    def _database(self, state: DatabaseState) -> DatabaseRow:
        config, database = self._pooler.config, state.config
        return DatabaseRow(
            name=state.name,
            host=database.host,
            port=database.port,
            database=database.dbname,
            force_user=database.user,
            pool_size=config.pool_size(database, database.user),
            min_pool_size=config.min_pool_size(database),
            reserve_pool_size=config.reserve_pool_size(database, database.user),
            server_lifetime=config.server_lifetime(database),
            pool_mode=database.pool_mode,
            load_balance_hosts=_balance(database),
            max_connections=config.max_db_connections(database),
            current_connections=state.quota.server_count,
            max_client_connections=config.max_db_client_connections(database),
            current_client_connections=state.quota.client_count,
            paused=state.paused,
            disabled=state.disabled,
        )

    def pools(self) -> Iterator[PoolRow]:
        """By database and user; the console's own is one of them."""
        controls = dict(self._pooler.pools)
        for key in sorted([*controls, CONSOLE_POOL]):
            control = controls.get(key)
            yield (
                _console_pool(len(self._consoles.open)) if control is None else self._pool(control)
            )

    def _pool(self, control: PoolControl) -> PoolRow:
        pool, lists = control.pool, control.pool.lists
        waiting = lists.waiting_clients()
        now = self._pooler.clock()
        cancels = sum(server.owner.cancels for server in lists.all_servers())
        database = self._pooler.databases.get(pool.key.database)  # none: dropped meanwhile
        return PoolRow(
            database=pool.key.database,
            user=pool.key.user,
            cl_active=sum(not client.owner.is_lookup for client in lists.active_clients()),
            cl_waiting=len(waiting),
            cl_active_cancel_req=cancels,
            cl_waiting_cancel_req=0,
            sv_active=lists.server_count(states.SV_ACTIVE),
            sv_active_cancel=cancels,
            sv_being_canceled=lists.server_count(states.SV_BEING_CANCELED),
            sv_idle=lists.server_count(states.SV_IDLE),
            sv_used=lists.server_count(states.SV_USED),
            sv_tested=lists.server_count(states.SV_TESTED),
            sv_login=pool.logins + pool.dedicated_logins + lists.server_count(states.SV_LOGIN),
            maxwait=now - min((client.wait_start for client in waiting), default=now),
            pool_mode=pool.limits.pool_mode,
            load_balance_hosts=None if database is None else _balance(database.config),
        )

    def users(self) -> Iterator[UserRow]:
        """Everybody whose name is known: from the files, or from a pool."""
        return map(self._user, sorted(self._user_names()))

    def _user_names(self) -> set[str]:
        config = self._pooler.config
        databases = self._pooler.databases.values()
        forced = (state.config.user for state in databases if state.config.user is not None)
        pools = (key.user for key in self._pooler.pools)
        return {ADMIN_DATABASE, *config.userlist, *config.users, *pools, *forced}

    def _user(self, name: str) -> UserRow:
        config = self._pooler.config
        user = config.user(name)
        quota = self._pooler.quotas.of_user(name)
        return UserRow(
            name=name,
            pool_size=user.pool_size,
            reserve_pool_size=user.reserve_pool_size,
            pool_mode=user.pool_mode,
            max_user_connections=config.max_user_connections(name),
            current_connections=quota.server_count,
            max_user_client_connections=config.max_user_client_connections(name),
            current_client_connections=quota.client_count,
        )

    def lists(self) -> ListsRow:
        """SHOW LISTS."""
        pooler = self._pooler
        return ListsRow(
            databases=len(pooler.databases) + 1,
            users=len(self._user_names()),
            peers=len(pooler.config.peers),
            pools=len(pooler.pools) + 1,
            peer_pools=len(pooler.peers.pools),
            free_clients=0,
            used_clients=pooler.client_count + len(self._consoles.open) + len(self._door.logins),
            login_clients=len(self._door.logins),
            free_servers=0,
            used_servers=sum(c.pool.server_count() for c in pooler.pools.values()),
            dns_names=len(self._dns.entries()),
            dns_zones=len(self._dns.zones()),
            dns_queries=self._dns.query_count,
            dns_pending=0,
        )

    def dns_hosts(self) -> Sequence[DnsHostRow]:
        """What the resolver remembers."""
        return self._dns.entries()

    def dns_zones(self) -> Sequence[DnsZoneRow]:
        """What the resolver remembers."""
        return self._dns.zones()

    # ---- SHOW CLIENTS, SERVERS, SOCKETS

    def clients(self) -> Iterable[ConnectionRow]:
        """Consoles are clients too."""
        return self._connections.clients()

    def servers(self) -> Iterable[ConnectionRow]:
        """Those in the making included."""
        return self._connections.servers()

    def sockets(self) -> Iterable[SocketRow]:
        """Clients and servers, logins under way included."""
        return self._connections.sockets()

    # ---- SHOW ERRORS, CONNECTS, WAITERS

    def errors(self) -> Iterator[ErrorRow | None]:
        """By database, source, SQLSTATE and text."""
        for name, tally in list(self._pooler.tallies.items()):
            yield None
            now = self._pooler.clock()
            for key, found in sorted(tally.errors.items()):
                yield ErrorRow(name, *key, found.count, wall_time(now - found.last_at))

    def connects(self) -> Iterator[ConnectRow | None]:
        """In the order of the columns."""
        logins = self.counted.login_counts()
        for name, tally in list(self._pooler.tallies.items()):
            yield None
            for event in sorted(tally.events(logins.get(name, 0))):
                yield ConnectRow(name, *event)

    def waiters(self) -> Iterable[WaiterRow]:
        """Who waits, and who holds what they wait for."""
        return waiter_rows(self._pooler)

    # ---- SHOW PEERS, PEER_POOLS, MEM

    def peers(self) -> Sequence[PeerRow]:
        """By their ids."""
        default = self._pooler.config.settings.default_pool_size
        return [
            PeerRow(peer.id, peer.host, peer.port, _or(peer.pool_size, default))
            for _, peer in sorted(self._pooler.config.peers.items())
        ]

    def peer_pools(self) -> Sequence[PeerPoolRow]:
        """Of peers that a cancel request has been for, by their ids."""
        return [
            _peer_pool(peer_id, pool) for peer_id, pool in sorted(self._pooler.peers.pools.items())
        ]

    def mem(self) -> Sequence[MemRow]:
        """How many there are of what PgBouncer allocates from caches of these names."""
        pooler, lists = self._pooler, self.lists()
        pools = [control.pool.lists for control in pooler.pools.values()]
        servers: list[ServerRelay] = [s for pool in pools for s in pool.all_servers()]
        relays: list[Relay] = [c for p in pools for c in p.active_clients() + p.waiting_clients()]
        relays += servers
        counts = {
            "user_cache": lists.users,
            "credentials_cache": len(pooler.logins),
            "db_cache": lists.databases,
            "peer_cache": lists.peers,
            "peer_pool_cache": lists.peer_pools,
            "pool_cache": lists.pools,
            "outstanding_request_cache": sum(server.outstanding_count for server in servers),
            "server_cache": lists.used_servers,
            "client_cache": lists.used_clients,
            "iobuf_cache": sum(map(_holds_bytes, relays)),
            "var_list_cache": len({id(relay.vars) for relay in relays}),
            "server_prepared_statement_cache": sum(server.prepared_count for server in servers),
        }
        return [MemRow(name, count) for name, count in counts.items()]

    # ---- SHOW STATS, APPS, HISTOGRAMS

    def stats(self) -> Iterator[StatsRow]:
        """By database."""
        return self.counted.rows()

    def averages(self) -> Iterator[StatsRow]:
        """Row by row of what `stats` returns."""
        return self.counted.averages()

    def overall(self) -> tuple[StatsRow, StatsRow]:
        """All databases together: totals, averages."""
        return self.counted.overall()

    def apps(self) -> Iterable[AppRow | None]:
        """Pool by pool."""
        return activity.app_rows(self._pooler)

    def histograms(self) -> Iterable[HistogramRow]:
        """Pool by pool."""
        return activity.histogram_rows(self._pooler)

    # ---- SHOW READINESS, HOSTS, WEB

    def readiness(self) -> Iterator[ReadinessRow]:
        """The process, its configuration, each database."""
        return self._readiness.rows()

    def hosts(self) -> Iterator[HostRow | None]:
        """By address."""
        return host_rows(self._pooler, self._host_limits)

    def web(self) -> Sequence[WebRow]:
        """The web process."""
        return [self._web.row()]


def _holds_bytes(relay: Relay) -> bool:
    return bool(relay.kept_len or relay.transport.get_write_buffer_size())


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _peer_pool(peer_id: int, pool: PeerPool) -> PeerPoolRow:
    """A request is active once its peer has it; each has a connection of its own."""
    sent, running = pool.sent_count(), len(pool.running)
    return PeerPoolRow(
        peer_id=peer_id,
        cl_active_cancel_req=sent,
        cl_waiting_cancel_req=len(pool.waiting) + running - sent,
        sv_active_cancel=sent,
        sv_login=running - sent,
    )


def _balance(database: Database) -> LoadBalanceHosts | None:
    return database.load_balance_hosts if len(database.hosts) > 1 else None


def _console_pool(clients: int) -> PoolRow:
    return PoolRow(
        database=ADMIN_DATABASE,
        user=ADMIN_DATABASE,
        cl_active=clients,
        cl_waiting=0,
        cl_active_cancel_req=0,
        cl_waiting_cancel_req=0,
        sv_active=0,
        sv_active_cancel=0,
        sv_being_canceled=0,
        sv_idle=0,
        sv_used=0,
        sv_tested=0,
        sv_login=0,
        maxwait=0.0,
        pool_mode="statement",
        load_balance_hosts=None,
    )
