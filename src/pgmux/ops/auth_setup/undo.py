"""The statements that take out what auth-setup has made, told by its comments, and nothing else.

What others depend on, PostgreSQL refuses to drop; then nothing of that database is changed.
Errors: `SetupError`, `ServerError`.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from pgmux.ops.auth_setup.setup import MARK, Setup, SetupError
from pgmux.ops.auth_setup.state import read_role
from pgmux.ops.auth_setup.steps import PIN, Session
from pgmux.ops.server_connection import ServerConnection

_THERE = """
    SELECT obj_description(n.oid, 'pg_namespace') = %s AS has_our_schema,
           obj_description(p.oid, 'pg_proc') = %s AS has_our_function
      FROM pg_namespace n
      LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = %s
                         AND oidvectortypes(p.proargtypes) = 'text'
     WHERE n.nspname = %s
"""
_GRANTS = """
    SELECT pg_describe_object(classid, objid, objsubid) AS what,
           classid = 'pg_database'::regclass AS is_database,
           objid = d.oid AS is_this_database,
           EXISTS (SELECT FROM pg_namespace n WHERE classid = 'pg_namespace'::regclass
                      AND n.oid = objid AND nspname = %s) AS is_schema
      FROM pg_shdepend s JOIN pg_database d ON datname = current_database()
     WHERE refclassid = 'pg_authid'::regclass
       AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)
       AND (dbid = d.oid OR classid = 'pg_database'::regclass)
"""
_ELSEWHERE = """
    SELECT DISTINCT datname::text AS name FROM pg_catalog.pg_shdepend d
      JOIN pg_catalog.pg_database b ON b.oid = d.dbid
     WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
       AND refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s)
     ORDER BY 1
"""


def check_elsewhere(server: ServerConnection, setup: Setup, databases: Collection[str]) -> None:
    """Raises: SetupError where the role has rights in databases that aren't among these."""
    names = {str(row["name"]) for row in server.rows(_ELSEWHERE, (setup.role,))}
    if others := sorted(names - set(databases)):
        raise SetupError(
            f"role {setup.role} has rights in other databases as well: {', '.join(others)};"
            " say --all-databases, or name them too by --database"
        )


def take_out_lookup(session: Session, setup: Setup) -> None:
    """Everything of one database. Raises: SetupError where the role is still used; ServerError."""
    server = session.server
    server.rows(PIN)
    role = read_role(server, setup.role)
    schema = sql.Identifier(setup.schema)
    rows = server.rows(_THERE, (MARK, MARK, setup.function, setup.schema))
    there = rows[0] if rows else {"has_our_schema": False, "has_our_function": False}
    if there["has_our_function"]:
        function = sql.Identifier(setup.schema, setup.function)
        session.do("DROP FUNCTION {function}(text)", function=function)
    if there["has_our_schema"]:
        session.do("DROP SCHEMA {schema}", schema=schema)
    if role is not None and role.is_marked:
        _revoke(session, setup)


def drop_role(session: Session, setup: Setup) -> None:
    """The role, if it is ours. Raises: ServerError where something depends on it."""
    session.server.rows(PIN)
    role = read_role(session.server, setup.role)
    if role is not None and role.is_marked:
        session.do("DROP ROLE {role}", role=sql.Identifier(setup.role))


def _revoke(session: Session, setup: Setup) -> None:
    """What the role may still do here was granted in a schema that isn't ours, or by others."""
    server, role = session.server, sql.Identifier(setup.role)
    for row in server.rows(_GRANTS, (setup.schema, setup.role)):
        if row["is_database"] and row["is_this_database"]:
            database = sql.Identifier(server.dbname)
            session.do("REVOKE CONNECT ON DATABASE {db} FROM {role}", db=database, role=role)
        elif row["is_schema"]:
            schema = sql.Identifier(setup.schema)
            session.do("REVOKE USAGE ON SCHEMA {schema} FROM {role}", schema=schema, role=role)
        elif not row["is_database"]:
            raise SetupError(
                f"database {server.dbname}: role {setup.role} owns or may use {row['what']}, which"
                " is not of pgmux's making: take that away first"
            )
