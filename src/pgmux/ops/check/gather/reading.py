"""Files that somebody else may have made: read whole, bounded, and never waited for.

Errors: `NotRead`, whose text says why, for whoever is to be told.
"""

from __future__ import annotations

import os
import stat

from pgmux.errors import PgmuxError

MOST_BYTES = 1 << 20


class NotRead(PgmuxError):
    """A file can't be read or isn't what it should be; the text says why, without the path."""


def read_bounded(path: str, most: int = MOST_BYTES) -> str:
    """The file's text. A pipe or device isn't waited for. Raises: NotRead."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise NotRead("a directory" if stat.S_ISDIR(status.st_mode) else "not a file")
            content = file.read(most + 1)
    except OSError as error:
        raise NotRead(error.strerror or str(error)) from error
    if len(content) > most:
        raise NotRead(f"{status.st_size:,} bytes; files up to {most:,} are read")
    if b"\0" in content:
        raise NotRead("not a text: it has NUL bytes")
    return content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def shown(path: str) -> str:
    """Relative to here where that is shorter, as one types it."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) and not relative.startswith("..") else path
