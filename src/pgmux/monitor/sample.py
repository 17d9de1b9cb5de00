"""One reading of a console: everything of it that a dashboard shows, as values.

Of pgmux and of every PgBouncer from 1.18 on. What a console doesn't have is empty, and named in
`not_told`. Errors: `ConsoleGone` of `console`; `ConsoleRefused` where it refuses what every console
has; `UnreadableAnswer` of `reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pgmux.monitor.console import Console, Row
from pgmux.monitor.reading import read_counts, read_limits, read_pairs, read_rows
from pgmux.monitor.tables import (
    AppRow,
    ConnectionRow,
    ConnectRow,
    DatabaseRow,
    ErrorRow,
    HistogramRow,
    HostRow,
    Limits,
    PoolRow,
    ReadinessRow,
    StatsRow,
    UserRow,
    WaiterRow,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """What the console told at `taken_at`, the `now` that it was taken with.

    `state` is active, paused or suspended; None where the console doesn't tell it.
    """

    taken_at: float
    version: str
    state: str | None
    pools: tuple[PoolRow, ...]
    databases: tuple[DatabaseRow, ...]
    stats: tuple[StatsRow, ...]
    users: tuple[UserRow, ...]
    apps: tuple[AppRow, ...]
    histograms: tuple[HistogramRow, ...]
    errors: tuple[ErrorRow, ...]
    connects: tuple[ConnectRow, ...]
    waiters: tuple[WaiterRow, ...]
    hosts: tuple[HostRow, ...]
    readiness: tuple[ReadinessRow, ...]
    lists: Mapping[str, int]
    limits: Limits
    not_told: frozenset[str]

    def pool_sizes(self) -> dict[tuple[str, str], int]:
        """How many servers each pool may have, without its reserve: the user's size, else the
        database's.
        """
        of_databases = {row.name: row.pool_size for row in self.databases}
        of_users = {row.name: row.pool_size for row in self.users if row.pool_size is not None}
        default = self.limits.default_pool_size
        return {
            pool.key: of_users.get(pool.user, of_databases.get(pool.database, default))
            for pool in self.pools
        }

    def forced_users(self) -> dict[str, str]:
        """By database, the user whose pool all its clients are in, whoever they logged in as."""
        return {row.name: row.force_user for row in self.databases if row.force_user}


async def take_sample(console: Console, now: float) -> Sample:
    """A sample that says it was taken at `now`. Raises: see the module."""
    reader = _Reader(console)
    return Sample(
        taken_at=now,
        version=await reader.read_version(),
        state=await reader.read_state(),
        pools=await reader.read("POOLS", PoolRow),
        databases=await reader.read("DATABASES", DatabaseRow),
        stats=await reader.read("STATS_TOTALS", StatsRow),
        users=await reader.read_optional("USERS", UserRow),
        apps=await reader.read_optional("APPS", AppRow),
        histograms=await reader.read_optional("HISTOGRAMS", HistogramRow),
        errors=await reader.read_optional("ERRORS", ErrorRow),
        connects=await reader.read_optional("CONNECTS", ConnectRow),
        waiters=await reader.read_optional("WAITERS", WaiterRow),
        hosts=await reader.read_optional("HOSTS", HostRow),
        readiness=await reader.read_optional("READINESS", ReadinessRow),
        lists=read_counts("LISTS", await console.query("SHOW LISTS"), "list", "items"),
        limits=read_limits(await console.query("SHOW CONFIG")),
        not_told=frozenset(reader.not_told),
    )


class _Reader:
    """Asks for one table after another; `not_told` are those that the console doesn't have."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.not_told: set[str] = set()

    async def read(self, table: str, kind: type[T]) -> tuple[T, ...]:
        """A table that every console has."""
        return read_rows(table, kind, await self._console.query(f"SHOW {table}"))

    async def read_optional(self, table: str, kind: type[T]) -> tuple[T, ...]:
        """A table that not every console has."""
        return read_rows(table, kind, await self._ask(table))

    async def read_version(self) -> str:
        rows = await self._console.query("SHOW VERSION")
        return (rows[0].get("version") if rows else None) or "unknown version"

    async def read_state(self) -> str | None:
        states = read_pairs("STATE", await self._ask("STATE"), "key", "value")
        return next((state for state, answer in states.items() if answer == "yes"), None)

    async def _ask(self, table: str) -> list[Row]:
        rows = await self._console.query_optional(f"SHOW {table}")
        if rows is None:
            self.not_told.add(table)
        return rows or []


@dataclass(frozen=True, slots=True)
class Connections:
    """The clients and the servers of one pool."""

    clients: tuple[ConnectionRow, ...]
    servers: tuple[ConnectionRow, ...]


async def take_connections(console: Console, sample: Sample, pool: tuple[str, str]) -> Connections:
    """Who is in that pool now; the console has only the list of all. Raises: see the module.

    A client's row has the user that it logged in as, a server's the pool's; `sample` tells which
    pool that is.
    """
    clients = await console.query("SHOW CLIENTS")
    servers = await console.query("SHOW SERVERS")
    forced = sample.forced_users().get(pool[0])
    logged_in = [(row, _names(row)) for row in clients]
    ours = [row for row, (database, user) in logged_in if (database, forced or user) == pool]
    theirs = [row for row in servers if _names(row) == pool]
    return Connections(
        read_rows("CLIENTS", ConnectionRow, ours), read_rows("SERVERS", ConnectionRow, theirs)
    )


def _names(row: Row) -> tuple[str, str]:
    return row.get("database") or "", row.get("user") or ""
