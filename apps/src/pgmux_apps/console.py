"""The console of a pooler, pgmux or PgBouncer, read with whichever driver the application has.

PgBouncer's console knows the simple query protocol only and no BEGIN: psycopg by its ClientCursor,
psycopg2, both in autocommit. asyncpg can't read it, so an application with that alone is told so.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Timer
from typing import Any

Row = dict[str, str | None]


class ConsoleError(Exception):
    """The console wasn't read: which one, and why. `is_refused`: it is there, and answered so."""

    def __init__(self, message: str, *, is_refused: bool) -> None:
        super().__init__(message)
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class ConsoleAddress:
    """Where a console is and who asks; `host` may be the directory of a Unix socket."""

    host: str
    port: int
    user: str
    password: str | None = field(default=None, repr=False)
    dbname: str = "pgbouncer"
    sslmode: str | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None

    def __str__(self) -> str:
        """For messages: without the password."""
        return f"{self.dbname} at {self.host}:{self.port} as {self.user}"


def read_console(
    place: ConsoleAddress, queries: Sequence[str], timeout: float = 5.0
) -> list[list[Row]]:
    """One answer a query, each its rows by column name, as text. `timeout` in seconds is for all of
    it, connecting included as far as libpq goes by it. Raises: ConsoleError.
    """
    connect, error_type = _driver()
    try:
        connection = connect(place, max(2, math.ceil(timeout)))  # libpq takes less than 2 as 2
    except error_type as error:
        raise _error(place, error) from error
    try:
        with cut_after(connection, timeout) as cut:
            return [_rows(connection, query) for query in queries]
    except error_type as error:
        if cut.is_set():
            message = f"the console {place} isn't read: no answer within {timeout:g} s"
            raise ConsoleError(message, is_refused=False) from error
        raise _error(place, error) from error
    finally:
        with suppress(error_type):
            connection.close()


def _driver() -> tuple[Any, type[Exception]]:
    """How to connect, and what that driver raises. Raises: ConsoleError where there is none."""
    try:
        import psycopg
    except ImportError:
        pass
    else:
        return _connect_psycopg, psycopg.Error
    try:
        import psycopg2
    except ImportError:
        raise ConsoleError(
            "reading a pooler's console takes psycopg or psycopg2; neither is installed",
            is_refused=False,
        ) from None
    return _connect_psycopg2, psycopg2.Error


def _parameters(place: ConsoleAddress, connect_timeout: int) -> dict[str, Any]:
    """For libpq; what isn't given stays its own default, as the password from ~/.pgpass."""
    given: dict[str, Any] = {
        "host": place.host,
        "port": place.port,
        "user": place.user,
        "password": place.password,
        "dbname": place.dbname,
        "sslmode": place.sslmode,
        "sslrootcert": place.sslrootcert,
        "sslcert": place.sslcert,
        "sslkey": place.sslkey,
        "connect_timeout": connect_timeout,
        "application_name": "pgmux-apps",
    }
    return {name: value for name, value in given.items() if value is not None}


def _connect_psycopg(place: ConsoleAddress, connect_timeout: int) -> Any:
    import psycopg

    return psycopg.connect(
        **_parameters(place, connect_timeout),
        autocommit=True,
        prepare_threshold=None,
        cursor_factory=psycopg.ClientCursor,
    )


def _connect_psycopg2(place: ConsoleAddress, connect_timeout: int) -> Any:
    import psycopg2

    connection = psycopg2.connect(**_parameters(place, connect_timeout))
    connection.autocommit = True
    return connection


def _rows(connection: Any, query: str) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [
            {
                name: None if value is None else str(value)
                for name, value in zip(names, values, strict=True)
            }
            for values in cursor.fetchall()
        ]


@contextmanager
def cut_after(connection: Any, timeout: float) -> Iterator[Event]:
    """Neither driver has a timeout for an answer: the connection is cut, which sets the event;
    what waits for an answer gets the driver's error.
    """
    cut = Event()
    # A descriptor of our own: when the timer fires, the driver's number may be another file's.
    held = socket.socket(fileno=os.dup(connection.fileno()))
    closing = Lock()  # not by join(): gevent that patches after this import never ends a thread

    def end() -> None:
        with closing, suppress(OSError):
            if held.fileno() >= 0:
                cut.set()
                held.shutdown(socket.SHUT_RDWR)

    timer = Timer(timeout, end)
    timer.daemon = True
    try:
        timer.start()
        yield cut
    finally:
        timer.cancel()
        with closing:
            held.close()


def _error(place: ConsoleAddress, error: Exception) -> ConsoleError:
    """The driver's error in one line; what the server answered has an SQLSTATE, or is FATAL."""
    sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    text = first_line(error)
    return ConsoleError(
        f"the console {place} isn't read: {text}",
        is_refused=sqlstate is not None or "FATAL:" in text,
    )


def first_line(error: Exception) -> str:
    """What an error says, without what libpq's and SQLAlchemy's go on with; never empty."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
