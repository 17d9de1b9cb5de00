"""What PostgreSQL stores for its roles, and which of them are to stand in a userlist.

A role by its name is always meant; patterns and `everybody` leave out superusers and those of
replication unless they are asked for. Source: pg_authid, the columns that 12 to 18 share.
Errors: `ServerError`; for a role that may not read pg_authid it says what else can be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pgmux.config.userlist import why_unwritable
from pgmux.ops.server_connection import INSUFFICIENT_PRIVILEGE, ServerConnection, ServerError

_QUERY = """
    SELECT rolname, rolpassword, rolsuper, rolreplication, rolcanlogin,
           coalesce(rolvaliduntil < pg_catalog.now(), false) AS is_expired
      FROM pg_catalog.pg_authid ORDER BY rolname
"""


@dataclass(frozen=True, slots=True)
class Role:
    """A role of PostgreSQL; `secret` is empty where it has no password."""

    name: str
    secret: str = field(repr=False)
    is_superuser: bool = False
    is_replication: bool = False
    can_login: bool = True
    is_expired: bool = False

    @property
    def why_useless(self) -> str:
        """Why nobody can log in by its secret, empty if somebody can."""
        if not self.can_login:
            return "it has no LOGIN"
        if not self.secret:
            return "it has no password"
        return "VALID UNTIL has passed" if self.is_expired else ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who is asked for: by name, by patterns as a shell has them, or everybody."""

    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    everybody: bool = False
    superusers: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Somebody who was asked for and isn't among the secrets."""

    user: str
    why: str
    by_name: bool


def read_roles(server: ServerConnection) -> list[Role]:
    """All roles. Raises: ServerError."""
    try:
        rows = server.rows(_QUERY)
    except ServerError as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise ServerError(unreadable(server), error.sqlstate) from error
        raise
    return [
        Role(
            row["rolname"],
            row["rolpassword"] or "",
            row["rolsuper"],
            row["rolreplication"],
            row["rolcanlogin"],
            row["is_expired"],
        )
        for row in rows
    ]


def unreadable(server: ServerConnection) -> str:
    """What to do where pg_authid can't be read, as with most hosted PostgreSQLs."""
    return (
        f"{server.place}: role {server.user} may not read pg_authid, where PostgreSQL has the"
        " verifiers: connect as a superuser, or, where nobody is one (hosted PostgreSQL), write"
        " users by their passwords: pgmux userlist --prompt NAME --plain"
    )


def choose(roles: Sequence[Role], wanted: Wanted) -> tuple[dict[str, str], list[LeftOut]]:
    """The secrets of who is asked for, and who isn't among them."""
    known = {role.name: role for role in roles}
    left = [LeftOut(name, "no such role", True) for name in wanted.names if name not in known]
    found: dict[str, str] = {}
    for role in roles:
        by_name = role.name in wanted.names
        if not by_name and not _is_meant(role, wanted):
            continue
        why = role.why_useless or why_unwritable(role.name, role.secret)
        why = why or ("" if by_name else _why_apart(role, wanted))
        if why:
            left.append(LeftOut(role.name, why, by_name))
        else:
            found[role.name] = role.secret
    return found, left


def _is_meant(role: Role, wanted: Wanted) -> bool:
    matches = any(fnmatchcase(role.name, pattern) for pattern in wanted.patterns)
    return role.can_login and (wanted.everybody or matches)


def _why_apart(role: Role, wanted: Wanted) -> str:
    if wanted.superusers:
        return ""
    hint = "name it, or say --superusers"
    if role.is_superuser:
        return f"a superuser: {hint}"
    return f"a replication role: {hint}" if role.is_replication else ""


def unknown_to_postgres(users: Iterable[str], roles: Sequence[Role]) -> list[LeftOut]:
    """Who stands in the file and can't log in to PostgreSQL by a password."""
    known = {role.name: role for role in roles}
    found = []
    for user in users:
        role = known.get(user)
        if why := role.why_useless if role else "PostgreSQL has no such role":
            found.append(LeftOut(user, f"stays in the file, although {why}", False))
    return found
