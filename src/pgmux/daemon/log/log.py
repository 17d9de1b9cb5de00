"""The log of the process: every line goes to all places that the settings name.

A line that a place doesn't take (disk full, a pipe that nobody reads) is lost there; when the place
takes lines again, it is told how many, and the other places are told at once that there are losses.

Errors: `use_file` alone raises (OSError).
"""

from __future__ import annotations

import time
import traceback as tracebacks
from collections.abc import Callable

from pgmux.config.model import LogFormat, PgmuxSettings, Settings
from pgmux.daemon.log import sinks
from pgmux.daemon.log.floods import Floods
from pgmux.daemon.log.formats import Level, Line, json_format, text_format
from pgmux.session.log import NONE, Fields, Name

_FORMATS = {LogFormat.TEXT: text_format, LogFormat.JSON: json_format}
_INTERNAL_ERROR = "internal error"  # one kind, whatever the text: asyncio's has addresses in it
_TELL_AGAIN = 60.0  # seconds till a place's losses are said to the others again


class _Place:
    """A sink, and what it has lost."""

    __slots__ = ("lost", "sink", "told_at", "why")

    def __init__(self, sink: sinks.Sink) -> None:
        self.sink = sink
        self.lost = 0
        self.why = ""
        self.told_at = float("-inf")


