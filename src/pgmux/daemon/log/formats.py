"""One line of the log in each of its forms: PgBouncer's text, JSON, syslog's, the journal's.

    2026-11-20 08:22:05.430 UTC [4711] LOG process up: …

Whatever a client puts into a name, it can't begin a line of its own, nor send control codes to a
terminal. Only a traceback is more than a line: continuation lines begin with a tab, as PgBouncer's
do. Texts longer than PgBouncer's buffer (2047 bytes) are cut.

Source: PgBouncer 1.25.2 as it runs; RFC 3164 as glibc writes it; systemd's native journal protocol.
Errors: none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from pgmux.session.log import NONE, Fields, Name

_MAX_TEXT = 2047
_WIDEST = 4  # bytes of a character


class Level(Enum):
    """Levels in PgBouncer's words; the value is the tag in the line and syslog's severity."""

    FATAL = ("FATAL", 2)
    ERROR = ("ERROR", 3)
    WARNING = ("WARNING", 4)
    LOG = ("LOG", 6)
    DEBUG = ("DEBUG", 7)
    NOISE = ("NOISE", 8)  # syslog has nothing below DEBUG

    def __init__(self, tag: str, severity: int) -> None:
        self.tag = tag
        self.severity = min(severity, 7)


class Line(NamedTuple):
    """What is to be said. `at` is Unix time; `fields` are parts of the text as values of their own;
    `traceback` are the continuation lines.
    """

    at: float
    level: Level
    text: str
    about: Name | None = None
    fields: Fields = NONE
    traceback: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """The text behind its prefix, on one line."""
        return one_line(f"{self.about} {self.text}" if self.about else self.text)

    @property
    def whole(self) -> str:
        """The same with the traceback."""
        if not self.traceback:
            return self.message
        return "\n\t".join([self.message, *map(one_line, self.traceback)])


Format = Callable[[Line], str]


def _escapes() -> dict[int, str]:
    """Control characters, line separators, bidirectional overrides, undecodable bytes."""
    table = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    table |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
    table |= {code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))}
    table |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}
    table |= {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # surrogateescape
    return table


_ESCAPES = _escapes()


def one_line(text: str) -> str:
    """The text without anything that would not be a visible part of its line, and not too long."""
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT]
    if not text.isprintable():
        text = text.translate(_ESCAPES)
    if len(text) > _MAX_TEXT // _WIDEST:
        text = text.encode()[:_MAX_TEXT].decode(errors="ignore")
    return text


class _Calendar:
    """What the local clock shows; the calendar is asked once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = self._iso = self._zone = self._offset = ""

    def text(self, at: float) -> str:
        """2026-11-20 08:22:05.430 UTC"""
        self._turn(at)
        return f"{self._text}.{_milliseconds(at)} {self._zone}"

    def iso(self, at: float) -> str:
        """2026-11-20T08:22:05.430+00:00"""
        self._turn(at)
        return f"{self._iso}.{_milliseconds(at)}{self._offset}"

    def _turn(self, at: float) -> None:
        second = int(at)
        if second == self._second:
            return
        local = time.localtime(second)
        self._second = second
        self._text = time.strftime("%Y-%m-%d %H:%M:%S", local)
        self._iso = self._text.replace(" ", "T")
        self._zone = local.tm_zone
        sign, minutes = "-" if local.tm_gmtoff < 0 else "+", abs(local.tm_gmtoff) // 60
        self._offset = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def _milliseconds(at: float) -> str:
    return f"{int((at - int(at)) * 1000):03d}"


def text_format() -> Format:
    """PgBouncer's lines."""
    calendar = _Calendar()

    def format_(line: Line) -> str:
        stamp = calendar.text(line.at)
        return f"{stamp} [{os.getpid()}] {line.level.tag} {line.whole}\n"

    return format_


def json_format() -> Format:
    """One object a line; docs/logs.md has its members."""
    calendar = _Calendar()

    def format_(line: Line) -> str:
        members = {
            "time": calendar.iso(line.at),
            "level": line.level.tag,
            "pid": os.getpid(),
            "message": one_line(line.text),
            **fields_of(line),
        }
        if line.traceback:
            members["traceback"] = "\n".join(map(one_line, line.traceback))
        return json.dumps(members, ensure_ascii=False) + "\n"

    return format_


def fields_of(line: Line) -> dict[str, object]:
    """Everything about the line that is a value of its own."""
    fields: dict[str, object] = {}
    about = line.about
    if about is not None:
        fields = {"side": about.side, "id": about.id}
        if about.peer_id:
            fields["peer_id"] = about.peer_id
        else:
            fields |= {"database": one_line(about.database), "user": one_line(about.user)}
        if about.peer is not None:
            fields |= {"address": about.peer.host, "port": about.peer.port}
            if about.peer.pid:
                fields["peer_pid"] = about.peer.pid
    for name, value in line.fields.items():
        fields[name] = one_line(value) if isinstance(value, str) else value
    return fields


def syslog_datagram(line: Line, facility: int, ident: str) -> bytes:
    """What the C library's syslog() sends to /dev/log."""
    local = time.localtime(line.at)
    stamp = time.strftime("%b %e %H:%M:%S", local)
    head = f"<{facility | line.level.severity}>{stamp} {ident}[{os.getpid()}]: "
    return f"{head}{line.whole}".encode()


def journal_datagram(line: Line, ident: str) -> bytes:
    """A journal entry: MESSAGE as in the text, and PGMUX_… for each field."""
    entry: dict[str, object] = {
        "MESSAGE": line.whole,
        "PRIORITY": line.level.severity,
        "SYSLOG_IDENTIFIER": ident,
    }
    entry |= {f"PGMUX_{name.upper()}": value for name, value in fields_of(line).items()}
    return b"".join(_journal_field(name, str(value).encode()) for name, value in entry.items())


def _journal_field(name: str, value: bytes) -> bytes:
    """`NAME=value`, or with its length in front where it has more than one line."""
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
