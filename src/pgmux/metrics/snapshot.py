"""What the console's SHOW tells, as values: one class per kind of row, made when it is asked for.

Fields are named as SHOW's columns, in Python's types: times are float seconds, flags bool, None is
NULL; where a column is split (`wait`, `wait_us`) there is one field. The text of a point in time
(`connect_time`) is made by the caller, for only it knows the local zone.
Source: PgBouncer's src/admin.c and src/stats.c (1.25.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """SHOW DATABASES. `host` is None for the Unix socket; `pool_mode` is None when it isn't set
    for the database; `load_balance_hosts` is None unless it has several hosts.
    """

    name: str
    host: str | None
    port: int
    database: str
    force_user: str | None
    pool_size: int
    min_pool_size: int
    reserve_pool_size: int
    server_lifetime: float
    pool_mode: str | None
    load_balance_hosts: str | None
    max_connections: int
    current_connections: int
    max_client_connections: int
    current_client_connections: int
    paused: bool
    disabled: bool


@dataclass(frozen=True, slots=True)
class PoolRow:
    """SHOW POOLS. `maxwait`: for how long the first waiting client has waited, 0 if none does."""

    database: str
    user: str
    cl_active: int
    cl_waiting: int
    cl_active_cancel_req: int
    cl_waiting_cancel_req: int
    sv_active: int
    sv_active_cancel: int
    sv_being_canceled: int
    sv_idle: int
    sv_used: int
    sv_tested: int
    sv_login: int
    maxwait: float
    pool_mode: str
    load_balance_hosts: str | None


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """SHOW CLIENTS and SHOW SERVERS.

    `type` is "C" or "S"; `state` an active client without a server is "idle"; `wait` is how long
    the current query has been running or waiting, 0 without one; `ptr` and `link` are unique
    numbers of this connection and the one it is linked to; `tls` is "" without TLS.
    """

    type: str
    user: str
    database: str
    replication: str
    state: str
    addr: str
    port: int
    local_addr: str
    local_port: int
    connect_time: str
    request_time: str
    wait: float
    close_needed: bool
    ptr: int
    link: int | None
    remote_pid: int
    tls: str
    application_name: str
    prepared_statements: int
    id: int


@dataclass(frozen=True, slots=True)
class SocketRow(ConnectionRow):
    """SHOW SOCKETS and SHOW ACTIVE_SOCKETS: a connection, and the bytes on their way through it.

    `pkt_avail` were received and wait to be processed; `pkt_remain` are to come of a message whose
    beginning has been passed on; `send_avail` have been processed, but the other side's socket has
    not taken them. PgBouncer's positions follow, in a buffer that begins with what is unsent.
    """

    pkt_remain: int
    pkt_avail: int
    send_avail: int

    @classmethod
    def of(
        cls, row: ConnectionRow, state: str, *, pkt_remain: int, pkt_avail: int, send_avail: int
    ) -> SocketRow:
        """The same connection, its state as SHOW SOCKETS calls it."""
        same = {field.name: getattr(row, field.name) for field in fields(ConnectionRow)}
        same["state"] = state
        return cls(**same, pkt_remain=pkt_remain, pkt_avail=pkt_avail, send_avail=send_avail)

    @property
    def is_active(self) -> bool:
        """Something is on its way: SHOW ACTIVE_SOCKETS has it."""
        return bool(self.pkt_remain or self.pkt_avail or self.send_avail)

    @property
    def recv_pos(self) -> int:
        """Where the next byte received goes."""
        return self.send_avail + self.pkt_avail

    @property
    def pkt_pos(self) -> int:
        """How far it is processed."""
        return self.send_avail

    @property
    def send_pos(self) -> int:
        """How far it is sent: what is sent is kept no longer."""
        return 0

    @property
    def send_remain(self) -> int:
        """PgBouncer always says 0."""
        return 0


@dataclass(frozen=True, slots=True)
class UserRow:
    """SHOW USERS. None where nothing is set for the user."""

    name: str
    pool_size: int | None
    reserve_pool_size: int | None
    pool_mode: str | None
    max_user_connections: int
    current_connections: int
    max_user_client_connections: int
    current_client_connections: int


@dataclass(frozen=True, slots=True)
class StatsRow:
    """A database's counters since the start, or averages of them (see `averages`)."""

    database: str
    server_assignment_count: int = 0
    xact_count: int = 0
    query_count: int = 0
    client_bytes: int = 0
    server_bytes: int = 0
    xact_time: float = 0.0
    query_time: float = 0.0
    wait_time: float = 0.0
    client_parse_count: int = 0
    server_parse_count: int = 0
    bind_count: int = 0
    client_login_count: int = 0


