"""What is to be known of a PostgreSQL before a pooler is put in front of it.

Errors: `ServerError`. A role without the rights to read passwords or others' activity is told less;
`remarks` say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgmux.ops.activity import read_activity
from pgmux.ops.server_connection import INSUFFICIENT_PRIVILEGE, ServerConnection, ServerError

MAX_CONNECTIONS, RESERVED = 100, 3  # PostgreSQL's defaults
MOST_USERS = 50

_DATABASES = """
SELECT datname FROM pg_catalog.pg_database
WHERE datallowconn AND NOT datistemplate AND datname <> 'pgbouncer' ORDER BY datname"""
_USERS = f"""
SELECT rolname, rolpassword FROM pg_catalog.pg_authid
WHERE rolcanlogin AND NOT rolsuper AND NOT rolreplication AND rolpassword IS NOT NULL
  AND coalesce(rolvaliduntil > pg_catalog.now(), true)
ORDER BY rolname LIMIT {MOST_USERS}"""
_HAS_TLS = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Facts:
    """`verifiers`: the roles that applications may log in as, with what PostgreSQL stores."""

    host: str
    port: int
    databases: tuple[str, ...] = ("postgres",)
    verifiers: dict[str, str] = field(default_factory=dict, repr=False)
    max_connections: int = MAX_CONNECTIONS
    reserved: int = RESERVED
    direct: int = 0
    has_tls: bool | None = None
    is_known: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        return self.host.startswith(("/", "127.")) or self.host in ("localhost", "::1", "")


def read_facts(server: ServerConnection, host: str, port: int) -> Facts:
    """Asks PostgreSQL. Raises: ServerError."""
    remarks = []
    activity = read_activity(server)
    if activity.is_partial:
        remarks.append("some connections are hidden from this role: grant it pg_monitor")
    databases = tuple(row["datname"] for row in server.rows(_DATABASES))
    own = tuple(name for name in databases if name != "postgres")
    try:
        verifiers = {row["rolname"]: row["rolpassword"] for row in server.rows(_USERS)}
    except ServerError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        verifiers = {}
        remarks.append("only a superuser may read verifiers: let users in by `pgmux user add`")
    return Facts(
        host,
        port,
        own or databases,
        verifiers,
        activity.max_connections,
        activity.reserved,
        activity.connections,
        bool(server.one(_HAS_TLS)),
        is_known=True,
        remarks=tuple(remarks),
    )
