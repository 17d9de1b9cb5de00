"""The files of a configuration while they are edited: read once, changed in memory, written
together.

Errors: those of reading are OSError, as `config` wants them; `FileError` of writing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from pgmux.ops.files import NewFile, read_text, write_files

_HIDDEN = "********"
# A secret may stand in an entry of [databases], in a comment that once was one, in auth_file, and
# in LDAP's options; what is quoted behind a userlist's secret may be an older one.
_USERLIST_LINE = re.compile(r'("(?:[^"\n]|"")*+"[^"\n]*+)"(?:[^"\n]|"")*+"?(?:[^"\n]*".*)?')
_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\n]|'')*+'?|[^\s']\S*)", re.IGNORECASE)
_LDAP = re.compile(r"(ldapbindpasswd\s*=\s*)(\"[^\"\n]*\"?|'[^'\n]*'?|\S+)", re.IGNORECASE)


class EditedTexts:
    """What files hold now, and what they are to hold."""

    def __init__(self, read: Callable[[str], str] = read_text) -> None:
        self._read = read
        self._old: dict[str, str] = {}
        self._new: dict[str, str] = {}

    def read(self, path: str) -> str:
        """The text as edited so far. Raises: OSError."""
        if path in self._new:
            return self._new[path]
        if path not in self._old:
            self._old[path] = self._read(path)
        return self._old[path]

    def put(self, path: str, text: str) -> None:
        """The file, which has been read, is to hold this."""
        self._new[path] = text

    @property
    def changed(self) -> list[str]:
        return [path for path, text in self._new.items() if text != self._old[path]]

    def write(self) -> None:
        """All changed files, or none; owner and mode stay. Raises: FileError."""
        write_files([NewFile(path, self._new[path]) for path in self.changed], overwrite=True)

    def restore(self) -> None:
        """What was there before `write`, where it isn't there now. Raises: FileError."""
        other = [path for path in self.changed if self._read(path) != self._old[path]]
        write_files([NewFile(path, self._old[path]) for path in other], overwrite=True)

    def diff(self) -> str:
        """A unified diff in which every secret is hidden, also those of lines that stay."""
        lines: list[str] = []
        for path in self.changed:
            old, new = (text.split("\n") for text in (self._old[path], self._new[path]))
            lines += difflib.unified_diff(old, new, path, path, lineterm="")
        return "\n".join(_without_secrets(line.rstrip("\r")) for line in lines)


def _without_secrets(line: str) -> str:
    hidden = line if line.startswith(("---", "+++", "@@")) else _hide_userlist(line)
    return _LDAP.sub(rf"\1{_HIDDEN}", _PASSWORD.sub(rf"\1{_HIDDEN}", hidden))


def _hide_userlist(line: str) -> str:
    """The secret of `"user" "secret"`; the mark of the diff comes first."""
    body = line[1:]
    if body.lstrip(" \t\r;#").startswith('"'):
        body = _USERLIST_LINE.sub(rf'\1"{_HIDDEN}"', body, count=1)
    return line[:1] + body
