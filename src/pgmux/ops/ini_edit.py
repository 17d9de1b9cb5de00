"""pgbouncer.ini edited in place: an entry or setting set or removed, every other byte as it is.

Comments, order, CRLF and indentation stay. What is edited is what counts: of duplicates the last,
and of settings those after the last start of [pgbouncer], which resets them. An entry is changed in
the file where it stands, `%include`d ones too; a new one goes below the last of its section in the
main file, or in a file that is named.
Errors: `ConfigError` where a file can't be read; `EditError` where a place can't be edited;
ValueError for what the syntax can't say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pgmux.config.ini import Entry, read_ini
from pgmux.config.load import SECTIONS
from pgmux.config.problems import Problems
from pgmux.config.values import SPACE
from pgmux.errors import PgmuxError
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.ini_text import checked_value, entry_name

MAIN_SECTION = "pgbouncer"
_BLANK = SPACE.replace("\n", "")
_LINE = re.compile(
    rf"(?P<before>(?:[{_BLANK}]*\[[^]]*\])*[{_BLANK}]*)"
    r"(?P<name>'[^']+'|[A-Za-z0-9_.*-]*)(?P<equals>[ \t]*=[ \t]*)(?P<value>.*)",
    re.DOTALL,
)


class EditError(PgmuxError):
    """A file can't be edited at that place; the text says where and why."""


class IniEdit:
    """One main file and all that it includes. Changes go to `texts`, which is to be written."""

    def __init__(self, path: str, texts: EditedTexts, sections: Sequence[str] = SECTIONS) -> None:
        self.path = path
        self.texts = texts
        self._sections = sections

    def find(self, section: str, key: str) -> Entry | None:
        """The entry that counts. Raises: ConfigError."""
        found = [entry for entry in self._in_force(section) if entry.key == key]
        return found[-1] if found else None

    def set(self, section: str, key: str, value: str, *, file: str | None = None) -> None:
        """Changes the entry that counts, or adds one, to `file` if that is named.

        Raises: ConfigError; EditError; ValueError.
        """
        checked_value(value)
        found, others = self.find(section, key), self._others(section, key)
        if found is None:
            self._add(section, entry_name(key), value, file)
        else:
            self._replace(found, value)
        if (now := self.find(section, key)) is None or now.value != value:
            place = f"{now.file}:{now.line}" if now else self.path
            raise EditError(f"{place}: {key} can't be edited in place: change it by hand")
        self._check(others, section, key)

    def remove(self, section: str, key: str) -> int:
        """Takes every entry of that name out, an earlier one would count then; how many there were.

        Raises: ConfigError; EditError.
        """
        others = self._others(section, key)
        entries = [e for e in self._entries() if e.section == section and e.key == key]
        places = {(entry.file, entry.line) for entry in entries}
        for file, line in sorted(places, reverse=True):
            self._cut(file, line)
        if self.find(section, key) is not None:
            raise EditError(f"{self.path}: {key} can't be removed in place: do it by hand")
        self._check(others, section, key)
        return len(places)

    def _others(self, section: str, key: str) -> list[tuple[str, str, str]]:
        """All other entries, which an edit must leave alone."""
        return [
            (entry.section, entry.key, entry.value)
            for entry in self._entries()
            if entry.key is not None and (entry.section, entry.key) != (section, key)
        ]

    def _check(self, others: list[tuple[str, str, str]], section: str, key: str) -> None:
        """Raises: EditError where others have changed: a file may be included in two sections."""
        if self._others(section, key) != others:
            raise EditError(f"{self.path}: editing {key} would change others: do it by hand")

    def _entries(self) -> list[Entry]:
        problems = Problems()
        entries, _ = read_ini(self.path, self.texts.read, self._sections, problems)
        problems.raise_any()
        return entries

    def _in_force(self, section: str) -> list[Entry]:
        """The section's entries, its starts among them."""
        entries = [entry for entry in self._entries() if entry.section == section]
        if section == MAIN_SECTION:
            starts = [i for i, entry in enumerate(entries) if entry.key is None]
            entries = entries[starts[-1] :] if starts else []
        return entries

    def _replace(self, entry: Entry, value: str) -> None:
        lines = self._lines(entry.file)
        parts = _parts(lines[entry.line - 1], entry.file, entry.line)
        old = parts["value"]
        rest = old[len(old.rstrip(SPACE)) :]
        equals = parts["equals"]
        if equals[0] in " \t" and equals.endswith("="):  # `logfile =`, without a value
            equals += " "
        lines[entry.line - 1] = f"{parts['before']}{parts['name']}{equals}{value}{rest}"
        self._put(entry.file, lines)

    def _add(self, section: str, name: str, value: str, file: str | None) -> None:
        anchor = self._anchor(section, file)
        if anchor is None:
            self._add_section(section, f"{name} = {value}")
            return
        lines = self._lines(anchor.file)
        above = lines[anchor.line - 1]
        indent, equals = "", " = "
        if anchor.key is not None:
            parts = _parts(above, anchor.file, anchor.line)
            indent = "" if "[" in parts["before"] else parts["before"]
            equals = "=" if parts["equals"] == "=" else " = "
        is_last = anchor.line == len(lines)
        end = "\r" if (lines[0] if is_last else above).endswith("\r") else ""
        if is_last:  # no newline ends that line
            lines[-1] = above + end
        lines.insert(anchor.line, f"{indent}{name}{equals}{value}{end}")
        self._put(anchor.file, [*lines, ""] if is_last else lines)

    def _anchor(self, section: str, file: str | None) -> Entry | None:
        """Below what a new entry goes; None where there is no such section."""
        entries = self._in_force(section)
        own = [entry for entry in entries if entry.file == (file or self.path)]
        if file is not None and not own:
            raise EditError(f"{file}: there is nothing of [{section}] in it to add to")
        return (own or entries)[-1] if entries else None

    def _add_section(self, section: str, line: str) -> None:
        text = self.texts.read(self.path)
        end = "\r\n" if "\r\n" in text else "\n"
        gap = end if text.endswith("\n") else end * 2
        self.texts.put(self.path, f"{text}{gap}[{section}]{end}{line}{end}")

    def _cut(self, file: str, line: int) -> None:
        lines = self._lines(file)
        parts = _parts(lines[line - 1], file, line)
        if "[" in parts["before"]:
            end = "\r" if lines[line - 1].endswith("\r") else ""
            lines[line - 1] = parts["before"].rstrip(SPACE) + end
        else:
            del lines[line - 1]
            if line > len(lines) and lines:  # it was the last, and no newline ended it
                lines.append("")
        self._put(file, lines)

    def _lines(self, file: str) -> list[str]:
        return self.texts.read(file).split("\n")

    def _put(self, file: str, lines: Iterable[str]) -> None:
        self.texts.put(file, "\n".join(lines))


def _parts(line: str, file: str, number: int) -> re.Match[str]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise EditError(f"{file}:{number}: this line can't be edited in place: change it by hand")
    return found
