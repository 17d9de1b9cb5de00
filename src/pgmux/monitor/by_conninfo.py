"""A console that is logged in to by libpq: a host and a port, or a Unix socket.

All is the simple query protocol, without transactions: PgBouncer's console speaks nothing else.
A lost connection is made again for the next question; where that fails, the next attempts are
spaced out, and who asks in between is told the last failure. Each command that isn't a question has
a connection of its own, so that a PAUSE, which waits, holds up nobody.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress

import psycopg
from psycopg import AsyncClientCursor, AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from pgmux.config.model import ADMIN_DATABASE
from pgmux.errors import PgmuxError
from pgmux.monitor.errors import ConsoleGone, ConsoleRefused
from pgmux.monitor.shared import COMMAND_TIMEOUT, Row, SharedConsole, not_in_time

CONNECT_TIMEOUT = 5  # seconds, of each address; libpq's connect_timeout
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds between attempts to connect
APPLICATION_NAME = "pgmux"
_FATAL = ("FATAL", "PANIC")
_IS_CONSOLE = "/bouncer"  # how server_version ends

Connection = AsyncConnection[object]


class ConninfoError(PgmuxError):
    """What should be a connection string isn't one."""


class ConninfoConsole(SharedConsole):
    """See the module and `Console`."""

    def __init__(self, conninfo: str, timeout: float) -> None:
        self._parameters = read_conninfo(conninfo)
        super().__init__(find_place(self._parameters), timeout)
        self._connection: Connection | None = None
        self._failure: ConsoleGone | None = None
        self._pause = 0.0
        self._again_at = 0.0

    async def _ask(self, sql: str) -> list[Row]:
        was_open = self._connection is not None
        try:
            return await self._run(await self._connected(), sql, self._timeout)
        except _Ended as error:
            await self._drop()
            if not was_open or error.is_final:
                raise ConsoleGone(str(error)) from error
        try:  # it has ended since the last question, as after a restart
            return await self._run(await self._connected(), sql, self._timeout)
        except _Ended as error:
            await self._drop()
            raise ConsoleGone(str(error)) from error

    async def execute(self, sql: str, *, token: str | None = None) -> None:
        """See `Console`. A token means nothing to this console, so it is refused."""
        if token is not None:
            raise ConsoleRefused("this console takes no token, only its user's rights", "28P01")
        connection = await self._connect()
        try:
            await self._run(connection, sql, COMMAND_TIMEOUT)
        except _Ended as error:
            raise ConsoleGone(str(error)) from error
        finally:
            await connection.close()

    async def close(self) -> None:
        """See `Console`."""
        await super().close()
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        """The connection, made where there is none and it isn't too early. Raises: ConsoleGone."""
        if self._connection is None:
            if self._failure is not None and time.monotonic() < self._again_at:
                raise ConsoleGone(str(self._failure))
            try:
                self._connection = await self._connect()
            except ConsoleGone as error:
                self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
                self._again_at = time.monotonic() + self._pause
                self._failure = error
                raise
            self._failure, self._pause = None, 0.0
            self._forget_refusals()
        return self._connection

    async def _connect(self) -> Connection:
        """Logs in. Raises: ConsoleGone."""
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT):
                connection = await AsyncConnection.connect(
                    make_conninfo("", **self._parameters),
                    autocommit=True,
                    cursor_factory=AsyncClientCursor,
                )
        except TimeoutError as error:
            raise not_in_time(self.place, 2 * CONNECT_TIMEOUT) from error
        except (psycopg.Error, OSError, UnicodeError) as error:
            raise ConsoleGone(_no_connection(self.place, str(error))) from error
        database = connection.info.dbname
        if not (connection.info.parameter_status("server_version") or "").endswith(_IS_CONSOLE):
            await connection.close()
            raise ConsoleGone(
                f'database "{database}" at {self.place} is no console:'
                " the console is database pgbouncer, at the pooler's port"
            )
        return connection

    async def _run(self, connection: Connection, sql: str, timeout: float) -> list[Row]:
        """One command. Raises: ConsoleRefused, _Ended."""
        loop = asyncio.get_running_loop()
        # psycopg would answer a cancelled task by a cancel request of its own, and wait for that.
        cut = loop.call_later(timeout, _cut, connection)
        try:
            cursor = await connection.execute(sql.encode("utf-8", "replace"))
            assert cursor.pgresult is not None
            return _rows(cursor.pgresult)
        except psycopg.Error as error:
            if cut.when() <= loop.time():
                raise _Ended(str(not_in_time(self.place, timeout)), is_final=True) from error
            if connection.closed or not error.sqlstate or error.diag.severity in _FATAL:
                raise _Ended(f"the connection to {self.place} has ended: {error}") from error
            message = error.diag.message_primary or str(error)
            raise ConsoleRefused(message, error.sqlstate) from error
        finally:
            cut.cancel()


