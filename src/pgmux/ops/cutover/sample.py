"""One look at PostgreSQL and the pooler, as values that a line of JSON holds."""

from __future__ import annotations

import json
import types
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pgmux.errors import PgmuxError
from pgmux.ops.cutover.names import App

MARK = "pgmux_cutover"  # the first key of every line
FORMAT = 1
MOST_APPS = 200  # told one by one
MOST_ADDRESSES = 4
_TEXT = 2000  # characters of an error

T = TypeVar("T")


class ForeignLine(PgmuxError):
    """A line that isn't a sample."""


@dataclass(frozen=True, slots=True)
class AppCount:
    """An application's connections: `direct` to PostgreSQL, `pooled` at the pooler; `waiting` of
    these for a server. `addresses`: where the direct ones come from, a few of them.
    """

    application: str
    user: str
    database: str
    direct: int
    pooled: int
    waiting: int
    is_superuser: bool
    addresses: tuple[str, ...]

    @property
    def app(self) -> App:
        return App(self.application, self.user, self.database)


@dataclass(frozen=True, slots=True)
class ServerPart:
    """PostgreSQL. `reserved` can't be had by ordinary users; counters are since `started`."""

    place: str
    version: int
    started: float
    max_connections: int
    reserved: int
    connections: int
    pooler_connections: int
    active: int
    idle: int
    idle_in_transaction: int
    walsenders: int
    commits: int
    rollbacks: int
    is_partial: bool

    @property
    def direct(self) -> int:
        return self.connections - self.pooler_connections

    @property
    def is_full(self) -> bool:
        """Whether an ordinary user would be refused."""
        return self.connections >= self.max_connections - self.reserved


@dataclass(frozen=True, slots=True)
class PoolerPart:
    """The pooler; times in seconds; counters since its start. `errors`: None where none are told.

    `unknown_servers` are of its servers those that this PostgreSQL doesn't have.
    """

    place: str
    version: str
    clients: int
    waiting: int
    maxwait: float
    servers: int
    unknown_servers: int
    transactions: int
    wait_time: float
    errors: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: seconds since 1970. A part is None where it couldn't be read: then its error says why;
    both are empty of a pooler that nobody has asked. `others`: connections of applications beyond
    MOST_APPS.
    """

    at: float
    server: ServerPart | None
    server_error: str
    is_refused: bool  # PostgreSQL had no connection left
    pooler: PoolerPart | None
    pooler_error: str
    apps: tuple[AppCount, ...]
    others: int

    @property
    def is_told(self) -> bool:
        """Whether it can be said who connects directly."""
        return self.server is not None and not self.pooler_error


def to_line(sample: Sample) -> str:
    """One line of a recording, without its end."""
    content = asdict(sample)
    content["at"] = timestamp(sample.at)
    content["server_error"] = sample.server_error[:_TEXT]
    content["pooler_error"] = sample.pooler_error[:_TEXT]
    return json.dumps({MARK: FORMAT, **content}, separators=(",", ":"))


def from_line(line: str) -> Sample:
    """Raises: ForeignLine, which says what is wrong."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ForeignLine("not JSON, perhaps cut off") from error
    if not isinstance(content, dict) or MARK not in content:
        raise ForeignLine("JSON, but not of a recording")
    if content.pop(MARK) != FORMAT:
        raise ForeignLine("of another version of pgmux")
    content["at"] = _seconds(content.get("at"))
    return _value(Sample, content)


def timestamp(at: float) -> str:
    """UTC, as JSON has it."""
    told = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")


def _seconds(text: object) -> float:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ForeignLine("`at` is no time") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _value(kind: type[T], content: object) -> T:
    """A dataclass of a JSON object. What it doesn't know it passes over. Raises: ForeignLine."""
    if not isinstance(content, dict):
        raise ForeignLine(f"{kind.__name__} is no object")
    hints = get_type_hints(kind)
    found = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in content:
            raise ForeignLine(f"there is no {field.name}")
        found[field.name] = _field(field.name, hints[field.name], content[field.name])
    return kind(**found)


def _field(name: str, hint: Any, value: Any) -> Any:
    if get_origin(hint) is types.UnionType:
        [inner] = [each for each in get_args(hint) if each is not type(None)]
        return None if value is None else _field(name, inner, value)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_field(name, get_args(hint)[0], each) for each in value)
    if hint in (ServerPart, PoolerPart, AppCount):
        return _value(hint, value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ForeignLine(f"{name} is no {hint.__name__ if isinstance(hint, type) else 'list'}")
    return value
