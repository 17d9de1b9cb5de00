"""PostgreSQL itself, asked by a command: a connection by libpq, each answer bounded in time.

Nothing is set in the session, so that it does no harm if a pooler turns out to be in between.
Errors: `ServerError`, whose text says where, what and what to do, and never has a password.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg
from psycopg import Connection, sql
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from pgmux.errors import PgmuxError
from pgmux.ops.console.output import printable

CONNECT_TIMEOUT = 5  # seconds, of each address; libpq's connect_timeout
ANSWER_TIMEOUT = 30.0  # seconds
APPLICATION_NAME = "pgmux"
INSUFFICIENT_PRIVILEGE = "42501"
DEPENDENT_OBJECTS = "2B"  # class of "cannot be dropped because some objects depend on it"

TEXT_TYPES = ("text", "name", "varchar", "bpchar", '"char"')

Row = dict[str, Any]
Statement = str | sql.SQL | sql.Composed


class ServerError(PgmuxError):
    """No connection, or an error in answer; `sqlstate` is empty where PostgreSQL gave none.

    `needs_password`: one would perhaps have helped.
    """

    def __init__(self, message: str, sqlstate: str = "", needs_password: bool = False) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.needs_password = needs_password


def read_conninfo(text: str, *, is_typed: bool = False) -> dict[str, str]:
    """libpq's parameters of key=value pairs or a URL. Raises: ServerError.

    Typed on a command line it may have no password: every user of the machine can read those.
    """
    try:
        found = conninfo_to_dict(text) if text else {}
    except (psycopg.ProgrammingError, UnicodeError) as error:
        # libpq quotes what it doesn't understand, which may be a piece of a password.
        raise ServerError(
            "that is not a connection string: write 'host=HOST port=PORT dbname=NAME user=USER'"
            " or postgresql://USER@HOST:PORT/NAME (% before : / @ % as %3A %2F %40 %25)"
        ) from error
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    if is_typed and "password" in parameters:
        raise ServerError(
            "a password on a command line can be read by every user of this machine: leave it"
            " out, and put it into PGPASSWORD or ~/.pgpass, or type it when asked"
        )
    return parameters


class _AnyText(TextLoader):
    """Text of a database in SQL_ASCII, which may be anything: psycopg would answer bytes."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


