"""The pidfile: "PID\\n", written once the pooler listens, removed at the end.

It is never taken from a living process. Source: PgBouncer 1.25.2's rules and texts, with one more:
our own pid in the file is stale, because a container that is started again finds its pid 1 in the
file that it left. Errors: `StartError`.
"""

from __future__ import annotations

import contextlib
import os

from pgmux.daemon.log import Log
from pgmux.daemon.process import StartError


def check(path: str, log: Log) -> None:
    """Remove a stale pidfile. Raises: StartError where another process may be running."""
    try:
        with open(path, "rb") as file:
            content = file.read(128)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartError(f"could not open pidfile '{path}': {error.strerror}") from error
    if not _is_stale(content):
        raise StartError(f"pidfile '{path}' exists, another instance running?")
    log.log("stale pidfile, removing")
    try:
        os.unlink(path)
    except OSError as error:
        raise StartError(f"could not remove stale pidfile: {error.strerror}") from error


def _is_stale(content: bytes) -> bool:
    """True where the file names a process that is gone; False for whatever can't be read as one."""
    try:
        pid = int(content.split()[0])
    except (ValueError, IndexError):
        return False
    if pid <= 0:
        return False
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def write(path: str) -> None:
    """Create the file with our pid. Raises: StartError, also where the file exists by now."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise StartError(f"could not open pidfile '{path}': {error.strerror}") from error
    try:
        os.write(fd, b"%d\n" % os.getpid())
    except OSError as error:
        raise StartError(f"could not write pidfile '{path}': {error.strerror}") from error
    finally:
        os.close(fd)


def remove(path: str) -> None:
    """Remove what `write` made; if that fails, the next start's `check` finds it stale."""
    with contextlib.suppress(OSError):
        os.unlink(path)
