"""What the console's tables tell, as values: one class a kind of row.

Fields are named as SHOW's columns; times are float seconds (`Seconds`: the console has µs). A field
without a default is a column of every console from PgBouncer 1.18 on; one whose default is None is
younger, or pgmux's own, and None says that the console doesn't tell it.
Source: PgBouncer's src/admin.c and src/stats.c (1.18 to 1.25.2); docs/differences.md for pgmux's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Seconds = NewType("Seconds", float)
Buckets = NewType("Buckets", tuple[tuple[int, int], ...])
"""Of a histogram: upper bounds in µs, ascending, each with how many values its bucket holds."""


@dataclass(frozen=True, slots=True)
class PoolRow:
    """SHOW POOLS; `maxwait` has the fraction that the console tells apart."""

    database: str
    user: str
    cl_active: int
    cl_waiting: int
    sv_active: int
    sv_idle: int
    sv_used: int
    sv_tested: int
    sv_login: int
    maxwait: Seconds
    pool_mode: str | None
    cl_active_cancel_req: int | None = None
    cl_waiting_cancel_req: int | None = None
    sv_active_cancel: int | None = None
    sv_being_canceled: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.database, self.user

    @property
    def servers(self) -> int:
        """All server connections of the pool, those that log in among them."""
        canceling = (self.sv_active_cancel or 0) + (self.sv_being_canceled or 0)
        free = self.sv_idle + self.sv_used + self.sv_tested
        return self.sv_active + free + self.sv_login + canceling


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """SHOW DATABASES."""

    name: str
    host: str | None
    port: int
    database: str
    force_user: str | None
    pool_size: int
    reserve_pool_size: int
    pool_mode: str | None
    max_connections: int
    current_connections: int
    paused: bool
    disabled: bool
    min_pool_size: int | None = None
    max_client_connections: int | None = None
    current_client_connections: int | None = None


@dataclass(frozen=True, slots=True)
class StatsRow:
    """SHOW STATS_TOTALS: what a database has counted; nothing of it ever falls but by a restart."""

    database: str
    xact_count: int
    query_count: int
    bytes_received: int
    bytes_sent: int
    xact_time: Seconds
    query_time: Seconds
    wait_time: Seconds
    server_assignment_count: int | None = None
    client_parse_count: int | None = None
    server_parse_count: int | None = None
    bind_count: int | None = None
    client_login_count: int | None = None

    @property
    def key(self) -> tuple[str]:
        return (self.database,)


@dataclass(frozen=True, slots=True)
class UserRow:
    """SHOW USERS; None where the user has no size of his own."""

    name: str
    pool_size: int | None = None
    reserve_pool_size: int | None = None
    max_user_connections: int | None = None
    current_connections: int | None = None


@dataclass(frozen=True, slots=True)
class AppRow:
    """SHOW APPS: what the clients of one application, database and user do and have done."""

    database: str
    user: str
    application_name: str
    cl_active: int
    cl_waiting: int
    sv_active: int
    sv_idle_in_xact: int
    xact_count: int
    query_count: int
    bytes_received: int
    bytes_sent: int
    wait_time: Seconds
    server_time: Seconds
    idle_xact_time: Seconds
    wait_caused_time: Seconds
    max_xact_time: Seconds
    open_xact_time: Seconds
    error_count: int

    @property
    def key(self) -> tuple[str, str, str]:
        return self.database, self.user, self.application_name


@dataclass(frozen=True, slots=True)
class HistogramRow:
    """SHOW HISTOGRAMS: `histogram` is wait, xact or query."""

    database: str
    user: str
    histogram: str
    count: int
    sum: Seconds
    max: Seconds
    buckets: Buckets

    @property
    def key(self) -> tuple[str, str, str]:
        return self.database, self.user, self.histogram


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """SHOW ERRORS."""

    database: str
    source: str
    sqlstate: str
    error: str
    count: int
    last_time: str | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.database, self.source, self.sqlstate, self.error


@dataclass(frozen=True, slots=True)
class ConnectRow:
    """SHOW CONNECTS."""

    database: str
    side: str
    event: str
    reason: str
    count: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.database, self.side, self.event, self.reason


@dataclass(frozen=True, slots=True)
class WaiterRow:
    """SHOW WAITERS: who waits for a server (`role` waiting), and who has one (holding)."""

    database: str
    user: str
    role: str
    application_name: str
    addr: str
    port: int
    state: str
    since: str
    duration: Seconds
    client_id: int | None
    server_pid: int | None


@dataclass(frozen=True, slots=True)
class HostRow:
    """SHOW HOSTS: PostgreSQL's own limits, None until it has been asked."""

    host: str
    port: int
    max_connections: int | None
    reserved_connections: int | None
    server_connections: int
    asked_time: str | None = None


@dataclass(frozen=True, slots=True)
class ReadinessRow:
    """SHOW READINESS."""

    check: str
    name: str
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """SHOW CLIENTS and SHOW SERVERS; `wait` has the fraction that the console tells apart."""

    type: str
    user: str
    database: str
    state: str
    addr: str
    port: int
    connect_time: str | None
    request_time: str | None
    wait: Seconds
    close_needed: bool
    ptr: str
    link: str
    remote_pid: int
    tls: str
    application_name: str
    replication: str | None = None
    prepared_statements: int | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Of SHOW CONFIG, what the counts of the other tables are held against; 0 is no limit."""

    max_client_conn: int
    default_pool_size: int
    min_pool_size: int
    reserve_pool_size: int
    reserve_pool_timeout: Seconds
    max_db_connections: int
    max_user_connections: int
    query_wait_timeout: Seconds
    pool_mode: str
