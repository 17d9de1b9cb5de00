"""Commands one after another: connecting when there is something to ask, and again after an end.

Errors: those of `connection`. A connection that is found closed before a command is sent is opened
again for it; one that ends during a command isn't, as nobody knows whether the command has run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pgmux.ops.console.connection import (
    ConnectError,
    Connection,
    ConnectionLost,
    ConsoleError,
    connect,
)
from pgmux.ops.console.place import Place
from pgmux.ops.console.result import Result
from pgmux.ops.console.statements import hide_secret, is_last

AskPassword = Callable[[], str | None]
Tell = Callable[[str], None]


class Session:
    """A console to run commands on.

    `ask_password` is called where the pooler wants one and nobody has said it; None gives up.
    `tell` gets notices, and what happens to the connection.
    """

    def __init__(self, place: Place, ask_password: AskPassword, tell: Tell) -> None:
        self._place = place
        self._ask_password = ask_password
        self._tell = tell
        self._connection: Connection | None = None

    def open(self) -> Connection:
        """The connection, made if there is none. Raises: ConnectError."""
        if self._connection is not None and not self._connection.is_open:
            self.close()
            self._tell("The connection had been lost; connecting again.")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        try:
            return connect(self._place.conninfo, self._tell)
        except ConnectError as error:
            password = self._ask_password() if error.needs_password else None
            if password is None:
                raise
        # Kept for the next connection of this session.
        self._place = replace(
            self._place, parameters={**self._place.parameters, "password": password}
        )
        return connect(self._place.conninfo, self._tell)

    def close(self) -> None:
        """Ends the connection; the next command makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, statement: str) -> Result:
        """The command's answer; nothing that it says repeats a secret of the command."""
        connection = self.open()
        try:
            result = connection.run(statement)
        except ConnectionLost as error:
            self._connection = None
            if is_last(statement):
                return Result("SHUTDOWN")
            raise ConnectionLost(hide_secret(statement, str(error))) from error
        except ConsoleError as error:
            raise ConsoleError(hide_secret(statement, str(error))) from error
        except BaseException:
            self._connection = None
            raise
        return replace(result, tag=hide_secret(statement, result.tag))

    def look_up(self, statement: str, timeout: float) -> tuple[Result, list[str]]:
        """Rows and notices of a SHOW that nobody has typed; nothing of it is told.

        Raises: ConnectionLost where there is no connection; none is made for this.
        """
        connection = self._connection
        if connection is None or not connection.is_open:
            raise ConnectionLost("no connection")
        notices: list[str] = []
        connection.on_notice = notices.append
        try:
            return connection.run(statement, timeout), notices
        finally:
            connection.on_notice = self._tell
