"""The settings as the checks want them: typed, with what can't be read said instead of raised.

Which aliases go through a pooler isn't in DATABASES. PGMUX may say it; else `USE_PGBOUNCER`, a
setting or an environment variable, and the ports that poolers usually have. Values of DATABASES
that can't be used are problems of their own, and the checks go on with Django's defaults.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from pgmux_apps.django.aliases import Alias, read_alias
from pgmux_apps.django.pgmux_setting import AliasSetting, read_pgmux
from pgmux_apps.django.rules import Rule, shown
from pgmux_apps.environment import Environment, SettingError

POOLER_PORTS = frozenset({"6432", "6543"})  # PgBouncer's own; Airflow's chart and Supabase
OTHER_ENGINES = frozenset(
    f"django.db.backends.{n}" for n in ("dummy", "mysql", "oracle", "sqlite3")
)
DIRECT_NAME = "direct"  # the alias that bypasses the pooler, unless PGMUX names another


@dataclass(frozen=True, slots=True)
class Project:
    """The PostgreSQL aliases by name, and how the project is served."""

    aliases: Mapping[str, Alias]
    server: str  # wsgi, asgi or gevent
    processes: int | None
    threads: int | None

    def direct_of(self, alias: Alias) -> Alias | None:
        """The alias that bypasses this one's pooler."""
        return self.aliases.get(alias.direct) if alias.direct is not None else None


def read_project(
    databases: object,
    pgmux: object,
    *,
    use_pgbouncer: bool | None = None,
    looks_like_asgi: bool = False,
    environment: Mapping[str, str] | None = None,
) -> tuple[Project, list[CheckMessage]]:
    """What `settings.DATABASES` and `settings.PGMUX` say, and what is wrong in them."""
    environ = os.environ if environment is None else environment
    aliases, problems = _read_databases(databases, environ)
    setting, more = read_pgmux(pgmux, aliases)
    problems += more
    said = _flag(use_pgbouncer, environ, problems)
    place = _Placing(aliases, setting.aliases, said)
    placed = {name: place.of(alias) for name, alias in aliases.items()}
    server = setting.server or ("asgi" if looks_like_asgi else "wsgi")
    return Project(placed, server, setting.processes, setting.threads), problems


def project_of_settings() -> tuple[Project, list[CheckMessage]]:
    """The project that runs."""
    from django.conf import settings

    apps: Sequence[str] = settings.INSTALLED_APPS
    return read_project(
        settings.DATABASES,
        getattr(settings, "PGMUX", {}),
        use_pgbouncer=getattr(settings, "USE_PGBOUNCER", None),
        looks_like_asgi=bool(getattr(settings, "ASGI_APPLICATION", None)) or "daphne" in apps,
    )


def is_remote(host: str) -> bool:
    """Whether bytes leave this machine, as far as the name tells: `db` may be a neighbour's
    container, a name with a dot isn't.
    """
    if host in ("", "localhost") or host[0] in "/@":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." in host.rstrip(".")


def _read_databases(
    databases: object, environ: Mapping[str, str]
) -> tuple[dict[str, Alias], list[CheckMessage]]:
    """Those of PostgreSQL; other engines are left alone."""
    if not isinstance(databases, Mapping):
        return {}, [_wrong("DATABASES", f"is {_kind(databases)}, not a dictionary of dictionaries")]
    aliases: dict[str, Alias] = {}
    problems: list[CheckMessage] = []
    for name, settings in databases.items():
        place = f"DATABASES[{name!r}]"
        if not isinstance(settings, Mapping):
            problems.append(_wrong(place, f"is {_kind(settings)}, not a dictionary"))
            continue
        engine = settings.get("ENGINE")
        try:
            if _vendor(engine) != "postgresql":
                continue
        except (ImproperlyConfigured, ImportError, AttributeError, TypeError, ValueError) as error:
            if name == DEFAULT_DB_ALIAS:  # Django loads another one only where it is used
                is_name = isinstance(engine, str) and engine.replace(".", "").isidentifier()
                why = _first_line(error) if is_name else shown(engine)
                problems.append(_wrong(place, f"has an ENGINE that can't be loaded: {why}"))
            continue
        aliases[name], more = read_alias(str(name), settings, environ)
        problems += more
    return aliases, problems


def _vendor(engine: Any) -> str:
    """The backend's own word, which those that are made of Django's keep."""
    from django.db.utils import load_backend

    if not engine or engine == "django.db.backends.":
        return "unknown"  # Django takes it for its dummy
    if engine in OTHER_ENGINES:
        return "other"
    return str(load_backend(engine).DatabaseWrapper.vendor)


@dataclass(frozen=True, slots=True)
class _Placing:
    """Says of an alias whether it goes through a pooler, and why that is thought."""

    aliases: Mapping[str, Alias]
    said: Mapping[str, AliasSetting]
    use_pgbouncer: bool | None

    def of(self, alias: Alias) -> Alias:
        setting = self.said.get(alias.name, AliasSetting())
        direct = setting.direct
        if direct is None and DIRECT_NAME in self.aliases and alias.name != DIRECT_NAME:
            direct = DIRECT_NAME
        pooler, because = self._pooler(alias, setting)
        return replace(alias, pooler=pooler, because=because, direct=direct)

    def _pooler(self, alias: Alias, setting: AliasSetting) -> tuple[str | None, str]:
        """ "pgmux", "pgbouncer", "" for one or the other, None for none; and what says so."""
        if setting.pooler is not None:
            known = setting.pooler if isinstance(setting.pooler, str) else ""
            return (None if setting.pooler is False else known), "PGMUX says so"
        if self.use_pgbouncer is False:
            return None, "USE_PGBOUNCER is false"
        if alias.port in POOLER_PORTS:
            return "", f"its port is {alias.port}"
        if alias.name == DIRECT_NAME or any(s.direct == alias.name for s in self.said.values()):
            return None, "it is another alias's direct one"
        if self.use_pgbouncer and not any(a.port in POOLER_PORTS for a in self.aliases.values()):
            return "", "USE_PGBOUNCER is true"
        return None, "its port isn't a pooler's, and PGMUX doesn't say otherwise"


def _flag(setting: object, environ: Mapping[str, str], problems: list[CheckMessage]) -> bool | None:
    """USE_PGBOUNCER of the settings, else of the environment; None where neither has it."""
    if isinstance(setting, bool):
        return setting
    variables = Environment(environ if setting is None else {"USE_PGBOUNCER": str(setting)})
    try:
        if variables.given("USE_PGBOUNCER") is None:
            return None
        return variables.flag("USE_PGBOUNCER", False)
    except SettingError as error:
        hint = "Write USE_PGBOUNCER = True or False, or leave it out and say it in PGMUX."
        problems.append(Rule.PGMUX_SETTING.found("USE_PGBOUNCER", f"{error}.", hint))
        return None


def _wrong(place: str, text: str) -> CheckMessage:
    hint = "Django's documentation of settings has what DATABASES may be."
    return Rule.DATABASES_SETTING.found(place, f"{place} {text}.", hint)


def _kind(value: object) -> str:
    """Never the value: a URL in the place of a dictionary has a password in it."""
    return f"a {type(value).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
