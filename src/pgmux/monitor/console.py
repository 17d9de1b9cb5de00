"""A pooler's console, to be asked from asyncio by several tasks at once.

`open_console` logs in like any client, to pgmux or PgBouncer; `inherited_console` is the connection
that the pooler has given its web process. Both connect when they are first asked, and again when
the connection has ended. Errors: `ConsoleRefused`, `ConsoleGone`.
"""

from __future__ import annotations

from typing import Protocol

from pgmux.monitor.by_conninfo import ConninfoConsole, ConninfoError
from pgmux.monitor.by_descriptor import DescriptorConsole
from pgmux.monitor.errors import ConsoleGone, ConsoleRefused
from pgmux.monitor.shared import TIMEOUT, Row

__all__ = [
    "ConninfoError",
    "Console",
    "ConsoleGone",
    "ConsoleRefused",
    "Row",
    "inherited_console",
    "open_console",
]


class Console(Protocol):
    """One console. Questions are put one at a time, in the order of the calls.

    Who is cancelled while waiting leaves the connection as it should be.
    """

    @property
    def place(self) -> str:
        """Where it is, as `db1:6432`, for messages."""

    async def query(self, sql: str) -> list[Row]:
        """The rows by column, as text. Raises: ConsoleRefused, ConsoleGone.

        For SHOW alone: it may be sent twice, where the connection turns out to have ended.
        """

    async def query_optional(self, sql: str) -> list[Row] | None:
        """As `query`; None where this console has no such thing, which a connection is asked once.

        PgBouncer logs each command that it doesn't know. Raises: ConsoleGone.
        """

    async def execute(self, sql: str, *, token: str | None = None) -> None:
        """Runs a command, once, by this console's own rights, or by the token's where it takes one.

        Raises: ConsoleRefused; ConsoleGone, after which nobody knows whether it has been run.
        """

    async def close(self) -> None:
        """Ends the connection; may be called twice."""


def open_console(conninfo: str, *, timeout: float = TIMEOUT) -> Console:
    """A console by libpq's connection string or URI, environment, passfile and service.

    `timeout` is how many seconds an answer may take. Raises: ConninfoError.
    """
    return ConninfoConsole(conninfo, timeout)


def inherited_console(fd: int, *, timeout: float = TIMEOUT) -> DescriptorConsole:
    """The console at the other end of a socket that this process has inherited."""
    return DescriptorConsole(fd, timeout)
