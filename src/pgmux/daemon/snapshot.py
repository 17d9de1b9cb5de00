"""What SHOW tells: rows read off the pooler at the moment they are asked for.

Points in time are kept on the monotonic clock and shown on the wall clock, in the local zone, as
PgBouncer shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pgmux.config import Database, LoadBalanceHosts
from pgmux.config.model import ADMIN_DATABASE
from pgmux.metrics.averages import Averages
from pgmux.metrics.snapshot import (
    COUNTERS,
    ConnectionRow,
    DatabaseRow,
    DnsCache,
    DnsHostRow,
    DnsZoneRow,
    ListsRow,
    PoolRow,
    StatsRow,
    UserRow,
    sum_stats,
)
from pgmux.net.client_connection import Door
from pgmux.net.console_connection import Consoles, wall_time
from pgmux.pool import states
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.control import PoolControl
from pgmux.session.pooler import DatabaseState, Pooler

_CONSOLE_ROW = DatabaseRow(
    name=ADMIN_DATABASE,
    host=None,
    port=0,
    database=ADMIN_DATABASE,
    force_user=ADMIN_DATABASE,
    pool_size=2,
    min_pool_size=0,
    reserve_pool_size=0,
    server_lifetime=0.0,
    pool_mode="statement",
    load_balance_hosts=None,
    max_connections=0,
    current_connections=0,
    max_client_connections=0,
    current_client_connections=0,
    paused=False,
    disabled=False,
)


class NoDnsCache:
    """`metrics.snapshot.DnsCache` where names aren't remembered."""

    query_count = 0

    def entries(self) -> Sequence[DnsHostRow]:
        """None."""
        return ()

    def zones(self) -> Sequence[DnsZoneRow]:
        """None."""
        return ()


