"""Statements that PostgreSQL refuses while anybody else is connected to a database: DROP DATABASE,
CREATE DATABASE … TEMPLATE, ALTER DATABASE … RENAME and … SET TABLESPACE.

A client that has disconnected is no reason for a refusal, so an idle server of ours must not be
one. PostgreSQL waits 5 s for others to go: what is closed when the statement is seen has gone in
time. For that long no server of the database becomes idle, either.
Source: PostgreSQL's dbcommands.c, CountOtherDBBackends.
Errors: none; what isn't understood names no database, and PostgreSQL says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pgmux.pool.states import SV_IDLE, SV_USED

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl
    from pgmux.session.pooler import Pooler

GRACE = 6.0  # seconds: as long as PostgreSQL waits, and a little
REASON = "database is to be dropped, copied or moved"

_TOKEN = re.compile(
    r"""(?P<blank> \s+ | --[^\n]* | /\*.*?\*/ )
    | " (?P<quoted> (?: [^"] | "" )+ ) "
    | ' (?P<string> (?: [^'] | '' )* ) '
    | (?P<word> [^\W\d] [\w$]* )
    | (?P<other> . )""",
    re.VERBOSE | re.DOTALL,
)
_NAME_LEN = 63  # a longer name is cut there


def freed_database(statement: str) -> str | None:
    """The database (its name on the server) to which nobody else may be connected for the
    statement; None if it is none of these.
    """
    words = list(_words(statement))
    match [word.lower() for word in words[:6]]:
        case ["drop", "database", "if", "exists", _, *_]:
            return words[4]
        case ["drop", "database", _, *_]:
            return words[2]
        case ["alter", "database", _, "rename", *_] | [
            "alter",
            "database",
            _,
            "set",
            "tablespace",
            *_,
        ]:
            return words[2]
        case ["create", "database", _, *_]:
            return _template(words[3:])
    return None


def _template(options: list[str]) -> str:
    """What CREATE DATABASE copies."""
    for at, word in enumerate(options):
        if word.lower() == "template":
            named = [each for each in options[at + 1 : at + 3] if each != "="]
            if named and named[0].lower() != "default":
                return named[0]
    return "template1"


def _words(statement: str) -> Iterator[str]:
    """Its words, names as PostgreSQL understands them."""
    for token in _TOKEN.finditer(statement):
        text = token[0]
        match token.lastgroup:
            case "blank":
                continue
            case "quoted":
                text = token["quoted"].replace('""', '"')
            case "string":
                text = token["string"].replace("''", "'")
            case "word":
                text = text.lower()
            case _ if text == ";":
                continue
        yield text.encode("utf-8", "surrogateescape")[:_NAME_LEN].decode("utf-8", "surrogateescape")


def free_database(pooler: Pooler, asking: PoolControl, statement: str) -> None:
    """Close the servers that nobody uses of the database that the statement needs for itself, if
    any, in all pools that may be of the same server: the port tells, a host has many names.
    """
    name = freed_database(statement)
    port = pooler.databases[asking.pool.key.database].config.port
    for control in list(pooler.pools.values()):
        database = pooler.databases[control.pool.key.database].config
        if (database.dbname, database.port) == (name, port):
            _free_pool(pooler, control)


def _free_pool(pooler: Pooler, control: PoolControl) -> None:
    control.pool.keeps_none_until = pooler.clock() + GRACE
    for server in control.pool.lists.all_servers():
        control.refresh_special(server)
        if server.state in (SV_IDLE, SV_USED):
            control.close_server(server, REASON)
