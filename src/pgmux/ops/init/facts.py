"""What is to be known of a PostgreSQL before a pooler is put in front of it.

Errors: `ServerError`. A role without the rights to read passwords or others' activity is told less;
`remarks` say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgmux.config.model import AUTODB_NAME
from pgmux.config.userlist import why_unwritable
from pgmux.ops.activity import read_activity
from pgmux.ops.ini_text import entry_name, entry_value
from pgmux.ops.server_connection import INSUFFICIENT_PRIVILEGE, ServerConnection, ServerError

MAX_CONNECTIONS, RESERVED = 100, 3  # PostgreSQL's defaults

_DATABASES = """
SELECT datname FROM pg_catalog.pg_database
WHERE datallowconn AND NOT datistemplate AND datname <> 'pgbouncer' ORDER BY datname"""
_USERS = """
SELECT rolname, rolpassword FROM pg_catalog.pg_authid
WHERE rolcanlogin AND NOT rolsuper AND NOT rolreplication AND rolpassword IS NOT NULL
  AND coalesce(rolvaliduntil > pg_catalog.now(), true)
ORDER BY rolname"""
_HAS_TLS = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Facts:
    """`verifiers`: the roles that applications may log in as, with what PostgreSQL stores;
    `odd_…`: names that the files can't hold.
    """

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
    odd_databases: tuple[str, ...] = ()
    odd_users: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        return self.host.startswith(("/", "127.")) or self.host in ("localhost", "::1", "")


def read_facts(server: ServerConnection, host: str, port: int) -> Facts:
    """Asks PostgreSQL. Raises: ServerError."""
    remarks = []
    activity = read_activity(server)
    if activity.is_partial:
        remarks.append("some connections are hidden from this role: grant it pg_monitor")
    found = [row["datname"] for row in server.rows(_DATABASES)]
    databases = tuple(name for name in found if _can_be_said(name))
    own = tuple(name for name in databases if name != "postgres")
    try:
        stored = {row["rolname"]: row["rolpassword"] for row in server.rows(_USERS)}
    except ServerError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        stored = {}
        remarks.append("only a superuser may read verifiers: let users in by `pgmux user add`")
    verifiers = {
        name: secret for name, secret in stored.items() if not why_unwritable(name, secret)
    }
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
        odd_databases=tuple(sorted(set(found) - set(databases))),
        odd_users=tuple(sorted(stored.keys() - verifiers.keys())),
    )


def _can_be_said(name: str) -> bool:
    """Whether it can be an entry of [databases]; * would be all of them."""
    try:
        entry_name(name)
        entry_value({"dbname": name})
    except ValueError:
        return False
    return name != AUTODB_NAME
