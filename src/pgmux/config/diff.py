"""What a RELOAD has to do to go from one `Config` to the next.

Source: PgBouncer's src/loader.c parse_database (when a database's servers get close_needed),
src/main.c load_config, lib/usual/cfparser.c (settings without reload keep their value silently;
here they are named).
Errors: `diff_config` raises ConfigError for an auth_file, HBA or ident file that broke since:
nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pgmux.config.model import AUTODB_NAME, Config, Database, Settings
from pgmux.config.params import PGMUX_SETTINGS, SETTINGS, Param
from pgmux.errors import ConfigError, Problem

K = TypeVar("K")

_RECONNECTING = (
    "dbname",
    "host",
    "port",
    "user",
    "connect_query",
    "auth_dbname",
    "auth_query",
    "load_balance_hosts",
)
_ALL_SETTINGS = {**SETTINGS, **PGMUX_SETTINGS}
_LOSING_FORCED_USER = "losing forced user not supported, keeping old setting"


@dataclass(frozen=True, slots=True)
class Reload:
    """The configuration to go on with, and what of it is new.

    `config` is the new one with the old values of what only a restart changes; those settings are
    `needs_restart`. `settings` are the changed settings that apply. Of `databases_dirty` and, with
    `autodb_dirty`, of all that came from `*`, servers are closed when they are released.
    `users_changed` differ in auth_file.
    """

    config: Config
    settings: tuple[str, ...]
    needs_restart: tuple[str, ...]
    databases_added: tuple[str, ...]
    databases_removed: tuple[str, ...]
    databases_dirty: tuple[str, ...]
    autodb_dirty: bool
    users_changed: tuple[str, ...]
    peers_changed: tuple[int, ...]

    def texts(self) -> Iterator[str]:
        """What of it an operator may want to see: names, no values."""
        yield from (f"changed setting: {name}" for name in self.settings)
        yield from (f"new database: {name}" for name in self.databases_added)
        yield from (f"removed database: {name}" for name in self.databases_removed)
        yield from (f"changed database: {name}" for name in self.databases_dirty)
        yield from (f"changed user: {name}" for name in self.users_changed)
        yield from (f"changed peer: {number}" for number in self.peers_changed)


def diff_config(old: Config, new: Config) -> Reload:
    """What changes between the running configuration and the one just loaded.

    Raises: ConfigError.
    """
    broken = {problem.file for problem in old.access_problems}
    if any(problem.file not in broken for problem in new.access_problems):
        raise ConfigError(new.access_problems)
    config = _keep_forced_users(old, new)
    settings = _differing(old.settings, new.settings, SETTINGS)
    pgmux = _differing(old.pgmux, new.pgmux, PGMUX_SETTINGS)
    common = old.databases.keys() & new.databases.keys()
    return Reload(
        config=replace(
            config,
            settings=_keep_settings(old.settings, new.settings),
            pgmux=replace(new.pgmux, **_kept(old.pgmux, PGMUX_SETTINGS)),
        ),
        settings=tuple(n for n in settings + pgmux if _ALL_SETTINGS[n].reloadable),
        needs_restart=tuple(n for n in settings + pgmux if not _ALL_SETTINGS[n].reloadable),
        databases_added=tuple(sorted(new.databases.keys() - common)),
        databases_removed=tuple(sorted(old.databases.keys() - common)),
        databases_dirty=tuple(
            name
            for name in sorted(common)
            if _needs_reconnect(old.databases[name], config.databases[name])
        ),
        autodb_dirty=old.autodb is not None and _needs_reconnect(old.autodb, config.autodb),
        users_changed=tuple(sorted(_changed_keys(old.userlist, new.userlist))),
        peers_changed=tuple(sorted(_changed_keys(old.peers, new.peers))),
    )


def _differing(old: object, new: object, table: Mapping[str, Param]) -> list[str]:
    return [name for name in table if getattr(old, name) != getattr(new, name)]


def _kept(old: object, table: Mapping[str, Param]) -> dict[str, Any]:
    """The old values of all that only a restart changes."""
    return {name: getattr(old, name) for name, param in table.items() if not param.reloadable}


def _keep_settings(old: Settings, new: Settings) -> Settings:
    kept = _kept(old, SETTINGS)
    texts = {name: text for name, text in new.texts.items() if name not in kept}
    texts |= {name: text for name, text in old.texts.items() if name in kept}
    return replace(new, **kept, texts=texts)


def _keep_forced_users(old: Config, new: Config) -> Config:
    """PgBouncer can't do without a forced user once there is one; nor do the pools under it."""
    lost = {
        name: replace(db, user=old.databases[name].user, password=old.databases[name].password)
        for name, db in new.databases.items()
        if name in old.databases and old.databases[name].user is not None and db.user is None
    }
    autodb = new.autodb
    if old.autodb and autodb and old.autodb.user is not None and autodb.user is None:
        autodb = replace(autodb, user=old.autodb.user, password=old.autodb.password)
    names = [*lost, *([AUTODB_NAME] if autodb != new.autodb else [])]
    warnings = (Problem(_LOSING_FORCED_USER, hint=f"database {name}") for name in names)
    return replace(
        new,
        databases={**new.databases, **lost},
        autodb=autodb,
        warnings=(*new.warnings, *warnings),
    )


def _needs_reconnect(old: Database, new: Database | None) -> bool:
    return new is None or any(getattr(old, key) != getattr(new, key) for key in _RECONNECTING)


def _changed_keys(old: Mapping[K, Any], new: Mapping[K, Any]) -> set[K]:
    return {key for key in {*old, *new} if old.get(key) != new.get(key)}
