"""The function is asked as the pooler will ask: logged in as auth_user, with its password.

An answer that is wrong is an error, no connection a warning: pg_hba.conf may let the pooler's
machine in and not this one.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from pgmux.ops.auth_setup.setup import Setup
from pgmux.ops.server_connection import Row, ServerConnection, ServerError
from pgmux.ops.severity import Severity


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went in a database."""

    database: str
    severity: Severity
    text: str


def try_lookup(server: ServerConnection, setup: Setup, password: str) -> Trial:
    """Whether the function tells auth_user its own verifier, and none of whom it shouldn't."""
    database = server.dbname
    try:
        asker = server.again(user=setup.role, password=password)
    except ServerError as error:
        return Trial(database, Severity.WARNING, f"not tried: {error}")
    with asker:
        try:
            return Trial(database, *_judge(server, asker, setup))
        except ServerError as error:
            return Trial(database, Severity.ERROR, str(error))


def _judge(server: ServerConnection, asker: ServerConnection, setup: Setup) -> tuple[Severity, str]:
    if _asked(asker, setup, setup.role) != [{"uname": setup.role, "has_secret": True}]:
        return Severity.ERROR, f"the function doesn't answer for {setup.role} itself"
    if not setup.superusers and server.is_superuser() and _asked(asker, setup, server.user):
        return Severity.ERROR, f"the function answers for {server.user}, a superuser"
    return Severity.NOTE, f"tried: the function answers {setup.role}"


def _asked(asker: ServerConnection, setup: Setup, name: str) -> list[Row]:
    query = sql.SQL("SELECT uname, phash IS NOT NULL AS has_secret FROM {function}({name})")
    function = sql.Identifier(setup.schema, setup.function)
    return asker.rows(query.format(function=function, name=sql.Literal(name)))
