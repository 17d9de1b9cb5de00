"""The token of http_token_file: who shows it to the web process may do what an admin may.

Errors: what is wrong with the file is logged, and then no token is right.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from pgmux.admin.pooler import AdminPooler
from pgmux.daemon.token_file import TokenFileError, read_token
from pgmux.errors import SQLSTATE_INVALID_PASSWORD, PoolerError
from pgmux.session.log import Log

# Wrong ones in a row, after which each makes all wait. Who may guess how often is the web process's
# to say, by address; this bounds what it could guess itself, were it taken over. It is short, as
# whoever has the token waits too: with 30 guesses a minute nobody is to be kept from it.
MAX_FAILURES = 5
PENALTY = 1.0  # seconds


class Token:
    """The token in force; `admin` is what it gives the right to."""

    def __init__(self, log: Log, clock: Callable[[], float], admin: AdminPooler) -> None:
        self._log = log
        self._clock = clock
        self._admin = admin
        self._secret = b""
        self._path = ""
        self._failures = 0
        self._refused_until = 0.0

    def use_file(self, path: str) -> None:
        """Read the token anew; "" is no token."""
        self._path, self._secret = path, b""
        if not path:
            return
        try:
            self._secret = read_token(path)
        except TokenFileError as error:
            self._log.error(f"http_token_file {error}; no token is accepted")

    def elevate(self, token: bytes) -> AdminPooler:
        """Who runs the command that this token stands in front of. Raises: PoolerError."""
        now = self._clock()
        if not self._secret:
            why = "can't be used, see the log" if self._path else "isn't set"
            raise _refused(f"no token is accepted: http_token_file {why}")
        if now < self._refused_until:
            raise _refused("too many wrong tokens, try again later")
        if hmac.compare_digest(token, self._secret):
            self._failures = 0
            return self._admin
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._refused_until = now + PENALTY
        self._log.warning("wrong token at the web process", limit="wrong token")
        raise _refused("wrong token")


def _refused(message: str) -> PoolerError:
    return PoolerError(message, sqlstate=SQLSTATE_INVALID_PASSWORD, fatal=False)
