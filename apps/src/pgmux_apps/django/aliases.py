"""One PostgreSQL alias of DATABASES, typed; the password only as whether there is one.

What libpq takes from elsewhere (PGHOST, PGPORT, PGUSER, a password file) counts as given.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.core.checks import CheckMessage

from pgmux_apps.django.rules import Rule, shown

FLAGS = ("CONN_HEALTH_CHECKS", "DISABLE_SERVER_SIDE_CURSORS", "AUTOCOMMIT", "ATOMIC_REQUESTS")


@dataclass(frozen=True, slots=True)
class Alias:
    """What the checks look at. `pooler`, `because` and `direct` aren't of DATABASES alone."""

    name: str
    engine: str
    host: str
    port: str
    dbname: str
    user: str
    has_password: bool
    max_age: float | None  # seconds; None without end
    health_checks: bool
    server_side_cursors: bool
    autocommit: bool
    mirror: str | None  # TEST MIRROR
    options: Mapping[str, Any]  # without anything secret; "options" and "pool" are read below
    pool: Mapping[str, Any] | None  # the arguments of psycopg_pool; None without a pool
    flags_as_text: tuple[str, ...]
    pooler: str | None = None
    because: str = ""
    direct: str | None = None

    @property
    def place(self) -> str:
        """As messages name it."""
        return f"DATABASES[{self.name!r}]"

    @property
    def is_kept(self) -> bool:
        """Whether Django keeps a connection beyond its request, by CONN_MAX_AGE."""
        return self.pool is None and (self.max_age is None or self.max_age > 0)

    @property
    def startup_options(self) -> str:
        """OPTIONS["options"]."""
        return str(self.options.get("options") or "")

    @property
    def sslmode(self) -> str:
        """As libpq has it where nothing is said."""
        return str(self.options.get("sslmode") or "prefer")


@dataclass
class _Reader:
    """Values of one alias; what has the wrong form becomes a problem and the default."""

    place: str
    settings: Mapping[str, Any]
    problems: list[CheckMessage]

    def wrong(self, key: str, text: str, hint: str) -> None:
        place = f"{self.place}{key}"
        self.problems.append(Rule.DATABASES_SETTING.found(place, f"{place} is {text}.", hint))

    @cached_property
    def options(self) -> Mapping[str, Any]:
        value = self.settings.get("OPTIONS", {})
        if isinstance(value, Mapping):
            return value
        form = f"a {type(value).__name__}, not a dictionary"
        self.wrong("['OPTIONS']", form, 'Write "OPTIONS": {"sslmode": "require"}, or leave it out.')
        return {}

    def text(self, name: str, option: str, fallback: str) -> str:
        """HOST and the like, which win over OPTIONS, which wins over the environment."""
        return str(self.settings.get(name) or self.options.get(option) or fallback)

    def port(self, fallback: str) -> str:
        port = self.text("PORT", "port", fallback)
        for each in port.split(","):
            if each.strip() and not (each.strip().isdecimal() and 0 < int(each) < 65536):
                self.wrong(
                    "['PORT']",
                    f"{shown(port)}, which is no port: libpq refuses to connect",
                    "Write a number from 1 to 65535, as a number or as a text.",
                )
                return fallback
        return port.split(",")[0].strip()

    def max_age(self) -> float | None:
        value = self.settings.get("CONN_MAX_AGE", 0)
        if value is None:
            return None
        if isinstance(value, int | float):
            return value + 0  # of a lazy number, which can't be compared, the number
        self.wrong(
            "['CONN_MAX_AGE']",
            f"{shown(value)}, and no number; Django adds it to a time in seconds",
            "Write a number or None; int(os.environ[…]) makes a number of a text.",
        )
        return 0

    def mirror(self) -> str | None:
        value = self.settings.get("TEST", {})
        if not isinstance(value, Mapping):
            form = f"a {type(value).__name__}, not a dictionary"
            self.wrong("['TEST']", form, 'Write "TEST": {"NAME": "test_shop"}, or leave it out.')
            return None
        return value.get("MIRROR")

    def pool(self) -> Mapping[str, Any] | None:
        value = self.options.get("pool")
        if not value:
            return None
        if value is True or isinstance(value, Mapping):
            return {} if value is True else value
        self.wrong(
            "['OPTIONS']['pool']",
            f"a {type(value).__name__}; Django takes True or a dictionary",
            'Write "pool": {"min_size": 0, "max_size": 4}, or leave it out.',
        )
        return None


def read_alias(
    name: str, settings: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[Alias, list[CheckMessage]]:
    """The alias, and what is wrong in its settings."""
    read = _Reader(f"DATABASES[{name!r}]", settings, [])
    alias = Alias(
        name=name,
        engine=str(settings.get("ENGINE")),
        host=read.text("HOST", "host", environ.get("PGHOST", "")).split(",")[0],
        port=read.port(environ.get("PGPORT") or "5432"),
        dbname=str(settings.get("NAME") or ""),
        user=read.text("USER", "user", environ.get("PGUSER", "")),
        has_password=_has_password(settings, read.options, environ),
        max_age=read.max_age(),
        health_checks=bool(settings.get("CONN_HEALTH_CHECKS", False)),
        server_side_cursors=not settings.get("DISABLE_SERVER_SIDE_CURSORS", False),
        autocommit=bool(settings.get("AUTOCOMMIT", True)),
        mirror=read.mirror(),
        options={key: value for key, value in read.options.items() if "password" not in str(key)},
        pool=read.pool(),
        flags_as_text=tuple(flag for flag in FLAGS if isinstance(settings.get(flag), str)),
    )
    return alias, read.problems


def _has_password(
    settings: Mapping[str, Any], options: Mapping[str, Any], environ: Mapping[str, str]
) -> bool:
    """Whether there is one, or something in its place, also where it can't be looked into."""
    given = ("password", "passfile", "service", "sslcert", "sslkey")
    if settings.get("PASSWORD") or any(options.get(name) for name in given):
        return True
    variables = ("PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSSLCERT")
    if any(environ.get(name) for name in variables):
        return True
    return os.path.exists(os.path.expanduser("~/.pgpass"))
