"""Files that a command writes: all of them whole, or none; nothing is overwritten unasked.

A text is written beside its place, synced and moved there, so that who reads at any moment reads
the old file or the new one. A file that exists keeps its owner and, unless told, its mode; a
symbolic link stays one, what it leads to is replaced.
Errors: `FileError`, before anything is in its place, but for a failure of the move itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pgmux.errors import PgmuxError

SECRET = 0o600
PUBLIC = 0o644
TURN_TIMEOUT = 10.0  # seconds


class FileError(PgmuxError):
    """A file can't be written or may not be; the text says which and why."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is to be written; `mode` None keeps that of the file there, or is PUBLIC.

    `owner`: uid and gid; None keeps them. Root gives a new file to the owner of the file `beside`,
    so that the pooler can read it.
    """

    path: str
    text: str = field(repr=False)
    mode: int | None = None
    beside: str | None = None
    owner: tuple[int, int] | None = None


def write_files(files: Sequence[NewFile], *, overwrite: bool = False) -> None:
    """All of them. Raises: FileError, also where one exists and `overwrite` isn't said."""
    if not overwrite:
        existing = [file.path for file in files if os.path.lexists(file.path)]
        if existing:
            raise FileError(f"already there, and not overwritten: {', '.join(existing)}")
    staged: list[tuple[str, str]] = []
    try:
        for file in files:
            staged.append(_stage(file))
        while staged:
            written, place = staged[0]
            os.replace(written, place)
            del staged[0]
            _sync_directory(place)
    except OSError as error:
        raise FileError(f"cannot write {error.filename}: {error.strerror}") from error
    finally:
        for written, _ in staged:
            with suppress(OSError):
                os.unlink(written)


def change_file(path: str, text: str, *, mode: int | None = None) -> None:
    """Another text for a file that is there, or a new file. Raises: FileError."""
    write_files([NewFile(path, text, mode)], overwrite=True)


@contextmanager
def exclusively(path: str, timeout: float = TURN_TIMEOUT) -> Iterator[None]:
    """Keeps other commands from changing files beside `path` between our reading and our writing:
    two that edit the same file edit it one after the other. Not reentrant.

    Raises: FileError where the directory can't be opened, or another command doesn't end.
    """
    directory = os.path.dirname(os.path.realpath(path))
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(f"cannot open {directory}: {error.strerror}") from error
    try:
        _lock(descriptor, path, time.monotonic() + timeout)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str, until: float) -> None:
    """Takes the lock of the directory itself: the file's would go with it when it is replaced."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without such locks
        else:
            return
        if time.monotonic() > until:
            raise FileError(f"another command is changing {path} or a file beside it: try again")
        time.sleep(0.05)


def _stage(file: NewFile) -> tuple[str, str]:
    """The text in a file beside its place; that file's name, and the place."""
    place = os.path.realpath(file.path)
    directory, name = os.path.split(place)
    descriptor, written = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as out:
            out.write(file.text)
            out.flush()
            _take_after(descriptor, place, file)
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(written)
        raise
    return written, place


def _take_after(descriptor: int, place: str, file: NewFile) -> None:
    """Mode and owner: as asked, else as of the file that is replaced."""
    owner, mode = file.owner or (os.geteuid(), os.getegid()), file.mode
    try:
        old = os.stat(place)
    except FileNotFoundError:
        mode = PUBLIC if mode is None else mode
        if file.beside is not None and os.geteuid() == 0:
            with suppress(FileNotFoundError):
                neighbour = os.stat(file.beside)
                owner = (neighbour.st_uid, neighbour.st_gid)
    else:
        if not stat.S_ISREG(old.st_mode):
            raise OSError(0, "not a regular file", place)
        owner = file.owner or (old.st_uid, old.st_gid)
        mode = stat.S_IMODE(old.st_mode) if mode is None else mode
    if owner != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, *owner)
    os.fchmod(descriptor, mode)


def _sync_directory(place: str) -> None:
    descriptor = os.open(os.path.dirname(place), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(path: str) -> str:
    """A configuration file as it is: newlines and bytes that are no text too. Raises: OSError."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()
