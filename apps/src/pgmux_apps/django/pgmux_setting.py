"""`PGMUX` in the settings: what DATABASES doesn't say. All of it may be left out.

PGMUX = {
    "aliases": {"default": {"pooler": "pgmux", "direct": "direct"}},
    "server": "asgi",       # wsgi, asgi or gevent
    "processes": 4,         # of this application, on all machines
    "threads": 8,           # of each of them
}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.checks import CheckMessage

from pgmux_apps.django.rules import Rule, shown

SERVERS = ("wsgi", "asgi", "gevent")
POOLERS = (True, False, "pgmux", "pgbouncer")
MOST = 100_000


@dataclass(frozen=True, slots=True)
class AliasSetting:
    """What PGMUX says of one alias."""

    pooler: bool | str | None = None
    direct: str | None = None


@dataclass(frozen=True, slots=True)
class PgmuxSetting:
    """PGMUX, as far as it could be read."""

    aliases: Mapping[str, AliasSetting] = field(default_factory=dict)
    server: str | None = None
    processes: int | None = None
    threads: int | None = None


def read_pgmux(setting: object, aliases: Iterable[str]) -> tuple[PgmuxSetting, list[CheckMessage]]:
    """The setting, and what is wrong in it; `aliases` are those of PostgreSQL."""
    read = _Reader(list(aliases), [])
    return read.setting(setting), read.problems


@dataclass
class _Reader:
    names: list[str]
    problems: list[CheckMessage]

    def wrong(self, place: str, value: object, accepted: str) -> None:
        message = f"{place} is {shown(value)}; {accepted}."
        hint = f"Correct {place}, or leave it out: docs/apps/django.md has the whole setting."
        self.problems.append(Rule.PGMUX_SETTING.found(place, message, hint))

    def dictionary(self, place: str, value: object, keys: Iterable[str]) -> Mapping[str, Any]:
        """`value`, without the keys that aren't among `keys`."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.wrong(place, value, "a dictionary is accepted")
            return {}
        known = list(keys)
        for key in value:
            if key not in known:
                self.wrong(place, str(key), f"its keys are {_listed(known)}")
        return {key: value[key] for key in value if key in known}

    def setting(self, value: object) -> PgmuxSetting:
        given = self.dictionary("PGMUX", value, ("aliases", "server", "processes", "threads"))
        place = "PGMUX['aliases']"
        said = self.dictionary(place, given.get("aliases"), self.names)
        return PgmuxSetting(
            {name: self.alias(f"{place}[{name!r}]", name, each) for name, each in said.items()},
            self.one_of("PGMUX['server']", given.get("server"), SERVERS),
            self.count("PGMUX['processes']", given.get("processes")),
            self.count("PGMUX['threads']", given.get("threads")),
        )

    def alias(self, place: str, name: str, value: object) -> AliasSetting:
        given = self.dictionary(place, value, ("pooler", "direct"))
        others = [other for other in self.names if other != name]
        return AliasSetting(
            self.one_of(f"{place}['pooler']", given.get("pooler"), POOLERS),
            self.one_of(f"{place}['direct']", given.get("direct"), others),
        )

    def one_of(self, place: str, value: object, accepted: Iterable[Any]) -> Any:
        """`value` where it is one of them, of that very type: 1 isn't True."""
        if value is None:
            return None
        choices = list(accepted)
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        self.wrong(place, value, f"accepted are {_listed(choices)}")
        return None

    def count(self, place: str, value: object) -> int | None:
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            number = value + 0  # of a lazy number, which can't be compared, the number
            if 1 <= number <= MOST:
                return number
        self.wrong(place, value, f"an integer from 1 to {MOST} is accepted")
        return None


def _listed(values: Iterable[object]) -> str:
    names = [value if isinstance(value, str) else repr(value) for value in values]
    return ", ".join(names) if names else "none: there is no other PostgreSQL alias"
