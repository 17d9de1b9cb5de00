"""A pooler for the console to talk to: plain attributes, and a list of what it was told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pgmux.admin.pooler import ShutdownMode
from pgmux.config.model import Config, Settings
from pgmux.config.show import apply_set
from pgmux.errors import ConfigError
from pgmux.metrics.averages import Averages
from pgmux.metrics.snapshot import (
    AppRow,
    ConnectionRow,
    ConnectRow,
    DatabaseRow,
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

DATABASE = DatabaseRow(
    name="app",
    host="db1,db2",
    port=5432,
    database="app_live",
    force_user=None,
    pool_size=20,
    min_pool_size=0,
    reserve_pool_size=3,
    server_lifetime=3600.0,
    pool_mode=None,
    load_balance_hosts="round-robin",
    max_connections=0,
    current_connections=7,
    max_client_connections=0,
    current_client_connections=9,
    paused=False,
    disabled=True,
)
POOL = PoolRow(
    database="app",
    user="bob",
    cl_active=1,
    cl_waiting=2,
    cl_active_cancel_req=3,
    cl_waiting_cancel_req=4,
    sv_active=5,
    sv_active_cancel=6,
    sv_being_canceled=7,
    sv_idle=8,
    sv_used=9,
    sv_tested=10,
    sv_login=11,
    maxwait=2.000003,
    pool_mode="transaction",
    load_balance_hosts=None,
)
CLIENT = ConnectionRow(
    type="C",
    user="bob",
    database="app",
    replication="none",
    state="active",
    addr="127.0.0.1",
    port=40000,
    local_addr="127.0.0.1",
    local_port=6432,
    connect_time="2026-11-20 08:22:05 UTC",
    request_time="2026-11-20 08:22:06 UTC",
    wait=1.5,
    close_needed=False,
    ptr=0x55E0,
    link=0x55E8,
    remote_pid=0,
    tls="",
    application_name="psql",
    prepared_statements=2,
    id=12,
)
SERVER = replace(CLIENT, type="S", state="idle", link=None, remote_pid=4711, close_needed=True)
SOCKET = SocketRow.of(SERVER, "sv_active", pkt_remain=300, pkt_avail=5, send_avail=70)
QUIET_SOCKET = SocketRow.of(CLIENT, "cl_active", pkt_remain=0, pkt_avail=0, send_avail=0)
PEER = PeerRow(peer_id=2, host="10.0.0.2", port=6432, pool_size=20)
PEER_POOL = PeerPoolRow(
    peer_id=2, cl_active_cancel_req=1, cl_waiting_cancel_req=3, sv_active_cancel=4, sv_login=5
)
USER = UserRow(
    name="bob",
    pool_size=5,
    reserve_pool_size=None,
    pool_mode=None,
    max_user_connections=10,
    current_connections=1,
    max_user_client_connections=0,
    current_client_connections=2,
)
STATS = StatsRow(
    database="app",
    server_assignment_count=10,
    xact_count=20,
    query_count=30,
    client_bytes=12345678901,
    server_bytes=50000,
    xact_time=2.0,
    query_time=1.5,
    wait_time=0.000012,
    client_parse_count=60,
    server_parse_count=70,
    bind_count=80,
    client_login_count=90,
)
APP = AppRow(
    database="app",
    user="bob",
    application_name="billing",
    cl_active=1,
    cl_waiting=2,
    sv_active=3,
    sv_idle_in_xact=4,
    xact_count=5,
    query_count=6,
    client_bytes=7,
    server_bytes=8,
    wait_time=0.000009,
    server_time=10.0,
    idle_xact_time=0.011,
    wait_caused_time=0.012,
    max_xact_time=13.0,
    open_xact_time=0.0,
    error_count=15,
)
HISTOGRAM = HistogramRow("app", "bob", "wait", 3, 0.002, 1, 2048, 2048, 2048, "1:2,2048:1")
DNS_HOST = DnsHostRow("db1.internal", 15, "10.0.0.1:0,10.0.0.2:0")
DNS_ZONE = DnsZoneRow("internal", 2026112001, 3)
ERROR = ErrorRow(
    "app", "server", "23505", "unique_violation", 3_000_000_000, "2026-11-20 08:22:05 UTC"
)
CONNECT = ConnectRow("app", "client", "disconnect", "client close request", 7)
WAITER = WaiterRow(
    database="app",
    user="bob",
    role="waiting",
    application_name="shop",
    addr="10.0.0.9",
    port=4711,
    state="pool_size",
    since="2026-11-20 08:22:05 UTC",
    duration=1.25,
    client_id=12,
    server_pid=None,
)
LISTS = ListsRow(*range(1, 15))


@dataclass
class FakeSnapshot:
    """Rows of clients and sockets are fields because some tests want many of them."""

    client_rows: list[ConnectionRow] = field(default_factory=lambda: [CLIENT])
    socket_rows: list[SocketRow] = field(default_factory=lambda: [QUIET_SOCKET, SOCKET])

    def databases(self) -> list[DatabaseRow]:
        return [DATABASE]

    def pools(self) -> list[PoolRow]:
        return [POOL]

    def clients(self) -> list[ConnectionRow]:
        return self.client_rows

    def servers(self) -> list[ConnectionRow]:
        return [SERVER]

    def sockets(self) -> list[SocketRow]:
        return self.socket_rows

    def peers(self) -> list[PeerRow]:
        return [PEER]

    def peer_pools(self) -> list[PeerPoolRow]:
        return [PEER_POOL]

    def mem(self) -> list[MemRow]:
        return [MemRow("user_cache", 4), MemRow("client_cache", 1000)]

    def users(self) -> list[UserRow]:
        return [USER]

    def stats(self) -> list[StatsRow]:
        return [STATS]

    def averages(self) -> list[StatsRow]:
        return [Averages(0.0).average(1.0, row.database, row) for row in self.stats()]

    def apps(self) -> list[AppRow | None]:
        return [None, APP]

    def histograms(self) -> list[HistogramRow]:
        return [HISTOGRAM]

    def overall(self) -> tuple[StatsRow, StatsRow]:
        return STATS, Averages(0.0).overall(1.0, {"app": STATS})

    def errors(self) -> list[ErrorRow]:
        return [ERROR]

    def connects(self) -> list[ConnectRow]:
        return [CONNECT]

    def waiters(self) -> list[WaiterRow]:
        return [WAITER]

    def lists(self) -> ListsRow:
        return LISTS

    def dns_hosts(self) -> list[DnsHostRow]:
        return [DNS_HOST]

    def dns_zones(self) -> list[DnsZoneRow]:
        return [DNS_ZONE]

    def readiness(self) -> list[ReadinessRow]:
        return [ReadinessRow("database", "app", False, "paused")]

    def hosts(self) -> list[HostRow | None]:
        return [None, HostRow("10.0.0.5", 5432, None, None, 3, None)]

    def web(self) -> list[WebRow]:
        return [WebRow(None, "off", "", 0, "")]


@dataclass
class FakePooler:
    """Knows the databases `app` and, by `*`, every name that starts with `auto`."""

    config: Config = field(default_factory=lambda: Config(settings=Settings()))
    version_lines: tuple[str, ...] = ("PgBouncer 1.25.2", "pgmux 0.1 (compiled)")
    server_version: str = "1.25.2/bouncer"
    snapshot: FakeSnapshot = field(default_factory=FakeSnapshot)
    is_paused: bool = False
    is_shutting_down: bool = False
    servers_left: bool = False
    reload_error: ConfigError | None = None
    set_notice: str = ""
    databases: set[str] = field(default_factory=lambda: {"app", "pgbouncer"})
    paused: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    calls: list[tuple[object, ...]] = field(default_factory=list)

    def has_database(self, name: str) -> bool:
        return name in self.databases

    def register_database(self, name: str) -> bool:
        if name.startswith("auto"):
            self.databases.add(name)
        return name in self.databases

    def is_database_paused(self, name: str) -> bool:
        return name in self.paused

    def log(self, text: str) -> None:
        self.lines.append(text)

    def reload(self) -> None:
        self.calls.append(("reload",))
        if self.reload_error is not None:
            raise self.reload_error

    def set(self, name: str, text: str) -> str:
        self.config = apply_set(self.config, name, text)
        return self.set_notice

    def pause(self, database: str | None) -> bool:
        self.calls.append(("pause", database))
        if database is None:
            self.is_paused = True
        else:
            self.paused.add(database)
        return not self.servers_left

    def resume(self, database: str | None) -> None:
        self.calls.append(("resume", database))
        if database is None:
            self.is_paused = False
        else:
            self.paused.discard(database)

    def reconnect(self, database: str | None) -> None:
        self.calls.append(("reconnect", database))

    def wait_close(self, database: str | None) -> bool:
        self.calls.append(("wait_close", database))
        return not self.servers_left

    def kill(self, database: str | None) -> None:
        self.calls.append(("kill", database))

    def kill_client(self, client_id: int) -> bool:
        self.calls.append(("kill_client", client_id))
        return client_id == CLIENT.id

    def set_disabled(self, database: str, disabled: bool) -> None:
        self.calls.append(("set_disabled", database, disabled))

    def shutdown(self, mode: ShutdownMode) -> None:
        self.calls.append(("shutdown", mode))
        self.is_shutting_down = True
