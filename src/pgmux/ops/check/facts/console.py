"""The pooler's console: version, settings in force, pools, clients, servers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pgmux.config.model import ADMIN_DATABASE, AUTODB_NAME, Config, Database, Settings, User
from pgmux.monitor.sample import Sample
from pgmux.ops.capacity import Place

_PGBOUNCER = re.compile(r"pgbouncer (\d+)\.(\d+)(?:\.(\d+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClientGroup:
    """How many of the pooler's clients are of one application, database and user."""

    database: str
    user: str
    application_name: str
    connections: int


@dataclass(frozen=True, slots=True)
class ConsoleFacts:
    """`place` is host:port; `settings` is SHOW CONFIG; `clients`, the largest group first;
    `server_pids`: PostgreSQL's process ids of the pooler's servers, by database.
    """

    place: str
    version: str
    sample: Sample
    settings: Mapping[str, str]
    clients: tuple[ClientGroup, ...] = ()
    server_pids: Mapping[str, frozenset[int]] = field(default_factory=dict)

    @property
    def is_pgmux(self) -> bool:
        """SHOW VERSION says PgBouncer's in any case; pgmux alone tells of applications."""
        return "APPS" not in self.sample.not_told

    @property
    def name(self) -> str:
        """Who that is, for people."""
        return f"pgmux (as {self.version})" if self.is_pgmux else self.version

    @property
    def pgbouncer_version(self) -> tuple[int, int, int] | None:
        """That of PgBouncer; None where it is something else."""
        found = None if self.is_pgmux else _PGBOUNCER.match(self.version)
        return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None

    def users_by_database(self) -> dict[str, set[str]]:
        """Whose pools each database has had since the pooler's start."""
        found: dict[str, set[str]] = defaultdict(set)
        for pool in self.sample.pools:
            found[pool.database].add(pool.user)
        return found

    def pids_at(self, places: frozenset[Place]) -> frozenset[int]:
        """Of all servers of databases that are there."""
        return frozenset(
            pid
            for row in self.sample.databases
            if any((host, row.port) in places for host in (row.host or "").split(","))
            for pid in self.server_pids.get(row.name, ())
        )

    def config(self) -> Config:
        """What counts for pools, as it is in force: databases, users, sizes and limits."""
        limits = self.sample.limits
        return Config(
            Settings(
                default_pool_size=limits.default_pool_size,
                reserve_pool_size=limits.reserve_pool_size,
                reserve_pool_timeout=limits.reserve_pool_timeout,
                max_db_connections=limits.max_db_connections,
                max_user_connections=limits.max_user_connections,
                max_client_conn=limits.max_client_conn,
            ),
            databases={
                row.name: Database(
                    row.name,
                    row.database or AUTODB_NAME,
                    row.host or None,
                    tuple(host for host in (row.host or "").split(",") if host),
                    row.port,
                    user=row.force_user or None,
                    pool_size=row.pool_size,
                    reserve_pool_size=row.reserve_pool_size,
                    max_db_connections=row.max_connections,
                )
                for row in self.sample.databases
                if row.name != ADMIN_DATABASE
            },
            users={
                row.name: User(
                    row.name,
                    pool_size=row.pool_size,
                    reserve_pool_size=row.reserve_pool_size,
                    max_user_connections=row.max_user_connections,
                )
                for row in self.sample.users
            },
        )
