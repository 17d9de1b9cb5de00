"""A userlist's text with other secrets: comments, order and all other lines stay byte for byte.

Errors: `UserlistError`: a broken line by file and line, before which nothing is changed either,
since a pooler doesn't read what comes after it; or a name or secret that no pooler would read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pgmux.config.userlist import (
    UserlistEntry,
    escape,
    userlist_entries,
    userlist_line,
    why_unwritable,
)
from pgmux.errors import PgmuxError
from pgmux.ops.printing import printable


class UserlistError(PgmuxError):
    """A userlist can't be read or changed as asked; the text says where, and has no secret."""


def read_users(text: str, file: str) -> dict[str, str]:
    """The secrets by user, the last of a name counts. Raises: UserlistError."""
    return {entry.user: entry.secret for entry in _entries(text, file)}


def edit_userlist(
    text: str, file: str, users: Mapping[str, str] | None = None, remove: Iterable[str] = ()
) -> str:
    """`text` in which `users` have these secrets and those of `remove` no line.

    Of several lines of a name the last counts: that one gets the secret; all of them are removed.
    A new user's line comes at the end. Raises: UserlistError.
    """
    entries = _entries(text, file)
    wanted = dict(users or {})
    for user, secret in wanted.items():
        if why := why_unwritable(user, secret):
            raise UserlistError(f'{file}: user "{printable(user)}": {why}')
    last = {entry.user: entry for entry in entries}
    changes = [
        (*last[user].quoted, escape(secret))
        for user, secret in wanted.items()
        if user in last and last[user].secret != secret
    ]
    unwanted = frozenset(remove) - wanted.keys()
    changes += [(*_lines(text, entry), "") for entry in entries if entry.user in unwanted]
    new = [userlist_line(*item) for item in wanted.items() if item[0] not in last]
    return _append(_replace(text, changes), new)


def _entries(text: str, file: str) -> tuple[UserlistEntry, ...]:
    entries, problems = userlist_entries(text, file)
    if problems:
        raise UserlistError("; ".join(map(str, problems)))
    for entry in entries:
        if "\n" in entry.user + entry.secret:  # a pooler reads it so, and nobody meant it
            line = text.count("\n", 0, entry.start) + 1
            raise UserlistError(f"{file}:{line}: a quote is missing: a name or secret goes on here")
    return entries


def _lines(text: str, entry: UserlistEntry) -> tuple[int, int]:
    """From the beginning of the entry's first line to behind the newline of its last."""
    start = text.rfind("\n", 0, entry.start) + 1
    return start, min(entry.end + 1, len(text))


def _replace(text: str, changes: Iterable[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    done = 0
    for start, end, new in sorted(changes):
        parts += (text[done:start], new)
        done = end
    return "".join((*parts, text[done:]))


def _append(text: str, lines: Iterable[str]) -> str:
    """`lines` at the end, which becomes a line's end, with newlines as the text has them."""
    newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    for line in lines:
        if text and not text.endswith("\n"):
            text += newline
        text += line + newline
    return text
