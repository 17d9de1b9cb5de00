"""Every exception class of pgmux, and the SQLSTATEs that the pooler itself raises.

The class says whose fault it is:

* `PoolerError`         what a client is told in an ErrorResponse; nobody's bug.
* `ProtocolViolation`   a peer broke the protocol; its connection closes, nothing else does.
* `LocalProtocolError`  our bug; logged with a traceback, the connection closes, the process goes
on.
* `TlsError`            TLS with a peer failed; its connection closes, nothing else does.
* `ConfigError`         an operator's file is wrong; carries every problem with its place.

Source of the SQLSTATEs: PostgreSQL's appendix A; PgBouncer answers nearly everything with 08P01.
"""

from __future__ import annotations

from dataclasses import dataclass

SQLSTATE_SUCCESSFUL_COMPLETION = "00000"
SQLSTATE_PROTOCOL_VIOLATION = "08P01"
SQLSTATE_INVALID_SQL_STATEMENT_NAME = "26000"
SQLSTATE_DUPLICATE_PREPARED_STATEMENT = "42P05"
SQLSTATE_INVALID_PASSWORD = "28P01"
SQLSTATE_QUERY_CANCELED = "57014"
SQLSTATE_CONFIG_FILE_ERROR = "F0000"
SQLSTATE_INTERNAL_ERROR = "XX000"


class PgmuxError(Exception):
    """Base of everything that pgmux raises on purpose."""


class PoolerError(PgmuxError):
    """An error for the client, in PgBouncer's words.

    `fatal` closes the client's connection after the ErrorResponse; otherwise the session goes on.
    """

    def __init__(
        self, message: str, *, sqlstate: str = SQLSTATE_PROTOCOL_VIOLATION, fatal: bool = True
    ) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.fatal = fatal


class ProtocolViolation(PgmuxError):
    """A peer sent what the protocol forbids. `side` is "client" or "server"."""

    def __init__(self, side: str, message: str) -> None:
        super().__init__(message)
        self.side = side
        self.message = message


class TlsError(PgmuxError):
    """TLS with a peer failed. The text says at what and why, as the log tells it: `handshake
    failed: certificate verify failed: certificate has expired`.
    """


class LocalProtocolError(PgmuxError):
    """We did what the protocol or our own state tables forbid: a bug in pgmux."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: what, where, and what to do about it. What doesn't keep
    the file from being used and yet must be seen is grave.
    """

    message: str
    file: str = ""
    line: int = 0
    hint: str = ""
    is_grave: bool = False

    def __str__(self) -> str:
        place = ""
        if self.file:
            place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        return f"{place}{self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(PgmuxError):
    """A configuration can't be used; `problems` is everything found, in the file's order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
