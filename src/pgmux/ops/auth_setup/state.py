"""What is there of role, schema and function, and whether it can be trusted.

Who owns the schema or may create in it could put another function there and have the pooler
believe it: those are errors, not differences. Source: PostgreSQL's catalogues, what 12 to 18 share.
Errors: `ServerError`; `SetupError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgmux.ops.auth_setup.setup import ARGUMENTS, MARK, RESULT, SEARCH_PATH, Setup, SetupError
from pgmux.ops.server_connection import (
    INSUFFICIENT_PRIVILEGE,
    Row,
    ServerConnection,
    ServerError,
)

_ROLE = """
    SELECT rolpassword, rolcanlogin, rolconnlimit,
           coalesce(rolvaliduntil < now(), false) AS is_expired,
           shobj_description(oid, 'pg_authid') AS comment,
           rolsuper AS "SUPERUSER", rolcreaterole AS "CREATEROLE", rolcreatedb AS "CREATEDB",
           rolreplication AS "REPLICATION", rolbypassrls AS "BYPASSRLS",
           EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) AS "membership in a role"
      FROM pg_authid r WHERE rolname = %s
"""
_RIGHTS = (
    "SUPERUSER",
    "CREATEROLE",
    "CREATEDB",
    "REPLICATION",
    "BYPASSRLS",
    "membership in a role",
)
_SCHEMA = """
    SELECT obj_description(n.oid, 'pg_namespace') AS comment,
           o.rolname::text AS owner, o.rolsuper OR o.rolname = current_user AS is_trusted,
           ARRAY(SELECT coalesce(g.rolname::text, 'PUBLIC')
                   FROM aclexplode(n.nspacl) x LEFT JOIN pg_roles g ON g.oid = x.grantee
                  WHERE x.privilege_type = 'CREATE' AND x.grantee <> n.nspowner) AS creators,
           has_schema_privilege(r.oid, n.oid, 'USAGE') AS is_usable
      FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner
      LEFT JOIN pg_roles r ON r.rolname = %s
     WHERE n.nspname = %s
"""
_FUNCTIONS = """
    SELECT obj_description(p.oid, 'pg_proc') AS comment,
           o.rolname::text AS owner, o.rolsuper OR o.rolname = current_user AS is_trusted,
           p.prosrc, p.prosecdef, p.proconfig, p.provolatile::text, l.lanname::text AS language,
           pg_get_function_result(p.oid) AS result,
           pg_get_function_arguments(p.oid) AS arguments,
           oidvectortypes(p.proargtypes) = 'text' AS is_ours,
           EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
                    WHERE x.grantee = 0) AS is_public,
           has_function_privilege(r.oid, p.oid, 'EXECUTE') AS is_executable
      FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner
      JOIN pg_language l ON l.oid = p.prolang
      JOIN pg_namespace n ON n.oid = p.pronamespace
      LEFT JOIN pg_roles r ON r.rolname = %s
     WHERE n.nspname = %s AND p.proname = %s
"""


@dataclass(frozen=True, slots=True)
class RoleState:
    """The role as it is; `secret` is empty where it has no password."""

    secret: str = field(repr=False)
    can_login: bool
    is_expired: bool
    connection_limit: int
    is_marked: bool
    rights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SchemaState:
    is_marked: bool
    is_usable: bool


@dataclass(frozen=True, slots=True)
class FunctionState:
    is_marked: bool
    is_as_wanted: bool
    is_public: bool
    is_executable: bool


def read_role(server: ServerConnection, name: str) -> RoleState | None:
    """None where there is none. Raises: ServerError, which says what to do without rights."""
    try:
        rows = server.rows(_ROLE, (name,))
    except ServerError as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise ServerError(_unreadable(server), error.sqlstate) from error
        raise
    if not rows:
        return None
    row = rows[0]
    return RoleState(
        secret=row["rolpassword"] or "",
        can_login=row["rolcanlogin"],
        is_expired=row["is_expired"],
        connection_limit=row["rolconnlimit"],
        is_marked=row["comment"] == MARK,
        rights=tuple(right for right in _RIGHTS if row[right]),
    )


def read_schema(server: ServerConnection, setup: Setup) -> SchemaState | None:
    """None where there is none. Raises: SetupError where others rule in it; ServerError."""
    rows = server.rows(_SCHEMA, (setup.role, setup.schema))
    if not rows:
        return None
    row = rows[0]
    _check_owner(server, f"schema {setup.schema}", row)
    if row["creators"]:
        raise SetupError(
            f"database {server.dbname}: {', '.join(row['creators'])} may create in schema"
            f" {setup.schema}, and so put another function in its place: REVOKE CREATE ON SCHEMA"
            f" {setup.schema} FROM them, or name another by --schema"
        )
    return SchemaState(row["comment"] == MARK, bool(row["is_usable"]))


def read_function(server: ServerConnection, setup: Setup) -> FunctionState | None:
    """None where there is none. Raises: SetupError where it can't be told apart; ServerError."""
    rows = server.rows(_FUNCTIONS, (setup.role, setup.schema, setup.function))
    name = f"{setup.schema}.{setup.function}"
    if any(not row["is_ours"] for row in rows):
        raise SetupError(
            f"database {server.dbname}: there is a function {name} of other arguments than (text):"
            " a call could mean either; drop it, or name another schema by --schema"
        )
    if not rows:
        return None
    row = rows[0]
    _check_owner(server, f"function {name}", row)
    return FunctionState(
        is_marked=row["comment"] == MARK,
        is_as_wanted=_is_as_wanted(row, setup),
        is_public=row["is_public"],
        is_executable=bool(row["is_executable"]),
    )


def _is_as_wanted(row: Row, setup: Setup) -> bool:
    return bool(
        row["prosrc"] == setup.body
        and row["prosecdef"]
        and row["proconfig"] == [SEARCH_PATH]
        and row["provolatile"] == "s"
        and row["language"] == "sql"
        and (row["result"], row["arguments"]) == (RESULT, ARGUMENTS)
    )


def _check_owner(server: ServerConnection, what: str, row: Row) -> None:
    if not row["is_trusted"]:
        raise SetupError(
            f"database {server.dbname}: {what} belongs to {row['owner']}, who is no superuser and"
            " could change what the pooler is told: drop it, or name another by --schema"
        )


def _unreadable(server: ServerConnection) -> str:
    return (
        f"{server.place}: role {server.user} may not read pg_authid, and so can't make a function"
        " that does: connect as a superuser. Where nobody is one (hosted PostgreSQL), auth_query"
        " can't work: write users by their passwords, pgmux userlist --prompt NAME --plain"
    )