@dataclass(frozen=True, slots=True)
class AppRow:
    """SHOW APPS: what the clients of a pool have done that log in and call themselves the same.

    Times include what is under way: a transaction is seen before it is over. `open_xact_time` is
    the age of the oldest one that is open, 0 without one.
    """

    database: str
    user: str
    application_name: str
    cl_active: int
    cl_waiting: int
    sv_active: int
    sv_idle_in_xact: int
    xact_count: int
    query_count: int
    client_bytes: int
    server_bytes: int
    wait_time: float
    server_time: float
    idle_xact_time: float
    wait_caused_time: float
    max_xact_time: float
    open_xact_time: float
    error_count: int


@dataclass(frozen=True, slots=True)
class HistogramRow:
    """SHOW HISTOGRAMS: `sum` in seconds; quantiles and `max` are bounds of buckets, in µs."""

    database: str
    user: str
    histogram: str
    count: int
    sum: float
    p50: int
    p90: int
    p99: int
    max: int
    buckets: str


COUNTERS = tuple(field.name for field in fields(StatsRow) if field.name != "database")


_values = attrgetter(*COUNTERS)


def stats_row(database: str, counted: object) -> StatsRow:
    """The row of whatever has these counters as attributes."""
    return StatsRow(database, *_values(counted))


def sum_stats(counted: Iterable[object]) -> StatsRow:
    """All of them together; the sum's database is ""."""
    return StatsRow("", *map(sum, zip(*map(_values, counted), strict=True)))


@dataclass(frozen=True, slots=True)
class ListsRow:
    """SHOW LISTS: how many there are of each; the fields are the rows, in their order."""

    databases: int
    users: int
    peers: int
    pools: int
    peer_pools: int
    free_clients: int
    used_clients: int
    login_clients: int
    free_servers: int
    used_servers: int
    dns_names: int
    dns_zones: int
    dns_queries: int
    dns_pending: int


@dataclass(frozen=True, slots=True)
class PeerRow:
    """SHOW PEERS."""

    peer_id: int
    host: str
    port: int
    pool_size: int


@dataclass(frozen=True, slots=True)
class PeerPoolRow:
    """SHOW PEER_POOLS: cancel requests on their way to a peer, and the connections for them."""

    peer_id: int
    cl_active_cancel_req: int
    cl_waiting_cancel_req: int
    sv_active_cancel: int
    sv_login: int


@dataclass(frozen=True, slots=True)
class MemRow:
    """SHOW MEM: how many objects of a kind there are, by the name of PgBouncer's cache of them."""

    name: str
    used: int


@dataclass(frozen=True, slots=True)
class DnsHostRow:
    """SHOW DNS_HOSTS: a name that was looked up; `ttl` is how many whole seconds its answer is
    still good for; `addrs` is as PgBouncer has it, "10.0.0.1:0,[::1]:0", and "" where the name has
    no address.
    """

    hostname: str
    ttl: int
    addrs: str


@dataclass(frozen=True, slots=True)
class DnsZoneRow:
    """SHOW DNS_ZONES: a zone whose serial is looked at; `count` is how many names are in it."""

    zonename: str
    serial: int
    count: int


@dataclass(frozen=True, slots=True)
class WebRow:
    """SHOW WEB: the process of http_listen. `starts` counts since the pooler's; `last_end` is why
    the last one ended.
    """

    pid: int | None
    state: str
    address: str
    starts: int
    last_end: str


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """SHOW ERRORS: an error that clients were told, by the pooler or by a server. `database` is ""
    where the client named none that there is; `sqlstate` is "" where its class isn't known.
    """

    database: str
    source: str
    sqlstate: str
    error: str
    count: int
    last_time: str