class DaemonSnapshot:
    """`metrics.snapshot.Snapshot` of a running pooler."""

    def __init__(self, pooler: Pooler, door: Door, consoles: Consoles, dns: DnsCache) -> None:
        self._dns = dns
        self._pooler = pooler
        self._door = door
        self._consoles = consoles
        self.averaging = Averages(pooler.clock())

    # ---- SHOW DATABASES, POOLS, USERS, LISTS

    def databases(self) -> Sequence[DatabaseRow]:
        """By name; the console's own is one of them."""
        rows = [self._database(state) for state in self._pooler.databases.values()]
        port = self._pooler.config.settings.listen_port
        clients = len(self._consoles.open)
        rows.append(replace(_CONSOLE_ROW, port=port, current_client_connections=clients))
        return sorted(rows, key=lambda row: row.name)

    def _database(self, state: DatabaseState) -> DatabaseRow:
        config, database = self._pooler.config, state.config
        pools = list(self._pooler.pools_of(state.name))
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
            current_connections=sum(c.pool.server_count() for c in pools),
            max_client_connections=config.max_db_client_connections(database),
            current_client_connections=sum(c.pool.lists.client_count() for c in pools),
            paused=state.paused or self._pooler.paused,
            disabled=state.disabled,
        )

    def pools(self) -> Sequence[PoolRow]:
        """By database and user; the console's own is one of them."""
        rows = [self._pool(control) for control in self._pooler.pools.values()]
        rows.append(_console_pool(len(self._consoles.open)))
        return sorted(rows, key=lambda row: (row.database, row.user))

    def _pool(self, control: PoolControl) -> PoolRow:
        pool, lists = control.pool, control.pool.lists
        waiting = lists.waiting_clients()
        now = self._pooler.clock()
        database = self._pooler.databases[pool.key.database].config
        return PoolRow(
            database=pool.key.database,
            user=pool.key.user,
            cl_active=lists.client_count() - len(waiting),
            cl_waiting=len(waiting),
            cl_active_cancel_req=sum(s.owner.cancels for s in lists.all_servers()),
            cl_waiting_cancel_req=0,
            sv_active=lists.server_count(states.SV_ACTIVE),
            sv_active_cancel=0,
            sv_being_canceled=lists.server_count(states.SV_BEING_CANCELED),
            sv_idle=lists.server_count(states.SV_IDLE),
            sv_used=lists.server_count(states.SV_USED),
            sv_tested=lists.server_count(states.SV_TESTED),
            sv_login=pool.logins,
            maxwait=now - waiting[0].wait_start if waiting else 0.0,
            pool_mode=pool.limits.pool_mode,
            load_balance_hosts=_balance(database),
        )

    def users(self) -> Sequence[UserRow]:
        """Everybody in auth_file or [users]."""
        config = self._pooler.config
        names = sorted({*config.userlist, *config.users})
        clients = Counter(row.user for row in self.clients())
        return [self._user(name, clients[name]) for name in names]

    def _user(self, name: str, client_count: int) -> UserRow:
        config = self._pooler.config
        user = config.user(name)
        own = [c for key, c in self._pooler.pools.items() if key.user == name]
        return UserRow(
            name=name,
            pool_size=user.pool_size,
            reserve_pool_size=user.reserve_pool_size,
            pool_mode=user.pool_mode,
            max_user_connections=config.max_user_connections(name),
            current_connections=sum(c.pool.server_count() for c in own),
            max_user_client_connections=config.max_user_client_connections(name),
            current_client_connections=client_count,
        )

    def lists(self) -> ListsRow:
        """SHOW LISTS."""
        pooler = self._pooler
        return ListsRow(
            databases=len(pooler.databases) + 1,
            users=len({ADMIN_DATABASE, *pooler.config.userlist, *pooler.config.users}),
            peers=len(pooler.config.peers),
            pools=len(pooler.pools) + 1,
            peer_pools=0,
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

    # ---- SHOW CLIENTS, SERVERS

    def clients(self) -> Sequence[ConnectionRow]:
        """By pool, then by list; consoles are clients too."""
        rows = [
            self._client(control, client)
            for _, control in sorted(self._pooler.pools.items())
            for client in (
                *control.pool.lists.active_clients(),
                *control.pool.lists.waiting_clients(),
            )
        ]
        return [*rows, *self._consoles.rows()]

    def servers(self) -> Sequence[ConnectionRow]:
        """By pool, then by list."""
        return [
            self._server(server)
            for _, control in sorted(self._pooler.pools.items())
            for server in control.pool.lists.all_servers()
        ]

    def _client(self, control: PoolControl, client: ClientRelay) -> ConnectionRow:
        info, server = client.owner, client.linked_server
        waiting = client.state == states.CL_WAITING
        since = client.wait_start if waiting else client.query_start
        state = "waiting" if waiting else "idle" if server is None else "active"
        return self._row(
            "C",
            client,
            state=state,
            wait=self._pooler.clock() - since if since else 0.0,
            link=None if server is None else server.owner.id,
            close_needed=False,
            remote_pid=info.addresses.peer.pid,
            user=info.user,
        )

    def _server(self, server: ServerRelay) -> ConnectionRow:
        client = server.linked_client
        return self._row(
            "S",
            server,
            state=states.SERVER_STATES[server.state],
            wait=0.0,
            link=None if client is None else client.owner.id,
            close_needed=server.close_needed,
            remote_pid=server.owner.cancel_pid,
            user=server.owner.user,
        )

    def _row(
        self,
        kind: str,
        relay: ClientRelay | ServerRelay,
        *,
        state: str,
        wait: float,
        link: int | None,
        close_needed: bool,
        remote_pid: int,
        user: str,
    ) -> ConnectionRow:
        info = relay.owner
        peer, local = info.addresses.peer, info.addresses.local
        name = None if relay.vars is None else relay.vars.get("application_name")
        return ConnectionRow(
            type=kind,
            user=user,
            database=info.database,
            replication="none",
            state=state,
            addr=peer.host,
            port=peer.port,
            local_addr=local.host,
            local_port=local.port,
            connect_time=self._wall(relay.connect_time),
            request_time=self._wall(relay.request_time),
            wait=wait,
            close_needed=close_needed,
            ptr=info.id,
            link=link,
            remote_pid=remote_pid,
            tls="",
            application_name=name or "",
            prepared_statements=relay.prepared_count,
            id=info.id,
        )

    def _wall(self, at: float) -> str:
        return wall_time(self._pooler.clock() - at)

    # ---- SHOW STATS

    def stats(self) -> Sequence[StatsRow]:
        """By database; the console's own queries are one of them."""
        totals: dict[str, StatsRow] = {}
        for key, control in self._pooler.pools.items():
            counters = control.relay.counters
            row = StatsRow(key.database, **{name: getattr(counters, name) for name in COUNTERS})
            old = totals.get(key.database)
            totals[key.database] = row if old is None else _named(key.database, [old, row])
        totals[ADMIN_DATABASE] = self._consoles.stats()
        return [totals[name] for name in sorted(totals)]

    def averages(self) -> Sequence[StatsRow]:
        """Row by row of what `stats` returns."""
        return self.averaging.averages(self._pooler.clock(), self.stats())

    def overall(self) -> tuple[StatsRow, StatsRow]:
        """All databases together: totals, averages."""
        totals = self.stats()
        return sum_stats(totals), self.averaging.overall(self._pooler.clock(), totals)


def _named(database: str, rows: list[StatsRow]) -> StatsRow:
    total = sum_stats(rows)
    return StatsRow(database, **{name: getattr(total, name) for name in COUNTERS})


def _balance(database: Database) -> LoadBalanceHosts | None:
    return database.load_balance_hosts if len(database.hosts) > 1 else None


def _console_pool(clients: int) -> PoolRow:
    return PoolRow(
        ADMIN_DATABASE,
        ADMIN_DATABASE,
        clients,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0.0,
        "statement",
        None,
    )
