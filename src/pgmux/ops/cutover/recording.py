"""Recordings: files of one sample a line, which several runs may have written one after another.

A line is appended by one write, so that a reader sees it whole or not yet; what a crash has left
without its end becomes a line of its own. Such files name roles and hosts: mode 0600.
Errors: `RecordingError`, which says the file, and the line where it is one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from pgmux.errors import PgmuxError
from pgmux.ops.cutover.sample import MARK, ForeignLine, Sample, from_line, to_line
from pgmux.ops.files import SECRET

MOST_BYTES = 100_000_000  # of a recording: about a week, of ten applications every ten seconds
LONGEST_LINE = 1_000_000  # bytes


class RecordingError(PgmuxError):
    """A recording can't be written or read."""


class Recorder:
    """Appends samples to a file, which it makes where there is none. Use it in a `with`."""

    def __init__(self, path: str, most_bytes: int = MOST_BYTES) -> None:
        """Raises: RecordingError, also where the file is none of ours or is being written to."""
        self.path = path
        self._most = most_bytes
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.open(path, flags, SECRET)
        except OSError as error:
            raise RecordingError(f"cannot write {path}: {error.strerror}") from error
        try:
            self._take_over()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)

    def _take_over(self) -> None:
        """Sees to it that we are the only one, and may append here. Raises: RecordingError."""
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            raise RecordingError(f"{self.path} is not a regular file")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise RecordingError(f"cannot lock {self.path}: {error.strerror}") from error
            raise RecordingError(f"another process is recording into {self.path}") from error
        start = f'{{"{MARK}":'.encode()
        if os.pread(self._file, len(start), 0) not in (b"", start):
            raise RecordingError(f"{self.path} is no recording of pgmux cutover: name another file")
        if found.st_size and os.pread(self._file, 1, found.st_size - 1) != b"\n":
            self._write(b"\n")

    def add(self, sample: Sample) -> None:
        """Raises: RecordingError, also where the file has become as long as it may."""
        self._write(to_line(sample).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        if size + len(line) > self._most:
            raise RecordingError(
                f"{self.path} has {size:,} bytes, and may have {self._most:,}:"
                " go on in another file"
            )
        try:
            written = os.write(self._file, line)
            if written != len(line):  # the disk is full: nothing half-written stays
                os.ftruncate(self._file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RecordingError(f"cannot write {self.path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class BrokenLine:
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recording:
    """The samples in order of time, and the lines that are none."""

    path: str
    samples: tuple[Sample, ...]
    broken: tuple[BrokenLine, ...]


def read_recording(path: str) -> Recording:
    """Raises: RecordingError, also where no line is a sample."""
    samples: list[Sample] = []
    broken: list[BrokenLine] = []
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise RecordingError(f"{path} is not a regular file")
        with open(path, "rb") as file:
            for number, line in enumerate(
                _lines(iter(lambda: file.readline(LONGEST_LINE), b"")), 1
            ):
                found = _sample(line)
                if isinstance(found, Sample):
                    samples.append(found)
                elif found:
                    broken.append(BrokenLine(number, found))
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror}") from error
    if not samples:
        where = f"; line {broken[0].number} is {broken[0].reason}" if broken else ""
        raise RecordingError(f"{path} has no sample of pgmux cutover{where}")
    samples.sort(key=lambda sample: sample.at)
    return Recording(path, tuple(samples), tuple(broken))


def _sample(line: bytes) -> Sample | str:
    """The sample, or why it is none; empty of an empty line."""
    if len(line) >= LONGEST_LINE:
        return "longer than any sample"
    try:
        text = line.decode().strip()
        return from_line(text) if text else ""
    except UnicodeDecodeError:
        return "not UTF-8"
    except ForeignLine as error:
        return str(error)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The first piece of each line: of one that is too long the rest is dropped."""
    is_begin = True
    for piece in pieces:
        if is_begin:
            yield piece
        is_begin = piece.endswith(b"\n")
