"""What was asked and answered about one alias; None, or a line in `unknown`, where nothing was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgmux_apps.django.aliases import Alias

PGMUX = "pgmux"
PGBOUNCER = "PgBouncer"


@dataclass(frozen=True, slots=True)
class Pooler:
    """What a pooler's console shows that concerns one database and user."""

    version: str  # as SHOW VERSION has it: of pgmux the PgBouncer that it stands in for
    config: Mapping[str, str]  # SHOW CONFIG; empty values for what is NULL
    database: Mapping[str, str]  # the row of SHOW DATABASES
    databases: tuple[Mapping[str, str], ...]  # all rows
    user: Mapping[str, str]  # the row of SHOW USERS

    @property
    def kind(self) -> str:
        """pgmux has settings of its own in SHOW CONFIG."""
        return PGMUX if "startup_parameters" in self.config else PGBOUNCER

    @property
    def pool_mode(self) -> str:
        """The user's goes before the database's, and that before the default."""
        modes = (self.user, self.database, self.config)
        return next((each["pool_mode"] for each in modes if each.get("pool_mode")), "")

    @property
    def prepared_statements(self) -> int:
        """How many are tracked for each connection; releases before 1.21 know none."""
        return self.number("max_prepared_statements")

    def number(self, name: str) -> int:
        """A setting; 0 where this release doesn't have it."""
        return number(self.config, name)

    @property
    def servers(self) -> int:
        """The most that all its databases may open at that PostgreSQL, with one user each."""
        here = (self.database.get("host"), self.database.get("port"))
        return sum(
            _servers(row) for row in self.databases if (row.get("host"), row.get("port")) == here
        )


@dataclass(frozen=True, slots=True)
class Server:
    """What PostgreSQL itself said, through the alias."""

    version: str
    identity: str  # of this start of this server, and of the database
    user: str
    role: str  # differs from `user` after SET ROLE
    is_superuser: bool
    max_connections: int
    reserved: int  # of these, for superusers and pg_use_reserved_connections
    is_this_process: bool  # it has the process id that the client was told at login


@dataclass(slots=True)
class Facts:
    """All about one alias."""

    alias: Alias
    address: str = ""
    error: str = ""  # why Django can't connect
    server: Server | None = None
    pooler: Pooler | None = None
    is_postgres: bool = False  # whoever was asked for a console said that it isn't one
    options: dict[str, tuple[str, str]] = field(default_factory=dict)  # as asked, as in force
    login: float | None = None  # seconds, the median of some
    query: float | None = None
    unknown: list[str] = field(default_factory=list)

    @property
    def is_pooled(self) -> bool | None:
        """Whether a pooler answers; None where that can't be told."""
        if self.pooler is not None or (self.server and not self.server.is_this_process):
            return True
        return False if self.is_postgres else None


def number(row: Mapping[str, str], name: str) -> int:
    """A cell that holds a number, else 0."""
    text = row.get(name) or ""
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _servers(row: Mapping[str, str]) -> int:
    reserve = number(row, "reserve_pool_size") or number(row, "reserve_pool")  # till 1.23
    wanted = number(row, "pool_size") + reserve
    most = number(row, "max_connections")
    return min(wanted, most) if most else wanted
