"""Where lines go: a descriptor (stderr, the log file), syslog, the journal.

None of them ever waits: what isn't taken at once is lost, since a pooler that stands still because
nobody reads its log would stop every application. `Log` counts and says it. Only a file on a disk
that hangs can't be had without waiting.

Errors: `send` raises OSError; the line is lost then.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import syslog
from typing import Protocol

from pgmux.config.params import SYSLOG_FACILITIES
from pgmux.daemon.log.formats import Format, Level, Line, journal_datagram, syslog_datagram

STDERR = 2
SYSLOG = "/dev/log"
JOURNAL = "/run/systemd/journal/socket"


class Sink(Protocol):
    """One place that lines go to; `name` is what the log calls it."""

    @property
    def name(self) -> str: ...

    def send(self, line: Line) -> None:
        """Raises: OSError."""

    def close(self) -> None:
        """Let go of what is open."""


class Stream:
    """A descriptor, in one of the formats."""

    def __init__(self, name: str, fd: int, format_: Format) -> None:
        self.name = name
        self.format = format_
        self._fd = fd
        self._is_torn = False  # the last line was written in part
        self._poll: select.poll | None = None
        if not _is_regular_file(fd):
            # O_NONBLOCK would be so for all processes that share our stderr: ask before each write.
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def send(self, line: Line) -> None:
        text = self.format(line).encode()
        data = b"\n" + text if self._is_torn else text
        sent = 0
        try:
            while sent < len(data):
                sent += self._write(data[sent : sent + select.PIPE_BUF])
        finally:
            self._is_torn = sent < len(data) and (sent > 0 or self._is_torn)

    def _write(self, part: bytes) -> int:
        """A pipe that is ready takes PIPE_BUF bytes without waiting."""
        if self._poll is not None and not self._poll.poll(0):
            raise BlockingIOError(errno.EAGAIN, "nobody reads it")
        return os.write(self._fd, part)

    def close(self) -> None:
        if self._fd != STDERR:
            os.close(self._fd)


def open_file(path: str, format_: Format) -> Stream:
    """The log file. Raises: OSError.

    O_NONBLOCK: neither opening a FIFO nor writing to it may wait; this description is ours alone.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
    return Stream("logfile", os.open(path, flags, 0o666), format_)


def _is_regular_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return True  # closed: the write says so


class _Datagrams:
    """Sends without waiting, and without being connected: whoever listens may come and go.

    The socket is made for the first datagram: a process that has no descriptor left loses lines
    then, as where nobody listens, but its settings are in force.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        try:
            self._socket.sendto(data, self._path)
        except BlockingIOError:
            raise BlockingIOError(errno.EAGAIN, "nobody reads it") from None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class Syslog:
    """syslog: DEBUG and NOISE don't go there, as with PgBouncer."""

    name = "syslog"

    def __init__(self, facility: str, ident: str, path: str) -> None:
        """A facility that doesn't exist is `daemon`."""
        known = facility if facility in SYSLOG_FACILITIES else "daemon"
        self._facility: int = getattr(syslog, f"LOG_{known.upper()}")
        self._ident = ident
        self._datagrams = _Datagrams(path)

    def send(self, line: Line) -> None:
        if line.level not in (Level.DEBUG, Level.NOISE):
            self._datagrams.send(syslog_datagram(line, self._facility, self._ident))

    def close(self) -> None:
        self._datagrams.close()


class Journal:
    """The journal, in place of a stderr that leads there; stderr where it can't be reached."""

    name = "journal"

    def __init__(self, stderr: Stream, ident: str, path: str) -> None:
        self._stderr = stderr
        self._ident = ident
        self._datagrams = _Datagrams(path)

    def send(self, line: Line) -> None:
        try:
            self._datagrams.send(journal_datagram(line, self._ident))
        except BlockingIOError:
            raise
        except OSError:
            self._stderr.send(line)

    def close(self) -> None:
        self._datagrams.close()


def is_journal(fd: int) -> bool:
    """Whether what is written to `fd` goes to the journal: $JOURNAL_STREAM names its socket."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
