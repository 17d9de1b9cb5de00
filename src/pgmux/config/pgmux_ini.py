"""pgmux.ini: pgmux's own settings, laid over a `Config` that pgbouncer.ini made.

Same syntax as pgbouncer.ini. Section [pgmux] holds settings; [databases] and [users] hold entries
of the same names as in pgbouncer.ini and auth_file, with pgmux's keys only.
Errors: `Problems.add` for every section, entry, name or key that isn't known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from pgmux.config import params
from pgmux.config.ini import Entry, read_ini
from pgmux.config.keys import parse_keys, parse_setting
from pgmux.config.model import AUTODB_NAME, Config, User
from pgmux.config.params import Param
from pgmux.config.problems import Problems, Read, clip, nearest

PGMUX_SECTIONS = ("pgmux", "databases", "users")


def overlay_pgmux(
    config: Config, path: str, read: Read, databases: Collection[str], problems: Problems
) -> Config:
    """`config` with what pgmux.ini says; `databases` are the names that it may refer to."""
    entries, files = read_ini(path, read, PGMUX_SECTIONS, problems)
    users = {*config.users, *config.userlist}
    settings: dict[str, Any] = {}
    by_database: dict[str, dict[str, Any]] = {}
    by_user: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry.key is None:
            continue
        if entry.section == "pgmux":
            found = parse_setting(entry, params.PGMUX_SETTINGS, problems)
            if found is not None:
                settings[found[0].name] = found[1]
        elif entry.section == "databases":
            table = params.PGMUX_DATABASE_KEYS
            by_database[entry.key] = _entry_keys(entry, table, databases, "database", problems)
        else:
            by_user[entry.key] = _entry_keys(entry, params.PGMUX_USER_KEYS, users, "user", problems)
    config = replace(config, pgmux=replace(config.pgmux, **settings))
    return replace(_overlay_entries(config, by_database, by_user), files=(*config.files, *files))


def _entry_keys(
    entry: Entry,
    table: Mapping[str, Param],
    known: Collection[str],
    what: str,
    problems: Problems,
) -> dict[str, Any]:
    name = entry.key or ""
    if name not in known:
        hint = nearest(name, known) or f"name a {what} that is configured already"
        problems.add(f"unknown {what}: {clip(name)}", entry.file, entry.line, hint)
    return parse_keys(entry, table, problems, f"{what} settings", f"{what} parameter") or {}


def _overlay_entries(
    config: Config, by_database: dict[str, dict[str, Any]], by_user: dict[str, dict[str, Any]]
) -> Config:
    databases = {
        name: replace(db, **by_database.get(name, {})) for name, db in config.databases.items()
    }
    users = {**config.users}
    for name, values in by_user.items():
        users[name] = replace(users.get(name, User(name)), **values)
    autodb = config.autodb and replace(config.autodb, **by_database.get(AUTODB_NAME, {}))
    return replace(config, databases=databases, autodb=autodb, users=users)
