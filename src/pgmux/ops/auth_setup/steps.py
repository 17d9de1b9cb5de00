"""The statements that lead from what is there to what is wanted; where it is as wanted, none.

They run in a transaction of one database, and their text is told with the verifier masked.
Errors: `SetupError` for what can't be changed unasked; `ServerError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import LiteralString

from psycopg import sql

from pgmux.ops.auth_setup.setup import ARGUMENTS, MARK, RESULT, Setup, SetupError
from pgmux.ops.auth_setup.state import RoleState, read_function, read_role, read_schema
from pgmux.ops.server_connection import ServerConnection

MASK = "********"


@dataclass(slots=True)
class Session:
    """A connection whose statements are remembered as they may be shown."""

    server: ServerConnection
    told: list[str] = field(default_factory=list)

    def do(self, text: LiteralString, **parts: sql.Composable) -> None:
        """Runs it. What `secret` stands for isn't told. Raises: ServerError."""
        template = sql.SQL(text)
        self.server.rows(template.format(**parts))
        if "secret" in parts:
            parts["secret"] = sql.Literal(MASK)
        self.told.append(template.format(**parts).as_string(None) + ";")


# What ALTER DEFAULT PRIVILEGES has given to others; PUBLIC has no name.
_GRANTEES_OF_SCHEMA = """
    SELECT DISTINCT g.rolname::text AS name
      FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) x
      LEFT JOIN pg_roles g ON g.oid = x.grantee
     WHERE n.nspname = %s AND x.grantee <> n.nspowner
"""
_GRANTEES_OF_FUNCTION = """
    SELECT DISTINCT g.rolname::text AS name
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     CROSS JOIN aclexplode(p.proacl) x LEFT JOIN pg_roles g ON g.oid = x.grantee
     WHERE n.nspname = %s AND p.proname = %s AND x.grantee <> p.proowner
"""
PIN = "SET LOCAL search_path = pg_catalog, pg_temp"  # of what we ask and make ourselves


def make_lookup(session: Session, setup: Setup, *, replace: bool) -> None:
    """Everything of one database; the role is there. `replace` drops a function of that name that
    isn't ours. Raises: SetupError; ServerError.
    """
    session.server.rows(PIN)
    _make_schema(session, setup)
    _make_function(session, setup, replace=replace)
    query = "SELECT has_database_privilege(%s, current_database(), 'CONNECT')"
    if not session.server.one(query, (setup.role,)):
        session.do(
            "GRANT CONNECT ON DATABASE {database} TO {role}",
            database=sql.Identifier(session.server.dbname),
            role=sql.Identifier(setup.role),
        )


def make_role(session: Session, setup: Setup, verifier: str | None) -> None:
    """The role; `verifier` is its new secret, if it gets one. Raises: SetupError; ServerError."""
    session.server.rows(PIN)
    role = sql.Identifier(setup.role)
    there = read_role(session.server, setup.role)
    if there is None:
        session.do(
            "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
            " NOBYPASSRLS PASSWORD {secret}",
            role=role,
            secret=sql.Literal(verifier),
        )
        session.do("COMMENT ON ROLE {role} IS {mark}", role=role, mark=sql.Literal(MARK))
    else:
        _repair_role(session, setup, there, verifier)
    limit, old = setup.connection_limit, -1 if there is None else there.connection_limit
    if limit is not None and limit != old:
        session.do("ALTER ROLE {role} CONNECTION LIMIT {n}", role=role, n=sql.SQL(str(limit)))


def _repair_role(session: Session, setup: Setup, there: RoleState, verifier: str | None) -> None:
    role = sql.Identifier(setup.role)
    _check_rights(setup, there)
    if not there.can_login:
        session.do("ALTER ROLE {role} LOGIN", role=role)
    if there.is_expired:
        session.do("ALTER ROLE {role} VALID UNTIL 'infinity'", role=role)
    if verifier is not None:
        session.do("ALTER ROLE {role} PASSWORD {secret}", role=role, secret=sql.Literal(verifier))


def _check_rights(setup: Setup, there: RoleState) -> None:
    if there.rights:
        raise SetupError(
            f"role {setup.role} is there already and has {', '.join(there.rights)}: auth_user"
            " should be able to ask the function and nothing else; name another by --role"
        )


def _make_schema(session: Session, setup: Setup) -> None:
    schema, role = sql.Identifier(setup.schema), sql.Identifier(setup.role)
    there = read_schema(session.server, setup)
    if there is None:
        session.do("CREATE SCHEMA {schema}", schema=schema)
        session.do("COMMENT ON SCHEMA {schema} IS {mark}", schema=schema, mark=sql.Literal(MARK))
        what = sql.SQL("SCHEMA {}").format(schema)
        _revoke_defaults(session, what, _GRANTEES_OF_SCHEMA, setup.schema)
    if there is None or not there.is_usable:
        session.do("GRANT USAGE ON SCHEMA {schema} TO {role}", schema=schema, role=role)


def _make_function(session: Session, setup: Setup, *, replace: bool) -> None:
    function = sql.SQL("{}(text)").format(sql.Identifier(setup.schema, setup.function))
    there = read_function(session.server, setup)
    if there is not None and not there.is_as_wanted:
        if not (there.is_marked or replace):
            raise SetupError(
                f"database {session.server.dbname}: there is a function"
                f" {setup.schema}.{setup.function} that is another than this one: --replace has"
                " this one take its place, --schema names another place"
            )
        session.do("DROP FUNCTION {function}", function=function)
        there = None
    if there is None:
        _create_function(session, setup, function)
    if there is None or there.is_public:
        session.do("REVOKE ALL ON FUNCTION {function} FROM PUBLIC", function=function)
    if there is None:
        what = sql.SQL("FUNCTION {}").format(function)
        _revoke_defaults(session, what, _GRANTEES_OF_FUNCTION, setup.schema, setup.function)
    if there is None or not there.is_executable:
        session.do(
            "GRANT EXECUTE ON FUNCTION {function} TO {role}",
            function=function,
            role=sql.Identifier(setup.role),
        )


def _revoke_defaults(session: Session, what: sql.Composed, query: str, *names: str) -> None:
    """From something new: a function that answers with verifiers is for auth_user alone."""
    for row in session.server.rows(query, names):
        who = sql.SQL("PUBLIC") if row["name"] is None else sql.Identifier(row["name"])
        session.do("REVOKE ALL ON {what} FROM {who}", what=what, who=who)


def _create_function(session: Session, setup: Setup, function: sql.Composed) -> None:
    session.do(
        f"CREATE FUNCTION {{name}}({ARGUMENTS}) RETURNS {RESULT}\n"
        "  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
        f"AS $${setup.body}$$",
        name=sql.Identifier(setup.schema, setup.function),
    )
    session.do(
        "COMMENT ON FUNCTION {function} IS {mark}", function=function, mark=sql.Literal(MARK)
    )
