"""--token-file: the secret that commands need. Errors: TokenFileError, for the user."""

from __future__ import annotations

import hmac
import os
import stat
from pathlib import Path

from pgmux.errors import PgmuxError

MIN_LEN, MAX_LEN = 16, 4096


class TokenFileError(PgmuxError):
    """Why a file isn't taken for a token, and what to do."""


def read_token(path: Path) -> bytes:
    """Its one line, without blanks around. Raises: TokenFileError."""
    try:
        # Of a FIFO there may be nobody who writes.
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    except OSError as error:
        raise TokenFileError(f"cannot read the token file {path}: {error.strerror}") from error
    with file:
        _check(path, os.fstat(file.fileno()))
        token = file.read(MAX_LEN + 1).strip()
    if not MIN_LEN <= len(token) <= MAX_LEN or not token.isascii() or len(token.split()) != 1:
        raise TokenFileError(
            f"the token file {path} has to have one line of {MIN_LEN} to {MAX_LEN} ASCII characters"
            f" without blanks: openssl rand -hex 32 > {path}"
        )
    return token


def _check(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise TokenFileError(f"the token file {path} is no regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise TokenFileError(f"the token file {path} belongs to another user: chown it")
    if mode & 0o077:
        raise TokenFileError(
            f"others may read or write the token file {path} (mode {mode:04o}): chmod 600 {path}"
        )


def is_token(given: bytes, token: bytes) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(given, token)
