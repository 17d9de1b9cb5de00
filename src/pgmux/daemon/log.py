"""The log: PgBouncer's line format, to stderr and to a file.

    2026-11-20 08:22:05.430 UTC [4711] LOG process up: …

One call is one line and one write: whatever a client puts into a name, it can't begin a line of its
own, nor send control codes to a terminal. Only `exception` writes continuation lines, which begin
with a tab, as PgBouncer's do. Texts longer than PgBouncer's buffer (2047) are cut. A line that
can't be written (disk full, closed pipe) is dropped.

Source: PgBouncer 1.25.2 as it runs. Errors: `use_file` alone raises (OSError).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

_STDERR = 2
_MAX_TEXT = 2047


def _escapes() -> dict[int, str]:
    """Control characters, line separators, bidirectional overrides, undecodable bytes."""
    table = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    table |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
    table |= {code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))}
    table |= {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # surrogateescape
    return table


_ESCAPES = _escapes()


def _one_line(text: str) -> str:
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT]
    return text if text.isprintable() else text.translate(_ESCAPES)


class Log:
    """Writes log lines; `is_debug` and `is_noise` say whether such a text is worth building."""

    __slots__ = (
        "_clock",
        "_date",
        "_file",
        "_quiet",
        "_second",
        "_zone",
        "is_debug",
        "is_noise",
        "path",
    )

    def __init__(
        self, *, verbose: int = 0, quiet: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` returns Unix time in seconds."""
        self._clock = clock
        self._quiet = quiet
        self._file = -1
        self.path = ""
        self._second = -1
        self._date = self._zone = ""
        self.set_verbose(verbose)

    def set_verbose(self, verbose: int) -> None:
        """DEBUG lines are written from 1, NOISE lines from 2."""
        self.is_debug = verbose > 0
        self.is_noise = verbose > 1

    def set_quiet(self, quiet: bool) -> None:
        """Write nothing to stderr while `quiet`."""
        self._quiet = quiet

    def use_file(self, path: str) -> None:
        """Write to `path`, opened anew, and let go of the file before; "" is none.

        Raises: OSError; the file before stays in use then.
        """
        new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666) if path else -1
        if self._file >= 0:
            os.close(self._file)
        self._file = new
        self.path = path

    def fatal(self, text: str) -> None:
        """The process is about to end because of this."""
        self._write("FATAL", _one_line(text))

    def error(self, text: str) -> None:
        """Something failed; the process goes on."""
        self._write("ERROR", _one_line(text))

    def warning(self, text: str) -> None:
        """Something that an operator should look at."""
        self._write("WARNING", _one_line(text))

    def log(self, text: str) -> None:
        """What happens in normal operation."""
        self._write("LOG", _one_line(text))

    def debug(self, text: str) -> None:
        """Written with -v."""
        if self.is_debug:
            self._write("DEBUG", _one_line(text))

    def noise(self, text: str) -> None:
        """Written with -v -v."""
        if self.is_noise:
            self._write("NOISE", _one_line(text))

    def exception(self, text: str, error: BaseException) -> None:
        """An ERROR line with the traceback of `error` in continuation lines: a bug of ours."""
        import traceback  # 8 ms that a start without bugs needn't spend

        lines = [text, *"".join(traceback.format_exception(error)).splitlines()]
        self._write("ERROR", "\n\t".join(map(_one_line, lines)))

    def _write(self, level: str, text: str) -> None:
        line = f"{self._stamp()} [{os.getpid()}] {level} {text}\n"
        if not self._quiet:
            _write_all(_STDERR, line)
        if self._file >= 0:
            _write_all(self._file, line)

    def _stamp(self) -> str:
        """Local time to the millisecond; the calendar is asked once a second."""
        now = self._clock()
        second = int(now)
        if second != self._second:
            local = time.localtime(second)
            self._second = second
            self._date = time.strftime("%Y-%m-%d %H:%M:%S", local)
            self._zone = local.tm_zone
        return f"{self._date}.{int((now - second) * 1000):03d} {self._zone}"


def _write_all(fd: int, line: str) -> None:
    """Write, or give up: a full disk must not end the process whose log fills it."""
    with contextlib.suppress(OSError):
        os.write(fd, line.encode("utf-8", "backslashreplace"))
