"""One connection to a console, by libpq and the simple query protocol: all that PgBouncer speaks.

libpq's functions that don't block are used, so that Ctrl-C is answered: during a command it sends a
cancel request, which undoes a PAUSE, and waits for what the console says to that. PgBouncer says
nothing; then the connection is closed, as it can't be used any more.
Errors: `ConnectError`, `ConsoleError`, `ConnectionLost`, `Interrupted`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PollingStatus
from psycopg.pq.abc import PGconn, PGresult

from pgmux.ops.console.result import Column, Result

CANCEL_PATIENCE = 1.0  # seconds for the answer to a cancel request
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)
_UNANSWERED = "Cancelled. The pooler hasn't answered to that: the connection is closed."
_SLOW = "The pooler hasn't answered in time: the connection is closed."

OnNotice = Callable[[str], None]


class ConnectError(Exception):
    """No connection, or none to a console; `needs_password`: one would perhaps have helped."""

    def __init__(self, message: str, needs_password: bool = False) -> None:
        super().__init__(message)
        self.needs_password = needs_password


class ConsoleError(Exception):
    """The console's answer is an error; the connection goes on."""


class ConnectionLost(Exception):
    """The connection has ended; whether the command has been carried out isn't known."""


class Interrupted(Exception):
    """No answer to a cancel request, or none in time: the connection is closed."""


def connect(conninfo: str, on_notice: OnNotice) -> Connection:
    """Logs in. Raises: ConnectError, with what libpq tried."""
    pgconn = _log_in(conninfo)
    if pgconn.status != ConnStatus.OK:
        error = ConnectError(_text(pgconn.error_message), bool(pgconn.needs_password))
        pgconn.finish()
        raise error
    version = _text(pgconn.parameter_status(b"server_version") or b"")
    if not version.endswith("/bouncer"):
        error = ConnectError(
            f'database "{_text(pgconn.db)}" at {place_of(pgconn)} is no console:'
            " the console is database pgbouncer, at the pooler's port"
        )
        pgconn.finish()
        raise error
    return Connection(pgconn, version.removesuffix("/bouncer"), on_notice)


def _log_in(conninfo: str) -> PGconn:
    """libpq's asynchronous connect, carried out within connect_timeout."""
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    deadline = time.monotonic() + _connect_timeout(pgconn)
    while True:
        status = pgconn.connect_poll()
        if status not in (PollingStatus.READING, PollingStatus.WRITING):
            return pgconn
        is_reading = status == PollingStatus.READING
        to_read, to_write = ([pgconn.socket], []) if is_reading else ([], [pgconn.socket])
        if not any(select.select(to_read, to_write, [], _left(deadline))):
            where = place_of(pgconn)
            pgconn.finish()
            raise ConnectError(f"{where} has not answered in time (connect_timeout)")


def _connect_timeout(pgconn: PGconn) -> float:
    if pgconn.status == ConnStatus.BAD:
        return 0.0
    text = next((each.val for each in pgconn.info if each.keyword == b"connect_timeout"), None)
    try:
        seconds = float(text or 0)
    except ValueError:
        raise ConnectError(
            f"connect_timeout is no number of seconds: {_text(text or b'')}"
        ) from None
    return seconds if seconds > 0 else float("inf")


def _left(deadline: float) -> float | None:
    """Seconds up to then, as select takes them."""
    return None if deadline == float("inf") else max(0.0, deadline - time.monotonic())


def place_of(pgconn: PGconn) -> str:
    """host:port of the host that libpq has come to."""
    return f"{_text(pgconn.host)}:{_text(pgconn.port)}"


