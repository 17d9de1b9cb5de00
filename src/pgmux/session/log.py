"""Where log lines go, for the layers that have no log of their own: `daemon.log.Log` has these.

A line about a connection names it by a `Name`, not by text put in front: then formats with fields
of their own (JSON, the journal) need not take a hostile user name apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pgmux.session.identity import Side

Fields = Mapping[str, object]
NONE: Fields = {}


class Name(NamedTuple):  # made for each line, and faster than a frozen dataclass
    """Which connection a line is about; `id` is SHOW's `ptr`. `peer` is None before it has one;
    `peer_id` is that of the pooler that a cancel request is passed on to.
    """

    side: str  # "client" or "server"
    id: int
    database: str
    user: str
    peer: Side | None
    peer_id: int = 0

    def __str__(self) -> str:
        """PgBouncer's socket prefix, `C-0x2f: db/user@host:port`."""
        letter = "C" if self.side == "client" else "S"
        login = f"{self.database or '(nodb)'}/{self.user or '(nouser)'}"
        if self.peer_id:
            login = f"peer-{self.peer_id}"
        return f"{letter}-{self.id:#x}: {login}@{self.peer or '(bad-af):0'}"


class Log(Protocol):
    """A line each; client-supplied text in it is made harmless by whoever writes it.

    `about` is put in front. `limit` is for what peers can cause in any number: it names the kind of
    line, of which only so many are written a second, and the rest counted and said. `fields` are
    what of the text is a value of its own.
    """

    @property
    def is_debug(self) -> bool:
        """Whether `debug` writes: ask before a text is built."""

    @property
    def is_noise(self) -> bool:
        """The same of `noise`."""

    def error(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        """Something failed; the process goes on."""

    def warning(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        """Something that an operator should look at."""

    def log(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        """What happens in normal operation."""

    def debug(self, text: str, about: Name | None = None) -> None:
        """What helps to find out why; written with -v."""

    def noise(self, text: str, about: Name | None = None) -> None:
        """What happens for every other query; written with -v -v."""

    def exception(self, text: str, error: BaseException, about: Name | None = None) -> None:
        """A bug of ours, with its traceback."""

    def is_flooded(self, kind: str) -> bool:
        """Whether the next line of that `limit` would be held back."""


def log_end(log: Log, name: Name, reason: str, age: float, limit: str = "") -> None:
    """The line that PgBouncer's readers of logs look for; `age` in seconds."""
    seconds = int(age)
    text = f"closing because: {reason} (age={seconds}s)"
    log.log(text, name, {"reason": reason, "age": seconds}, limit=limit)
