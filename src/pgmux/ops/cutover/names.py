"""What an application is called on both sides, so that it is known again when it has moved.

PostgreSQL changes an application_name: bytes that aren't printable ASCII become `?`, from version
16 on `\\x` and two digits, and it is cut at 63 bytes. A pooler shows what the client has sent.
Source: PostgreSQL's pg_clean_ascii and pgstat_report_appname; PgBouncer's doc/config.md,
application_name_add_host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

NAME_BYTES = 63
_ESCAPES_SINCE = 160000
_ADDED_HOST = re.compile(r" - [^ ]+:\d+\Z")


@dataclass(frozen=True, slots=True, order=True)
class App:
    """Connections that share these are one application; `database` is PostgreSQL's name of it."""

    application: str
    user: str
    database: str


def as_postgres_shows(name: str, version: int, *, has_host: bool = False) -> str:
    """The name in pg_stat_activity of who has sent this; `has_host`: the pooler has added one."""
    if has_host:
        name = _ADDED_HOST.sub("", name)
    escaped = "\\x{:02x}" if version >= _ESCAPES_SINCE else "?"
    sent = name.encode("utf-8", "surrogateescape")
    clean = "".join(chr(b) if 32 <= b < 127 else escaped.format(b) for b in sent)
    return clean[:NAME_BYTES]


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Who may go on connecting directly: patterns, as a shell's, of applications and of users."""

    applications: Sequence[str] = ()
    users: Sequence[str] = ()

    def has(self, app: App) -> bool:
        of_name = any(fnmatchcase(app.application, pattern) for pattern in self.applications)
        return of_name or any(fnmatchcase(app.user, pattern) for pattern in self.users)
