"""The file that holds the token for commands: http_token_file of the pooler, --token-file of a web
process run by hand. Both take the same files.

Errors: TokenFileError, which says what to do and nothing of the contents.
"""

from __future__ import annotations

import os
import stat

from pgmux.errors import PgmuxError

MIN_LEN, MAX_LEN = 16, 4096


class TokenFileError(PgmuxError):
    """Why a file isn't taken for a token; begins with its path."""


def read_token(path: str | os.PathLike[str]) -> bytes:
    """Its one word, without what is around it. Raises: TokenFileError."""
    try:
        # Of a FIFO there may be nobody who writes.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            why = _why_not(os.fstat(fd))
            token = b"" if why else os.read(fd, MAX_LEN + 1).strip()
        finally:
            os.close(fd)
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from error
    if not why and not (MIN_LEN <= len(token) <= MAX_LEN and _is_word(token)):
        why = (
            f"one line of {MIN_LEN} to {MAX_LEN} ASCII characters without blanks is expected:"
            " openssl rand -hex 32 makes one"
        )
    if why:
        raise TokenFileError(f"{path}: {why}")
    return token


def _why_not(status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {status.st_uid}, not to us or root: chown it"
    if mode & 0o077:
        return f"others may read or write it (mode {mode:04o}): chmod 600"
    return ""


def _is_word(token: bytes) -> bool:
    """What a header can carry as it is."""
    return token.isascii() and b"\0" not in token and len(token.split()) == 1