@dataclass(frozen=True, slots=True)
class ConnectRow:
    """SHOW CONNECTS: clients or servers that came or went, and why."""

    database: str
    side: str
    event: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class WaiterRow:
    """SHOW WAITERS: a client that waits for a server, or holds one while others wait. `state` is
    why it waits, or what it does with the server; `server_pid` is None for who waits.
    """

    database: str
    user: str
    role: str
    application_name: str
    addr: str
    port: int
    state: str
    since: str
    duration: float
    client_id: int
    server_pid: int | None


@dataclass(frozen=True, slots=True)
class ReadinessRow:
    """SHOW READINESS: whether new clients can work; `reason` is why not, or ""."""

    check: str
    name: str
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HostRow:
    """SHOW HOSTS: a server's own limits, None till it was asked, and our connections to it."""

    host: str
    port: int
    max_connections: int | None
    reserved_connections: int | None
    server_connections: int
    asked_time: str | None


class DnsCache(Protocol):
    """What a resolver remembers of names."""

    @property
    def query_count(self) -> int:
        """The queries under way."""

    def entries(self) -> Sequence[DnsHostRow]:
        """Every name looked up and not yet forgotten, in the order of the names."""

    def zones(self) -> Sequence[DnsZoneRow]:
        """Every zone known, in the order of the names."""


class Snapshot(Protocol):
    """What the pooler tells of itself: each call is a new, consistent copy, rows in SHOW's order.

    That order is by database, then by user; of one pool's connections by their state's list.
    Where it is an iterator, who has a row is noted at its first step, and each row made when the
    iterator gets to it; None is a step on the way.
    """

    def databases(self) -> Iterator[DatabaseRow]:
        """Every database known, the console's own and those that came from `*` included."""

    def pools(self) -> Iterator[PoolRow]:
        """Every pool, the console's own included."""

    def clients(self) -> Iterable[ConnectionRow]:
        """Every client that has logged in, consoles included, and every cancel request."""

    def servers(self) -> Iterable[ConnectionRow]:
        """Every server connection."""

    def sockets(self) -> Iterable[SocketRow]:
        """Every client and server, logins under way included; a pool's clients first."""

    def users(self) -> Iterator[UserRow]:
        """Every user known."""

    def stats(self) -> Iterator[StatsRow]:
        """The totals now of every database with a pool."""

    def averages(self) -> Iterator[StatsRow]:
        """The averages, row by row of what `stats` returns at the same moment."""

    def apps(self) -> Iterable[AppRow | None]:
        """Every application, by pool; None is a step on the way."""

    def histograms(self) -> Iterable[HistogramRow]:
        """Three of each pool."""

    def overall(self) -> tuple[StatsRow, StatsRow]:
        """Totals and averages of all databases together."""

    def errors(self) -> Iterator[ErrorRow | None]:
        """Every error that was told, by database, source, SQLSTATE and text."""

    def connects(self) -> Iterator[ConnectRow | None]:
        """Every reason that somebody came or went for, in the order of the columns."""

    def waiters(self) -> Iterable[WaiterRow]:
        """Of each pool where somebody waits: who does, first the one who is next; and who holds its
        servers, first the one who has for longest.
        """

    def lists(self) -> ListsRow:
        """The counts of SHOW LISTS."""

    def peers(self) -> Sequence[PeerRow]:
        """The entries of [peers], by their ids."""

    def peer_pools(self) -> Sequence[PeerPoolRow]:
        """Every peer that a cancel request was passed on to."""

    def mem(self) -> Sequence[MemRow]:
        """The objects of each kind, in PgBouncer's order."""

    def dns_hosts(self) -> Sequence[DnsHostRow]:
        """Every host name that was looked up."""

    def dns_zones(self) -> Sequence[DnsZoneRow]:
        """Every zone whose serial is looked at."""

    def web(self) -> Sequence[WebRow]:
        """The web process, one row."""

    def readiness(self) -> Iterator[ReadinessRow]:
        """What has to be so for new clients to work, database by database."""

    def hosts(self) -> Iterator[HostRow | None]:
        """Every server address that we are connected to, or were."""
