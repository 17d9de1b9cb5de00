"""Files that a command writes: all of them whole, or none; nothing is overwritten unasked.

A text is written beside its place, synced and moved there, so that who reads at any moment reads
the old file or the new one. A file that exists keeps its owner and, unless told, its mode; a
symbolic link stays one, what it leads to is replaced.
Errors: `FileError`, which names the file that was asked for; all are then as they were.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

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
    with ExitStack() as unless_all:
        for file in files:
            with _failure_of(file.path):
                staged.append(_stage(file))
            unless_all.callback(_remove, staged[-1][0])
        for file, (written, place) in zip(files, staged, strict=True):
            with _failure_of(file.path):
                way_back = _way_back(place)
                os.replace(written, place)
            unless_all.callback(way_back)
        unless_all.pop_all()
    for file, (_, place) in zip(files, staged, strict=True):
        with _failure_of(file.path):
            _sync_directory(place)


@contextmanager
def _failure_of(path: str) -> Iterator[None]:
    """Raises: FileError that names `path`, whichever file it was that failed."""
    try:
        yield
    except OSError as error:
        why = error.strerror
        if error.errno == errno.EBUSY:
            why = (
                "it is mounted by itself (as by `-v FILE:FILE` of Docker), and so can't be replaced"
                " as a whole: mount its directory, or change the file where it comes from"
            )
        raise FileError(f"cannot write {path}: {why}") from error


def _way_back(place: str) -> Callable[[], None]:
    """What leads from the new file to what is there now. Raises: OSError."""
    try:
        old = os.stat(place)
    except FileNotFoundError:
        return partial(_remove, place)
    mode, owner = stat.S_IMODE(old.st_mode), (old.st_uid, old.st_gid)
    file = NewFile(place, read_text(place), mode, owner=owner)
    return partial(write_files, [file], overwrite=True)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def change_file(path: str, text: str, *, mode: int | None = None) -> None:
    """Another text for a file that is there, or a new file. Raises: FileError."""
    write_files([NewFile(path, text, mode)], overwrite=True)


@contextmanager
def exclusively(*paths: str, timeout: float = TURN_TIMEOUT) -> Iterator[None]:
    """Keeps other commands from changing files beside `paths` between our reading and our writing:
    two that edit the same file edit it one after the other. Not reentrant.

    Raises: FileError where a directory can't be opened, or another command doesn't end.
    """
    until = time.monotonic() + timeout
    with ExitStack() as stack:
        for directory in sorted({os.path.dirname(os.path.realpath(path)) for path in paths}):
            try:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise FileError(f"cannot open {directory}: {error.strerror}") from error
            stack.callback(os.close, descriptor)
            _lock(descriptor, directory, until)
        yield


def _lock(descriptor: int, directory: str, until: float) -> None:
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
            raise FileError(f"another command is changing files in {directory}: try again")
        time.sleep(0.05)


def _stage(file: NewFile) -> tuple[str, str]:
    """The text in a file beside its place; that file's name, and the place."""
    place = _place_of(file.path)
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


def _place_of(path: str) -> str:
    """Where a link leads to. Raises: OSError for one that somebody else has put into a directory
    where everybody may write, as /tmp: it leads where they want (proc(5), protected_symlinks).
    """
    if os.path.islink(path):
        link, directory = os.lstat(path), os.stat(os.path.dirname(path) or ".")
        is_open = directory.st_mode & stat.S_ISVTX and directory.st_mode & stat.S_IWOTH
        if is_open and link.st_uid not in (os.geteuid(), directory.st_uid):
            raise OSError(errno.EACCES, "a symbolic link that somebody else has put there", path)
    return os.path.realpath(path)


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
