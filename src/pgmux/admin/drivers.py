"""What drivers and tools send of their own accord, and what they are told: nothing here changes
anything but ReadyForQuery's status and what is prepared.

PgBouncer knows none of it, so there a driver that wraps its work in BEGIN and COMMIT, or wants to
know the server's version, can't use the console. `ANSWERS` is all that pgmux adds to the grammar;
who sends it was observed with the versions that the tests install. Anybody may send it.
Errors: none; what isn't in the table isn't answered here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from pgmux.admin.outcome import Outcome, Statement
from pgmux.admin.parser import unquote
from pgmux.admin.table import Table, attributes, items
from pgmux.admin.values import Type
from pgmux.wire.codes import TRANSACTION_BLOCK, TRANSACTION_IDLE

# What PgBouncer itself answers to SHOW and ignores in SET, as drivers have always asked for it.
FAKE_PARAMETERS: Mapping[str, str] = {
    "client_encoding": "UTF-8",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "datestyle": "ISO",
    "timezone": "GMT",
}

MAX_ANSWERS = 32  # in one query; asyncpg's reset has five

_Answer = Callable[[re.Match[bytes]], Statement]


def fake_table(name: str) -> Table:
    """SHOW of one of FAKE_PARAMETERS."""
    return _one_row(name, FAKE_PARAMETERS[name])


def _one_row(name: str, value: object, type_: Type = Type.TEXT) -> Table:
    return Table(items(type_, name), lambda _: [(value,)])


def _rows(table: Table) -> _Answer:
    return lambda _: table


def _done(
    tag: str | None, *, status: int | None = None, notice: tuple[str, str] | None = None
) -> _Answer:
    """An outcome and nothing else."""
    return lambda _: partial(Outcome, tag, status=status, notice=notice)


def _deallocate(query: re.Match[bytes]) -> Statement:
    name = unquote(query[1], len(query[1]))
    if query[1].lower() == b"all":
        return partial(Outcome, "DEALLOCATE ALL", deallocate="all")
    return partial(Outcome, "DEALLOCATE", deallocate=name)


def _no_types(query: re.Match[bytes]) -> Statement:
    """No rows, and as many parameters as the query has: a driver looks up a type by its name."""
    numbers = (int(number) for number in re.findall(rb"\$([0-9]{1,4})", query[0]))
    return replace(_NO_TYPES, parameter_count=max(numbers, default=0))


_NO_TYPES = Table(attributes(Type.OID, "oid"), lambda _: ())
_VERSION = Table(
    items(Type.TEXT, "version"),
    # As PostgreSQL says it, its name and server_version first, for those that take it apart.
    lambda pooler: [(f"PostgreSQL {pooler.server_version} on {pooler.version_lines[-1]}",)],
)
_ALL_PARAMETERS = Table(
    items(Type.TEXT, "name", "setting", "description"),
    lambda _: [(name, value, "") for name, value in sorted(FAKE_PARAMETERS.items())],
)
_IGNORED = ("SET ignored", "")

# In a pattern a blank is white space, NAME a word or "…", MODES the modes of a transaction.
_WORDS = {
    " ": r"\s++",
    "NAME": r'("(?:[^"]|"")*+"|[0-9a-z_]++)',
    "MODES": r"(?:[\s,]++[a-z]++)",
}

# What is sent, who sends it, the answer.
ANSWERS: tuple[tuple[str, str, _Answer], ...] = (
    ("", "psycopg's pool and SQLAlchemy: is it alive?", _done(None)),
    (
        "select 1",
        "pgcli, connection pools: is it alive?",
        _rows(_one_row("?column?", 1, Type.INT4)),
    ),
    # Transactions
    (
        "(?:begin|start transaction)MODES*+",
        "psycopg, psycopg2, asyncpg",
        _done("BEGIN", status=TRANSACTION_BLOCK),
    ),
    (
        "(?:commit|end)(?: work| transaction)?",
        "psycopg, psycopg2, asyncpg",
        _done("COMMIT", status=TRANSACTION_IDLE),
    ),
    (
        "(?:rollback|abort)(?: work| transaction)?",
        "psycopg, psycopg2, asyncpg",
        _done("ROLLBACK", status=TRANSACTION_IDLE),
    ),
    ("savepoint NAME", "psycopg, asyncpg, SQLAlchemy: nested", _done("SAVEPOINT")),
    ("release(?: savepoint)? NAME", "psycopg, asyncpg, SQLAlchemy", _done("RELEASE")),
    ("rollback to(?: savepoint)? NAME", "psycopg, asyncpg, SQLAlchemy", _done("ROLLBACK")),
    (
        "set (?:session characteristics as )?transactionMODES++",
        "SQLAlchemy: isolation_level",
        _done("SET"),
    ),
    (
        "show transaction isolation level",
        "SQLAlchemy",
        _rows(_one_row("transaction_isolation", "read committed")),
    ),
    # Giving a connection back
    (
        r"select pg_advisory_unlock_all\(\)",
        "asyncpg: reset",
        _rows(_one_row("pg_advisory_unlock_all", "", Type.VOID)),
    ),
    ("close all", "asyncpg: reset", _done("CLOSE CURSOR ALL")),
    (r"unlisten \*", "asyncpg: reset", _done("UNLISTEN")),
    ("reset all", "asyncpg, psycopg2: reset", _done("RESET")),
    ("set session authorization default", "psycopg2: reset", _done("SET")),
    ("discard all", "connection pools", _done("DISCARD ALL")),
    ("deallocate(?: prepare)? NAME", "psycopg, psycopg2", _deallocate),
    # Who is there?
    (r"select (?:pg_catalog\.)?version\(\)", "SQLAlchemy", _rows(_VERSION)),
    (r"select current_schema\(\)", "SQLAlchemy", _rows(_one_row("current_schema", None))),
    (
        r"select (?>[^;]*?\bfrom (?:pg_catalog\.)?pg_type\b)[^;]*+",
        "SQLAlchemy, psycopg: is there hstore?",
        _no_types,
    ),
    ("show all", "whoever lists parameters", _rows(_ALL_PARAMETERS)),
    ("show time zone", "pgcli", _rows(fake_table("timezone"))),
    ("set time zone [^;]++", "pgcli", _done("SET", notice=_IGNORED)),
)


def _compile(pattern: str) -> re.Pattern[bytes]:
    """Repetitions of `_WORDS` are possessive: a query of any length is read once."""
    text = re.sub("|".join(_WORDS), lambda match: _WORDS[match[0]], pattern)
    return re.compile(rf"\s*+{text}\s*+(?:;\s*+)?\Z".encode(), re.IGNORECASE | re.DOTALL)


_COMPILED = tuple((_compile(pattern), answer) for pattern, _, answer in ANSWERS)


def find_answer(query: bytes) -> Statement | None:
    """The answer to one statement that a driver sends, None where it isn't in the table."""
    for pattern, answer in _COMPILED:
        if match := pattern.match(query):
            return answer(match)
    return None


def find_answers(query: bytes) -> list[Statement]:
    """The answers to one or several statements in one simple query; none where one of them isn't in
    the table, or they are more than MAX_ANSWERS: commands of the console come one at a time.
    """
    answer = find_answer(query)
    if answer is not None:
        return [answer]
    answers = []
    for part in query.split(b";", MAX_ANSWERS - 1):
        if part.strip():
            answer = find_answer(part)
            if answer is None:
                return []
            answers.append(answer)
    return answers
