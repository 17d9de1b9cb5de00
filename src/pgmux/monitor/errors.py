"""How a question to a console can end without an answer."""

from __future__ import annotations

from pgmux.errors import PgmuxError


class ConsoleRefused(PgmuxError):
    """The console has answered with an error; the connection goes on."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class ConsoleGone(PgmuxError):
    """There is no connection, or no answer in time: who asks again gets a new attempt.

    The text says where that was and what to do, and never has a password.
    """
