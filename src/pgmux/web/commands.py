"""A command that the page asks for, as JSON -> what the console is told.

    {"action": "pause" | "resume" | "reconnect", "database": "name"}   without a name: all of them
    {"action": "reload"}
    {"action": "kill_client", "client_id": 17}

Errors: BadCommand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgmux.errors import PgmuxError

MAX_NAME = 128  # characters; PostgreSQL's names have 63 bytes
_OF_DATABASES = {"pause": "PAUSE", "resume": "RESUME", "reconnect": "RECONNECT"}
_INT_MAX = 0x7FFFFFFF
_BARE = re.compile("[0-9A-Za-z_]+")
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")  # JSON has halves of characters, UTF-8 has not


class BadCommand(PgmuxError):
    """It isn't one of ours; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Command:
    """What the console is told."""

    sql: str


def read_command(asked: object) -> Command:
    """Raises: BadCommand."""
    if not isinstance(asked, dict):
        raise BadCommand("a JSON object is expected")
    given = {name: value for name, value in asked.items() if value is not None}
    action = given.pop("action", None)
    if not isinstance(action, str):
        raise BadCommand('"action" is missing')
    command = _read(action, given)
    if given:
        raise BadCommand(f"{action} doesn't take {ascii(next(iter(given)))[:MAX_NAME]}")
    return command


def _read(action: str, given: dict[str, object]) -> Command:
    """Takes out of `given` what it uses."""
    if action in _OF_DATABASES:
        name = _OF_DATABASES[action]
        if "database" in given:
            name = f"{name} {quote(given.pop('database'))}"
        return Command(name)
    if action == "reload":
        return Command("RELOAD")
    if action == "kill_client":
        return Command(f"KILL_CLIENT {_client_id(given.pop('client_id', None))}")
    raise BadCommand(
        'there is no such "action": pause, resume, reconnect, reload and kill_client are'
    )


def _client_id(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT_MAX:
        raise BadCommand('"client_id" is no client\'s number')
    return value


def quote(name: object) -> str:
    """A database's name as a word of the console's grammar. Raises: BadCommand."""
    if not isinstance(name, str) or not name or len(name) > MAX_NAME or _UNSENDABLE.search(name):
        raise BadCommand('"database" is no database\'s name')
    # The console counts the quotes when it bounds a word: without, a name may be longer.
    return name if _BARE.fullmatch(name) else '"' + name.replace('"', '""') + '"'