class ServerConnection:
    """A connection to one database of a PostgreSQL, in autocommit. Use it in a `with`."""

    def __init__(self, parameters: dict[str, str]) -> None:
        """Connects; `parameters` are libpq's. Raises: ServerError."""
        wanted = dict(parameters)
        if not os.environ.get("PGCONNECT_TIMEOUT"):
            wanted.setdefault("connect_timeout", str(CONNECT_TIMEOUT))
        wanted.setdefault("fallback_application_name", APPLICATION_NAME)
        try:
            self._connection: Connection[Row] = psycopg.connect(
                make_conninfo("", **wanted),
                autocommit=True,
                row_factory=dict_row,
                prepare_threshold=None,
            )
        except (psycopg.Error, OSError, UnicodeError) as error:
            raise _no_connection(wanted, error) from error
        self._parameters = parameters
        info = self._connection.info
        if info.parameter_status("client_encoding") == "SQL_ASCII":
            for name in TEXT_TYPES:
                self._connection.adapters.register_loader(name, _AnyText)
        self.place = f"{info.host}:{info.port}"
        self.address = "" if info.host.startswith("/") else info.hostaddr
        self.dbname, self.user = info.dbname, info.user
        self.version: int = info.server_version  # 150004 is 15.4
        if (info.parameter_status("server_version") or "").endswith("/bouncer"):
            self.close()
            raise ServerError(f"at {self.place} is a pooler's console: PostgreSQL itself is needed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def again(self, **changes: str) -> ServerConnection:
        """Another connection to the same server, with the password that let this one in, but for
        `changes`: dbname, or user and password. Raises: ServerError.
        """
        password = self._connection.info.password
        ours = {"password": password} if password else {}
        return ServerConnection({**self._parameters, "user": self.user, **ours, **changes})

    def close(self) -> None:
        """Ends the connection; may be called twice."""
        self._connection.close()

    def rows(
        self, query: Statement, params: Sequence[object] = (), timeout: float = ANSWER_TIMEOUT
    ) -> list[Row]:
        """One statement's rows, none of a command. `%s` stands for a parameter.

        Raises: ServerError, also where the answer hasn't come in `timeout` seconds, after which
        the connection is closed.
        """
        is_cut = threading.Event()
        alarm = threading.Timer(timeout, self._cut, (is_cut,))
        alarm.daemon = True
        alarm.start()
        try:
            statement = query.encode() if isinstance(query, str) else query
            cursor = self._connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            if is_cut.is_set():
                raise ServerError(f"{self.place} has not answered in {timeout:g} s") from error
            raise self._failed(error) from error
        finally:
            alarm.cancel()

    def one(self, query: Statement, params: Sequence[object] = ()) -> Any:
        """The first column of the first row, None where there is no row. Raises: ServerError."""
        found = self.rows(query, params)
        return next(iter(found[0].values())) if found else None

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """What is run in it happens as a whole or not at all; without `keep` it is a rehearsal,
        rolled back at its end. Raises: ServerError.
        """
        try:
            with self._connection.transaction(force_rollback=not keep):
                yield
        except psycopg.Error as error:
            raise self._failed(error) from error

    def login(self) -> dict[str, str]:
        """libpq's parameters of this very connection, for another driver; the password among them.

        So variables, service files and ~/.pgpass count there as they do here.
        """
        info = self._connection.info
        place = {"host": info.host, "port": str(info.port), "user": info.user}
        found = {**info.get_parameters(), **place, "dbname": info.dbname, "password": info.password}
        return {name: value for name, value in found.items() if value}

    def is_superuser(self) -> bool:
        return self._connection.info.parameter_status("is_superuser") == "on"

    def is_pooled(self) -> bool:
        """Whether a pooler is in between: then the backend is another than we were told at login.

        In session mode a pooler may tell the backend's own. Raises: ServerError.
        """
        return bool(self.one("SELECT pg_backend_pid()") != self._connection.info.backend_pid)

    def scram_secret(self, user: str, password: str) -> str:
        """The verifier that PostgreSQL would store, made here: the password isn't sent."""
        secret = self._connection.pgconn.encrypt_password(
            password.encode(), user.encode(), b"scram-sha-256"
        )
        return secret.decode()

    def _cut(self, is_cut: threading.Event) -> None:
        """Has libpq see the connection's end, where the other side keeps silent."""
        is_cut.set()
        with suppress(psycopg.Error, OSError):
            end = socket.socket(fileno=os.dup(self._connection.fileno()))
            with end:
                end.shutdown(socket.SHUT_RDWR)

    def _failed(self, error: psycopg.Error) -> ServerError:
        said = error.diag.message_primary or str(error)
        if (error.sqlstate or "").startswith(DEPENDENT_OBJECTS):
            said += f": {error.diag.message_detail}"
        hint = f"({error.diag.message_hint})" if error.diag.message_hint else ""
        return ServerError(f"{self.place}: {_one_line(f'{said} {hint}')}", error.sqlstate or "")


_HINTS = (
    (
        "too many clients",
        "max_connections is reached; a superuser has superuser_reserved_connections",
    ),
    ("remaining connection slots", "max_connections is reached; ask as a superuser"),
    ("no password supplied", "PGPASSWORD or ~/.pgpass, or type it at the terminal"),
    (
        "password authentication failed",
        "PGPASSWORD or ~/.pgpass has another password than that role",
    ),
    ("no pg_hba.conf entry", "pg_hba.conf of PostgreSQL has no line for this user and address"),
    ("does not exist", "name another by dbname= or user="),
    ("refused", "is PostgreSQL running there?"),
    ("No such file", "is PostgreSQL running there? name its host by host="),
)


_LIBPQS_HINT = re.compile(r" Is the server running [^?]*\?")  # ours is shorter


def _no_connection(parameters: dict[str, str], error: Exception) -> ServerError:
    said = _LIBPQS_HINT.sub("", _one_line(str(error)))
    host = parameters.get("host") or os.environ.get("PGHOST") or "the local socket"
    port = parameters.get("port") or os.environ.get("PGPORT") or "5432"
    hint = next((hint for text, hint in _HINTS if text in said), "")
    sqlstate = getattr(error, "sqlstate", None) or ""
    needs_password = "no password supplied" in said or "password authentication failed" in said
    message = f"no connection to PostgreSQL at {host}:{port}: {said}{f' ({hint})' if hint else ''}"
    return ServerError(message, sqlstate, needs_password)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split())) if text.strip() else ""
