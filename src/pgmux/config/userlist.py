"""The text of auth_file (userlist.txt) -> secrets by user.

Source: PgBouncer's src/loader.c load_auth_file. A line is `"user" "secret"` and anything after it;
`""` is a quote; `;` begins a comment line. A secret is a plaintext password, `md5` and 32 hex
digits, or `SCRAM-SHA-256$...`; which one, `auth` decides. What comes after a broken line is not
read, as there: a quote too many turns names into secrets.
Errors: a `Problem` in PgBouncer's words; the users before it are returned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pgmux.config.values import SPACE
from pgmux.errors import Problem

MAX_USERNAME = 128  # bytes with the closing NUL, doubled quotes counted twice
MAX_PASSWORD = 65531

_SKIPPED = re.compile(rf"(?:[{SPACE}]++|;[^\n]*+)*+")
_QUOTED = r'"((?:[^"]|"")*+)"'
_USER = re.compile(_QUOTED)
_SECRET = re.compile(rf'[^"]*+{_QUOTED}[^\n]*+')


@dataclass(frozen=True, slots=True)
class UserlistEntry:
    """A user and its secret, and where in the text: the name's quote, the end of the secret's line
    without its newline, and what is between the secret's quotes.
    """

    user: str
    secret: str = field(repr=False)
    start: int
    end: int
    quoted: tuple[int, int]


def parse_userlist(text: str, file: str) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """The secrets by user name, the last of a name counts; and what stopped the reading, if so."""
    entries, problems = userlist_entries(text, file)
    return {entry.user: entry.secret for entry in entries}, problems


def userlist_entries(text: str, file: str) -> tuple[tuple[UserlistEntry, ...], tuple[Problem, ...]]:
    """All entries in order, those of the same name too; and what stopped the reading, if so."""
    entries: list[UserlistEntry] = []
    text, nul, _ = text.partition("\0")
    pos = 0
    while True:
        pos = _end(_SKIPPED.match(text, pos))
        if pos == len(text):
            message = "broken auth file" if nul else ""
            break
        name = _USER.match(text, pos)
        secret = name and _SECRET.match(text, name.end())
        message = _wrong_with(name, secret)
        if name is None or secret is None or message:
            break
        user, plain = (match[1].replace('""', '"') for match in (name, secret))
        entries.append(UserlistEntry(user, plain, name.start(), secret.end(), secret.span(1)))
        pos = secret.end()
    if not message:
        return tuple(entries), ()
    hint = 'write "user" "secret"; the users from here on are not loaded'
    line = text.count("\n", 0, pos) + 1
    return tuple(entries), (Problem(message, file, line, hint, is_grave=True),)


def userlist_line(user: str, secret: str) -> str:
    """The line of a user, without its newline, for whoever writes such a file."""
    return f'"{escape(user)}" "{escape(secret)}"'


def escape(text: str) -> str:
    """A name or a secret as it stands between quotes."""
    return text.replace('"', '""')


def why_unwritable(user: str, secret: str) -> str:
    """What keeps a pooler from reading this user's line, empty if nothing does."""
    if not user:
        return "a user needs a name"
    if not {"\0", "\n"}.isdisjoint(user + secret):
        return "a newline or a NUL byte can't be in a userlist"
    if _byte_len(escape(user)) >= MAX_USERNAME:
        return f"the name has more than {MAX_USERNAME - 1} bytes (quotes count twice)"
    if _byte_len(escape(secret)) >= MAX_PASSWORD:
        return f"the secret has more than {MAX_PASSWORD - 1} bytes (quotes count twice)"
    return ""


def _wrong_with(name: re.Match[str] | None, secret: re.Match[str] | None) -> str:
    if name is None:
        return "broken auth file"
    if _byte_len(name[1]) >= MAX_USERNAME:
        return "username too long in auth file"
    if secret is None:
        return "broken auth file"
    return "password too long in auth file" if _byte_len(secret[1]) >= MAX_PASSWORD else ""


def _byte_len(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # the pattern matches the empty string too
    return match.end()