class Connection:
    """A console that has been logged in to; `version` is the pooler's. See the module."""

    def __init__(self, pgconn: PGconn, version: str, on_notice: OnNotice) -> None:
        self._pgconn = pgconn
        self.version = version
        self.name = f"{_text(pgconn.user)}@{place_of(pgconn)}"
        self.on_notice = on_notice
        pgconn.notice_handler = lambda notice: self.on_notice(_message(notice))

    @property
    def parameters(self) -> dict[str, str]:
        """Where it has come to and as whom; the password, if one has been given, is among them."""
        given = {
            "host": self._pgconn.host,
            "port": self._pgconn.port,
            "user": self._pgconn.user,
            "password": self._pgconn.password,
        }
        return {name: _text(value) for name, value in given.items() if value}

    def close(self) -> None:
        """Ends the connection; may be called twice."""
        self._pgconn.finish()

    @property
    def is_open(self) -> bool:
        """Whether it can be used; sees also an end that has come since the last command."""
        if self._pgconn.status != ConnStatus.OK:
            return False
        if select.select([self._pgconn.socket], [], [], 0)[0]:
            with suppress(psycopg.Error):
                self._pgconn.consume_input()
        return self._pgconn.status == ConnStatus.OK

    def run(self, statement: str, timeout: float | None = None) -> Result:
        """One command and its answer; `timeout` seconds at most, else for ever.

        Raises: ConsoleError; and with the connection closed ConnectionLost, Interrupted.
        """
        if "\0" in statement:
            raise ConsoleError("ERROR:  a command can't have a NUL character")
        try:
            self._pgconn.send_query(statement.encode("utf-8", "surrogateescape"))
            results = []
            while (result := self._next_result(timeout)) is not None:
                results.append(result)
        except psycopg.Error as error:
            self.close()
            raise ConnectionLost(str(error)) from error
        except BaseException:
            self.close()
            raise
        return self._answer(results)

    def _next_result(self, timeout: float | None) -> PGresult | None:
        self._wait(float("inf") if timeout is None else time.monotonic() + timeout)
        return self._pgconn.get_result()

    def _wait(self, deadline: float) -> None:
        """Until libpq has a result. Ctrl-C cancels once; after that it waits for no longer."""
        is_cancelled = False
        while self._pgconn.is_busy():
            try:
                if not select.select([self._pgconn.socket], [], [], _left(deadline))[0]:
                    raise Interrupted(_UNANSWERED if is_cancelled else _SLOW)
                self._pgconn.consume_input()
            except KeyboardInterrupt:
                if is_cancelled:
                    raise Interrupted(_UNANSWERED) from None
                is_cancelled = True
                deadline = time.monotonic() + CANCEL_PATIENCE
                self._cancel()

    def _cancel(self) -> None:
        with suppress(psycopg.Error):
            try:
                self._pgconn.cancel_conn().blocking()  # encrypted as the connection is
            except psycopg.NotSupportedError:  # libpq is older than 17
                self._pgconn.get_cancel().cancel()

    def _answer(self, results: list[PGresult]) -> Result:
        failed = next((each for each in results if each.status not in _GOOD), None)
        if self._pgconn.status != ConnStatus.OK:
            message = _text(self._pgconn.error_message) if failed is None else _message(failed)
            self.close()
            raise ConnectionLost(message)
        if failed is not None:
            raise ConsoleError(_message(failed))
        return _result(results[-1])


def _result(result: PGresult) -> Result:
    numbers = range(result.nfields)
    columns = [Column(_text(result.fname(i) or b""), result.ftype(i)) for i in numbers]
    values = (tuple(result.get_value(row, i) for i in numbers) for row in range(result.ntuples))
    rows = [tuple(None if v is None else _decode(v) for v in row) for row in values]
    return Result(_text(result.command_status or b""), columns, rows)


def _message(result: PGresult) -> str:
    """An error or notice in libpq's usual form: severity, text, and the detail below."""
    if result.error_field(DiagnosticField.SEVERITY) is None:
        return _text(result.error_message)  # libpq's own
    fields = {
        "": DiagnosticField.MESSAGE_PRIMARY,
        "DETAIL:  ": DiagnosticField.MESSAGE_DETAIL,
        "HINT:  ": DiagnosticField.MESSAGE_HINT,
    }
    found = ((label, result.error_field(code)) for label, code in fields.items())
    severity = _text(result.error_field(DiagnosticField.SEVERITY) or b"")
    text = "\n".join(f"{label}{_text(value)}" for label, value in found if value)
    return f"{severity}:  {text}"


def _text(data: bytes) -> str:
    return _decode(data).rstrip("\n")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")
