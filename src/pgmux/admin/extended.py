"""The extended query protocol of one console: prepared statements and portals.

As in PostgreSQL: the unnamed ones are replaced, named ones aren't; a portal lives until the end of
its transaction, which is the next Sync outside a BEGIN. Commands have no parameters, and those of
what drivers ask for aren't read.
Source: PostgreSQL's src/backend/tcop/postgres.c, for texts and SQLSTATEs.
Errors: PoolerError, fatal=False; ProtocolViolation for a message that can't be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pgmux.admin.outcome import Statement
from pgmux.admin.table import Table
from pgmux.admin.values import Type
from pgmux.errors import (
    SQLSTATE_DUPLICATE_PREPARED_STATEMENT,
    SQLSTATE_INVALID_SQL_STATEMENT_NAME,
    SQLSTATE_PROTOCOL_VIOLATION,
    PoolerError,
)
from pgmux.wire import build, codes
from pgmux.wire.parse import decode_text, parse_bind, parse_close, parse_describe, parse_parse

SQLSTATE_INVALID_CURSOR_NAME = "34000"
SQLSTATE_DUPLICATE_CURSOR = "42P03"

# More of either no driver has use for; names are bounded by the longest message.
MAX_STATEMENTS = 256
MAX_PORTALS = 16


@dataclass(slots=True)
class Portal:
    """A statement with its result formats; `rows` is where its execution stands, once it began."""

    statement: Statement
    formats: tuple[int, ...]
    rows: Iterator[bytes] | None = None

    @classmethod
    def of(cls, statement: Statement, formats: Sequence[int] = ()) -> Portal:
        """With the result formats of a Bind. Raises: PoolerError."""
        return cls(statement, statement.formats(formats) if isinstance(statement, Table) else ())

    def description(self) -> bytes:
        """RowDescription or NoData."""
        if isinstance(self.statement, Table):
            return self.statement.row_description(self.formats)
        return build.build_no_data()


class ExtendedQuery:
    """Answers Parse, Bind, Describe and Close; Execute needs `find_portal`."""

    __slots__ = ("_find_statement", "_portals", "_statements")

    def __init__(self, find_statement: Callable[[bytes], Statement]) -> None:
        self._find_statement = find_statement
        self._statements: dict[bytes, Statement] = {}
        self._portals: dict[bytes, Portal] = {}

    def parse(self, body: bytes) -> bytes:
        """Keeps a statement that exists."""
        message = parse_parse(body)
        name = message.name
        if name and name in self._statements:
            text = f'prepared statement "{decode_text(name)}" already exists'
            raise _error(text, SQLSTATE_DUPLICATE_PREPARED_STATEMENT)
        _check_room(len(self._statements), MAX_STATEMENTS, "prepared statements")
        self._statements.pop(name, None)
        self._statements[name] = self._find_statement(message.query)
        return build.build_parse_complete()

    def bind(self, body: bytes) -> bytes:
        """Makes a portal of a statement."""
        message = parse_bind(body)
        statement = self._statement(message.statement)
        wanted, given = _parameter_count(statement), len(message.parameters)
        if given != wanted:
            name = decode_text(message.statement)
            count = f"bind message supplies {given} parameters"
            raise _error(f'{count}, but prepared statement "{name}" requires {wanted}')
        if message.portal and message.portal in self._portals:
            text = f'cursor "{decode_text(message.portal)}" already exists'
            raise _error(text, SQLSTATE_DUPLICATE_CURSOR)
        _check_room(len(self._portals), MAX_PORTALS, "portals")
        self._portals[message.portal] = Portal.of(statement, message.result_formats)
        return build.build_bind_complete()

    def describe(self, body: bytes) -> bytes:
        """ParameterDescription of a statement; RowDescription or NoData of both."""
        target = parse_describe(body)
        if target.kind == codes.KIND_PORTAL:
            return self.find_portal(target.name).description()
        statement = self._statement(target.name)
        oids = [Type.TEXT.oid] * _parameter_count(statement)
        return build.build_parameter_description(oids) + Portal.of(statement).description()

    def close(self, body: bytes) -> bytes:
        """Forgets a statement or portal; that there is none is no error."""
        target = parse_close(body)
        if target.kind == codes.KIND_PORTAL:
            self._portals.pop(target.name, None)
        else:
            self._statements.pop(target.name, None)
        return build.build_close_complete()

    def find_portal(self, name: bytes) -> Portal:
        """The portal of that name. Raises: PoolerError."""
        portal = self._portals.get(name)
        if portal is None:
            text = f'portal "{decode_text(name)}" does not exist'
            raise _error(text, SQLSTATE_INVALID_CURSOR_NAME)
        return portal

    def deallocate(self, name: str) -> None:
        """Forgets the statement of that name, or "all". Raises: PoolerError if there is none."""
        if name == "all":
            self._statements.clear()
        else:
            raw = name.encode("utf-8", "surrogateescape")
            self._statement(raw)
            del self._statements[raw]

    def forget_unnamed_statement(self) -> None:
        """A simple query does that."""
        self._statements.pop(b"", None)

    def end_transaction(self) -> None:
        """Forgets all portals."""
        self._portals.clear()

    def _statement(self, name: bytes) -> Statement:
        statement = self._statements.get(name)
        if statement is None:
            text = f'prepared statement "{decode_text(name)}" does not exist'
            raise _error(text, SQLSTATE_INVALID_SQL_STATEMENT_NAME)
        return statement


def _parameter_count(statement: Statement) -> int:
    return statement.parameter_count if isinstance(statement, Table) else 0


def _check_room(count: int, limit: int, what: str) -> None:
    if count >= limit:
        raise _error(f"the admin console keeps no more than {limit} {what}; close some")


def _error(message: str, sqlstate: str = SQLSTATE_PROTOCOL_VIOLATION) -> PoolerError:
    return PoolerError(message, sqlstate=sqlstate, fatal=False)