class Log:
    """Writes log lines; `is_debug` and `is_noise` say whether such a text is worth building."""

    def __init__(
        self,
        *,
        verbose: int = 0,
        quiet: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        syslog: str = sinks.SYSLOG,
        journal: str = sinks.JOURNAL,
    ) -> None:
        """`clock` returns Unix time in seconds; `verbose` counts where the settings' is 0."""
        self._clock = clock
        self._monotonic = monotonic
        self._start_verbose = verbose
        self._syslog_path = syslog
        self._journal_path = journal
        self._floods = Floods()
        self._format = text_format()
        self._log_format = LogFormat.TEXT
        self._stderr: _Place | None = None
        self._file: _Place | None = None
        self._syslog: _Place | None = None
        self._syslog_as: tuple[str, str] | None = None  # facility and program's name, where in use
        self._ident = Settings().syslog_ident
        self.path = ""
        self._set_verbose(verbose)
        self.set_quiet(quiet)

    # ---- settings

    def configure(self, settings: Settings, pgmux: PgmuxSettings) -> None:
        """Go by these settings from now on; for logfile there is `use_file`."""
        self._set_verbose(settings.verbose or self._start_verbose)
        self._use_format(pgmux.log_format)
        wanted = (settings.syslog_facility, settings.syslog_ident) if settings.syslog else None
        if wanted != self._syslog_as:
            new = None if wanted is None else sinks.Syslog(*wanted, self._syslog_path)
            self._syslog = _replaced(self._syslog, new)
            self._syslog_as = wanted
        if settings.syslog_ident != self._ident:
            self._ident = settings.syslog_ident
            self.set_quiet(self._stderr is None)

    def set_quiet(self, quiet: bool) -> None:
        """Write nothing to stderr while `quiet`."""
        self._stderr = _replaced(self._stderr, None if quiet else self._stderr_sink())

    def use_file(self, path: str) -> None:
        """Write to `path`, opened anew, and let go of the file before; "" is none.

        Raises: OSError; the file before stays in use then.
        """
        new = sinks.open_file(path, self._format) if path else None
        self._file = _replaced(self._file, new)
        self.path = path

    def reopen(self) -> None:
        """Open the log file anew; where that fails, say so and go on with the one that is open."""
        try:
            self.use_file(self.path)
        except OSError as error:
            self.error(cannot_open(self.path, error))

    def _set_verbose(self, verbose: int) -> None:
        """DEBUG lines are written from 1, NOISE lines from 2."""
        self.is_debug = verbose > 0
        self.is_noise = verbose > 1

    def _use_format(self, log_format: LogFormat) -> None:
        if log_format is self._log_format:
            return
        self._log_format = log_format
        self._format = _FORMATS[log_format]()
        for place in (self._stderr, self._file):
            if place is not None and isinstance(place.sink, sinks.Stream):
                place.sink.format = self._format

    def _stderr_sink(self) -> sinks.Sink:
        stderr = sinks.Stream("stderr", sinks.STDERR, self._format)
        if sinks.is_journal(sinks.STDERR):
            return sinks.Journal(stderr, self._ident, self._journal_path)
        return stderr

    # ---- lines; `session.log.Log` says what the arguments are

    def fatal(self, text: str) -> None:
        """The process is about to end because of this."""
        self._write(Level.FATAL, text)

    def error(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        """Something failed; the process goes on."""
        self._limited(Level.ERROR, text, about, limit, fields)

    def warning(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        """Something that an operator should look at."""
        self._limited(Level.WARNING, text, about, limit, fields)

    def log(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        """What happens in normal operation."""
        self._limited(Level.LOG, text, about, limit, fields)

    def debug(self, text: str, about: Name | None = None) -> None:
        """Written with -v."""
        if self.is_debug:
            self._write(Level.DEBUG, text, about)

    def noise(self, text: str, about: Name | None = None) -> None:
        """Written with -v -v."""
        if self.is_noise:
            self._write(Level.NOISE, text, about)

    def exception(self, text: str, error: BaseException, about: Name | None = None) -> None:
        """An ERROR line with the traceback of `error` in continuation lines: a bug of ours."""
        if not self._floods.take(_INTERNAL_ERROR, self._monotonic()):
            return
        lines = "".join(tracebacks.format_exception(error)).splitlines()
        self._write(Level.ERROR, text, about, traceback=tuple(lines))

    # ---- floods

    def is_flooded(self, kind: str) -> bool:
        """Whether the next line of that `limit` would be held back."""
        return self._floods.is_empty(kind, self._monotonic())

    def say_suppressed(self, *, all_: bool = False) -> None:
        """What floods have held back, where it is time to say so, or (`all_`) at the end."""
        for kind, count, seconds in self._floods.due(self._monotonic(), all_=all_):
            lines = _count(count, "line")
            text = f'{lines} like "{kind}" suppressed in the last {round(seconds)} s'
            self._write(Level.WARNING, text, fields={"suppressed": count, "kind": kind})

    # ---- writing

    def _limited(
        self, level: Level, text: str, about: Name | None, limit: str, fields: Fields
    ) -> None:
        if not limit or self._floods.take(limit, self._monotonic()):
            self._write(level, text, about, fields)

    def _write(
        self,
        level: Level,
        text: str,
        about: Name | None = None,
        fields: Fields = NONE,
        traceback: tuple[str, ...] = (),
    ) -> None:
        line = Line(self._clock(), level, text, about, fields, traceback)
        for place in (self._stderr, self._file, self._syslog):
            if place is not None and not self._send(place, line):
                self._tell_others(place)

    def _send(self, place: _Place, line: Line) -> bool:
        """Send, and first say what was lost before; False where it is lost."""
        try:
            if place.lost:
                place.sink.send(self._loss(place, f"{_count(place.lost, 'log line')} lost"))
                place.lost = 0
            place.sink.send(line)
        except OSError as error:
            place.lost += 1
            place.why = error.strerror or str(error)
            return False
        return True

    def _tell_others(self, place: _Place) -> None:
        """Who reads the other places learns that this one has gaps."""
        now = self._monotonic()
        if now - place.told_at < _TELL_AGAIN:
            return
        place.told_at = now
        notice = self._loss(place, "log lines are being lost")
        for other in (self._stderr, self._file, self._syslog):
            if other is not None and other is not place:
                self._send(other, notice)

    def _loss(self, place: _Place, text: str) -> Line:
        return Line(self._clock(), Level.WARNING, f"{text}: {place.sink.name}: {place.why}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def cannot_open(path: str, error: OSError) -> str:
    """PgBouncer's text."""
    return f"Cannot open logfile: '{path}': {error.strerror}"


def _replaced(old: _Place | None, new: sinks.Sink | None) -> _Place | None:
    """`new` in place of `old`, with what `old` has lost and not yet said."""
    place = None if new is None else _Place(new)
    if old is not None:
        old.sink.close()
        if place is not None:
            place.lost, place.why = old.lost, old.why
    return place