class _Ended(Exception):
    """The connection can't be used any more; `is_final`: asking at once again would not help."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(_one_line(message))
        self.is_final = is_final


def _cut(connection: Connection) -> None:
    """Have libpq see the end of the connection, where the other side keeps silent."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _rows(result: PGresult) -> list[Row]:
    if result.status != ExecStatus.TUPLES_OK:
        return []
    columns = range(result.nfields)
    names = [(result.fname(i) or b"").decode("utf-8", "replace") for i in columns]
    get = result.get_value
    return [
        {
            name: None
            if (value := get(row, i)) is None
            else str(value, "utf-8", "backslashreplace")
            for i, name in enumerate(names)
        }
        for row in range(result.ntuples)
    ]


# Where to connect


def read_conninfo(conninfo: str) -> dict[str, str]:
    """libpq's parameters, completed for a console. Raises: ConninfoError."""
    try:
        found = conninfo_to_dict(conninfo)
    except (psycopg.ProgrammingError, UnicodeError) as error:
        # libpq quotes what it doesn't understand, which may be a piece of a password.
        raise ConninfoError(
            "the console's place is not a connection string: write"
            " 'host=HOST port=PORT dbname=pgbouncer user=USER'"
            " or postgresql://USER@HOST:PORT/pgbouncer; the password belongs in PGPASSWORD"
            " or in a passfile"
        ) from error
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    if "service" not in parameters and not os.environ.get("PGSERVICE"):
        parameters.setdefault("dbname", ADMIN_DATABASE)
    if not os.environ.get("PGCONNECT_TIMEOUT"):
        parameters.setdefault("connect_timeout", str(CONNECT_TIMEOUT))
    parameters.setdefault("fallback_application_name", APPLICATION_NAME)
    return parameters


def find_place(parameters: dict[str, str]) -> str:
    """`host:port` as far as it is known here, of all hosts; for messages."""
    service = parameters.get("service") or os.environ.get("PGSERVICE")
    host = parameters.get("host") or parameters.get("hostaddr") or os.environ.get("PGHOST")
    if service and not host:
        return f"service {service}"
    port = parameters.get("port") or os.environ.get("PGPORT") or "5432"
    return f"{host or 'the local socket'}:{port}"


_HINTS = (
    (("not allowed",), "that user is in neither admin_users nor stats_users of the pooler"),
    (("does not exist",), "is that PostgreSQL itself? The port is the pooler's, often 6432"),
    (
        ("no password supplied", "authentication failed", "no such user"),
        "the password comes from PGPASSWORD or a passfile (~/.pgpass)",
    ),
    (("No such file", "refused", "timeout"), "is the pooler running there?"),
)


def _no_connection(place: str, reason: str) -> str:
    """One line: where, why, and what to do where that is known."""
    reason = _one_line(reason)
    hint = next((hint for texts, hint in _HINTS if any(t in reason for t in texts)), "")
    return f"no connection to the console at {place}: {reason}{f' ({hint})' if hint else ''}"


def _one_line(text: str) -> str:
    """What libpq or the other side says, for a log: nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
