"""Statements in several databases: rehearsed in all of them before any of them keeps one.

The role belongs to all databases: it is made in the transaction of the first.
Errors: those of the steps, and `ServerError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pgmux.ops.auth_setup.steps import Session
from pgmux.ops.server_connection import ServerConnection

_ALL = (
    "SELECT datname::text AS name FROM pg_catalog.pg_database"
    " WHERE datallowconn AND NOT datistemplate ORDER BY datname"
)
Steps = Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class Done:
    """A database, and its statements as they may be shown; none where nothing was to do."""

    database: str
    statements: tuple[str, ...]


def databases_of(server: ServerConnection, names: Sequence[str], *, everyone: bool) -> list[str]:
    """Those that are named, all of them, or the one that the connection is in."""
    if everyone:
        return [str(row["name"]) for row in server.rows(_ALL)]
    return list(dict.fromkeys(names)) or [server.dbname]


@contextmanager
def connected(server: ServerConnection, names: Iterable[str]) -> Iterator[list[ServerConnection]]:
    """A connection to each database. Raises: ServerError."""
    with ExitStack() as stack:
        yield [stack.enter_context(server.again(dbname=name)) for name in names]


def rehearse(servers: Sequence[ServerConnection], of_role: Steps, of_database: Steps) -> list[Done]:
    """What would be done in each database; all of it has been tried and rolled back."""
    done: list[Done] = []
    for server in servers:
        session = Session(server)
        with server.transaction(keep=False):
            of_role(session)
            if done:
                session.told.clear()  # the role again
            of_database(session)
        done.append(Done(server.dbname, tuple(session.told)))
    return done


def carry_out(
    servers: Sequence[ServerConnection],
    of_role: Steps,
    of_database: Steps,
    before_role: Callable[[], None],
) -> list[Done]:
    """What was done in each database, in the first with the role. `before_role` is called before
    that is committed: where the password can't be written down, nobody is given it.
    """
    done: list[Done] = []
    for server in servers:
        session = Session(server)
        with server.transaction():
            if not done:
                of_role(session)
            of_database(session)
            if not done:
                before_role()
        done.append(Done(server.dbname, tuple(session.told)))
    return done
