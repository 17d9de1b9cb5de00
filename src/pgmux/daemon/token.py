"""The token of http_token_file: who shows it to the web process may do what an admin may.

Errors: what is wrong with the file is logged, and then no token is right.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Callable

from pgmux.admin.pooler import AdminPooler
from pgmux.errors import SQLSTATE_INVALID_PASSWORD, PoolerError
from pgmux.session.log import Log

MIN_LEN, MAX_LEN = 16, 4096
# Wrong ones in a row, after which each makes all wait. Who may guess how often is the web process's
# to say, by address; this bounds what it could guess itself, were it taken over. It is short, as
# whoever has the token waits too: with 30 guesses a minute nobody is to be kept from it.
MAX_FAILURES = 5
PENALTY = 1.0  # seconds


class BadTokenFile(Exception):
    """Why a file isn't taken for a token."""


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
        except OSError as error:
            self._refuse_file(error.strerror or str(error))
        except BadTokenFile as error:
            self._refuse_file(str(error))

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

    def _refuse_file(self, why: str) -> None:
        self._log.error(f"http_token_file {self._path}: {why}; no token is accepted")


def read_token(path: str) -> bytes:
    """The file's contents without blanks around. Raises: OSError, BadTokenFile."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # of a FIFO nobody may write
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BadTokenFile("it is no regular file")
        if status.st_uid not in (0, os.geteuid()):
            raise BadTokenFile(f"it belongs to uid {status.st_uid}, not to us or root")
        if stat.S_IMODE(status.st_mode) & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise BadTokenFile(f"others may read or write it (mode 0{mode:o}): chmod 600")
        token = file.read(MAX_LEN + 1).strip()
    if not token:
        raise BadTokenFile("it is empty")
    if not MIN_LEN <= len(token) <= MAX_LEN or b"\0" in token or b"\n" in token:
        raise BadTokenFile(
            f"one line of {MIN_LEN} to {MAX_LEN} bytes is expected: openssl rand -hex 32 makes one"
        )
    return token


def _refused(message: str) -> PoolerError:
    return PoolerError(message, sqlstate=SQLSTATE_INVALID_PASSWORD, fatal=False)
