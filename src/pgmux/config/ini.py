"""The text of an ini file -> its sections and entries, each with file and line.

Source: PgBouncer's lib/usual/cfparser.c. Sections `[name]`; entries `key = value`, the value being
the rest of the line without trailing blanks; keys of letters, digits and `_.-*`, or any in single
quotes; comments are lines that begin with `;` or `#`; `%include path` up to ten deep, and a section
goes on through the files. Unlike there, reading goes on after an error, to find the others too.
`read` is to return the file as it is: newlines untranslated (only \\n ends a line).
Errors: `Problems.add`, in PgBouncer's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pgmux.config.problems import Problems, Read, clip, nearest, read_file
from pgmux.config.values import SPACE

MAX_INCLUDE_DEPTH = 10
MAX_FILES = 1000  # ten levels that each include the next one often would be read for ever

_BLANK = re.compile(rf"[{SPACE}]*")
_REST = re.compile(r"[^\n]*")
_SECTION = re.compile(r"\[([^]\n]*)\]")
_INCLUDE = re.compile(r"%include[ \t]+([^\n]*)")
_ENTRY = re.compile(r"(?:'([^']++)'|([A-Za-z0-9_.*-]*+))[ \t]*+=[ \t]*+([^\n]*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """`key = value` in a section; a section's own line has `key` None."""

    section: str
    key: str | None
    value: str
    file: str
    line: int


@dataclass(slots=True)
class IniReader:
    """Reads one file and all that it includes; `entries` and `files` fill in the order met."""

    read: Read
    sections: Iterable[str]
    problems: Problems
    entries: list[Entry] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    section: str | None = None
    is_known_section: bool = False

    def load(self, path: str, depth: int = 0, included_at: tuple[str, int] | None = None) -> None:
        """Reads `path`. Raises: ConfigError where going on makes no sense."""
        text = read_file(path, self.read)
        if isinstance(text, OSError):
            file, line = included_at or (path, 0)
            reason = text.strerror or str(text)
            self.problems.add(f'could not load file "{clip(path)}": {reason}', file, line)
            return
        self.files.append(path)
        text, nul, _ = text.partition("\0")
        _FileReader(self, path, text, depth).run()
        if nul:
            line = text.count("\n") + 1
            self.problems.add("NUL byte in configuration", path, line, "is this a text file?")


@dataclass(slots=True)
class _FileReader:
    """The place in one file."""

    ini: IniReader
    path: str
    text: str
    depth: int
    pos: int = 0
    line: int = 1
    counted: int = 0

    def run(self) -> None:
        while True:
            self.pos = self._match(_BLANK).end()
            self.line += self.text.count("\n", self.counted, self.pos)
            self.counted = self.pos
            if self.pos == len(self.text):
                break
            self._read_item()

    def _read_item(self) -> None:
        if self.text[self.pos] in ";#":
            self.pos = self._match(_REST).end()
        elif found := _INCLUDE.match(self.text, self.pos):
            self.pos = found.end()
            self._include(found[1].rstrip(SPACE))
        elif found := _SECTION.match(self.text, self.pos):
            self.pos = found.end()
            self._start_section(found[1])
        elif found := _ENTRY.match(self.text, self.pos):
            self.pos = found.end()
            self._add_entry(found[1] or found[2], found[3].rstrip(SPACE))
        else:
            self._syntax_error()

    def _include(self, path: str) -> None:
        place = f"({self.path}:{self.line}), stopping loading"
        if self.depth >= MAX_INCLUDE_DEPTH:
            self._problem(f"include nesting level too deep {place}", "does a file include itself?")
            self.ini.problems.raise_any()
        if len(self.ini.files) >= MAX_FILES:
            self._problem(f"too many included files {place}")
            self.ini.problems.raise_any()
        self.ini.load(path, self.depth + 1, (self.path, self.line))

    def _start_section(self, name: str) -> None:
        self.ini.section = name
        self.ini.is_known_section = name in self.ini.sections
        if self.ini.is_known_section:
            self.ini.entries.append(Entry(name, None, "", self.path, self.line))
        else:
            place = f"({self.path}:{self.line})"
            hint = nearest(name, self.ini.sections)
            self._problem(f'invalid section "{clip(name)}" in configuration {place}', hint)

    def _add_entry(self, key: str, value: str) -> None:
        if self.ini.section is None:
            hint = "write a section such as [pgbouncer] above it"
            self._problem(f"value without section: {clip(key)}", hint)
        elif self.ini.is_known_section:
            self.ini.entries.append(Entry(self.ini.section, key, value, self.path, self.line))

    def _syntax_error(self) -> None:
        hint = "write key = value"
        if self.text[self.pos] == '"':
            hint = "quote a name with single quotes, not double quotes"
        place = f"({self.path}:{self.line})"
        self._problem(f"syntax error in configuration {place}, stopping loading", hint)
        self.pos = self._match(_REST).end()

    def _problem(self, message: str, hint: str = "") -> None:
        self.ini.problems.add(message, self.path, self.line, hint)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.pos)
        assert match is not None  # these patterns match the empty string too
        return match


def read_ini(
    path: str, read: Read, sections: Iterable[str], problems: Problems
) -> tuple[list[Entry], list[str]]:
    """The entries of the file and of what it includes, and the names of the files read."""
    reader = IniReader(read, sections, problems)
    reader.load(path)
    return reader.entries, reader.files
