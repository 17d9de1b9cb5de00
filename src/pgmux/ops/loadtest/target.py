"""Whom a load test asks: found and tried by libpq, so that its rules, messages and passwords count,
and then asked by asyncpg.

Errors: `ServerError`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from pgmux.ops.activity import read_activity
from pgmux.ops.loadtest.plan import Side
from pgmux.ops.server_connection import ServerConnection, ServerError

# Not the same: a pooler gives its servers the name, and those stay when the direct ones are gone.
APPLICATION_NAMES = {Side.DIRECT: "pgmux loadtest", Side.POOLER: "pgmux loadtest pooled"}
# What asyncpg takes by its DSN alone.
_OF_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation")
_AS_SETTINGS = ("application_name", "options")

COUNT_OURS = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Target:
    """`arguments` are those of asyncpg.connect(); `free_places` are what PostgreSQL has left of
    max_connections, None through a pooler, or where that isn't told.
    """

    side: Side
    host: str
    port: int
    database: str
    user: str
    is_local: bool
    version: str
    free_places: int | None
    arguments: dict[str, Any] = field(repr=False)

    @property
    def place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}/{self.database}"


def find_target(side: Side, server: ServerConnection) -> Target:
    """What that connection leads to. Raises: ServerError."""
    login = server.login()
    return Target(
        side=side,
        host=login["host"],
        port=int(login["port"]),
        database=login["dbname"],
        user=login["user"],
        is_local=is_local(login["host"], server.address),
        version=str(server.one("SELECT current_setting('server_version')")),
        free_places=_free_places(server) if side is Side.DIRECT else None,
        arguments=arguments_of(login, APPLICATION_NAMES[side]),
    )


def arguments_of(login: dict[str, str], application_name: str) -> dict[str, Any]:
    """libpq's parameters as arguments of asyncpg.connect(); the name where they have none."""
    tls = {name: login[name] for name in _OF_TLS if name in login}
    settings = {name: login[name] for name in _AS_SETTINGS if name in login}
    return {
        "dsn": f"postgresql://?{urlencode(tls, quote_via=quote)}" if tls else None,
        "host": login["host"],
        "port": int(login["port"]),
        "database": login["dbname"],
        "user": login["user"],
        "password": login.get("password"),
        "server_settings": {"application_name": application_name, **settings},
    }


def is_local(host: str, address: str) -> bool:
    """Whether it is this machine: a Unix socket, or a loopback address."""
    if host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _free_places(server: ServerConnection) -> int | None:
    try:
        found = read_activity(server)
    except ServerError:
        return None  # of no importance but for a warning
    return found.max_connections - found.reserved - found.connections
