"""pgbouncer.ini, pgmux.ini and the files that they name -> `Config`, or every problem that they
have, at once.

Source: PgBouncer's src/main.c load_config and src/loader.c. As there, what is wrong with the files
that say who may log in (`access`) doesn't keep the pooler from starting: it is among the warnings.
Errors: ConfigError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pgmux.config import params
from pgmux.config.access import with_access
from pgmux.config.advice import warn_of_nonsense
from pgmux.config.ini import Entry, read_ini
from pgmux.config.keys import parse_keys, parse_setting
from pgmux.config.model import (
    ADMIN_DATABASE,
    AUTODB_NAME,
    MAX_PEER_ID,
    Config,
    Database,
    Peer,
    Settings,
    User,
)
from pgmux.config.params import Param
from pgmux.config.pgmux_ini import overlay_pgmux
from pgmux.config.problems import Problems, Read, clip
from pgmux.config.values import shown_text

SECTIONS = ("pgbouncer", "databases", "users", "peers")


def load_config(path: str, read: Read, pgmux_path: str | None = None) -> Config:
    """The configuration of these files; nothing of it where anything is wrong.

    `read` returns a file's text as it is (`open(path, newline="", errors="surrogateescape")`) and
    may raise OSError.
    Raises: ConfigError with every problem.
    """
    problems = Problems()
    entries, files = read_ini(path, read, SECTIONS, problems)
    builder = _Builder(problems)
    for entry in entries:
        builder.add(entry)
    if files and not builder.has_main_section:
        problems.add("main section missing from config file", path, hint="write [pgbouncer]")
    config = builder.build(path, files)
    config = with_access(config, read)
    if pgmux_path is not None:
        names = {entry.key for entry in entries if entry.section == "databases" and entry.key}
        config = overlay_pgmux(config, pgmux_path, read, names, problems)
    problems.raise_any()
    return replace(config, warnings=(*problems.warnings, *config.warnings))


class _Builder:
    """Takes entries in the order of the file; a later one of the same name replaces the earlier."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.has_main_section = False
        self.settings: dict[str, tuple[Param, Any, Entry]] = {}
        self.databases: dict[str, Database] = {}
        self.users: dict[str, User] = {}
        self.peers: dict[int, Peer] = {}
        self.peer_entries: dict[int, Entry] = {}

    def add(self, entry: Entry) -> None:
        if entry.key is None:
            if entry.section == "pgbouncer":
                self._start_main_section()
        elif entry.section == "pgbouncer":
            self._add_setting(entry)
        elif entry.section == "databases":
            self._add_database(entry, entry.key)
        elif entry.section == "users":
            self._add_user(entry, entry.key)
        else:
            self._add_peer(entry, entry.key)

    def build(self, path: str, files: list[str]) -> Config:
        databases = dict(self.databases)
        autodb = databases.pop(AUTODB_NAME, None)
        settings = self._build_settings(path)
        self._warn_of_peers(settings)
        return Config(
            settings=settings,
            databases=databases,
            autodb=autodb,
            users=self.users,
            peers=self.peers,
            files=tuple(files),
        )

    def _build_settings(self, path: str) -> Settings:
        values: dict[str, Any] = {"conffile": path}
        texts = {}
        places = {}
        for name, (param, value, entry) in self.settings.items():
            warn_of_nonsense(name, value, entry, self.problems)
            values[name] = value
            texts[name] = shown_text(param, value, entry.value)
            places[name] = (entry.file, entry.line)
        return Settings(**values, texts=texts, places=places)

    def _start_main_section(self) -> None:
        """Where the section begins, its settings are the defaults: also when it begins again."""
        self.has_main_section = True
        for name, (param, _, _) in list(self.settings.items()):
            if param.default is not None:
                del self.settings[name]

    def _add_setting(self, entry: Entry) -> None:
        found = parse_setting(entry, params.SETTINGS, self.problems)
        if found is not None:
            param, value = found
            self.settings[param.name] = (param, value, entry)

    def _add_database(self, entry: Entry, name: str) -> None:
        if name == ADMIN_DATABASE:
            self._problem(entry, f'database name "{name}" is reserved', "choose another name")
            return
        values = self._keys(
            entry, params.DATABASE_KEYS, "connection string", "connection parameter"
        )
        if values is None:
            return
        hosts = tuple(host for host in values.get("host", "").split(",") if host)
        if "host" in values and not hosts:
            self._problem(entry, f"invalid host: {clip(values['host'])}", "a name is expected")
            return
        self.databases[name] = Database(**{"name": name, "dbname": name, "hosts": hosts, **values})

    def _add_user(self, entry: Entry, name: str) -> None:
        values = self._keys(entry, params.USER_KEYS, "user settings", "user parameter")
        if values is not None:
            self.users[name] = User(name, **values)

    def _add_peer(self, entry: Entry, name: str) -> None:
        number = int(name) if re.fullmatch("[0-9]{1,9}", name) else 0
        if not 0 < number <= MAX_PEER_ID:
            message = "ids of peers must be a number larger than 0 and at most 65536"
            self._problem(entry, message, f"write {MAX_PEER_ID} at most")
            return
        values = self._keys(entry, params.PEER_KEYS, "connection string", "connection parameter")
        if values is None:
            return
        if not values.get("host", "").strip(","):
            self._problem(entry, f"host was not provided for peer {number}", "write host=...")
            return
        self.peers[number] = Peer(number, **values)
        self.peer_entries[number] = entry

    def _warn_of_peers(self, settings: Settings) -> None:
        """Say which entries of [peers] pass nothing on."""
        own = (settings.unix_socket_dir, settings.listen_port)
        for number, entry in self.peer_entries.items():
            peer, message = self.peers[number], ""
            if settings.peer_id == 0:
                message, hint = "without peer_id nothing is passed on to peers", "set peer_id"
            elif number != settings.peer_id and (peer.host, peer.port) == own:
                message = f"peer {number} is this process's own Unix socket"
                hint = "write its unix_socket_dir, and peer_id as in its configuration"
            if message:
                self.problems.warn(message, entry.file, entry.line, hint)
                return

    def _keys(
        self, entry: Entry, table: Mapping[str, Param], what: str, unknown: str
    ) -> dict[str, Any] | None:
        return parse_keys(entry, table, self.problems, what, unknown)

    def _problem(self, entry: Entry, message: str, hint: str) -> None:
        self.problems.add(message, entry.file, entry.line, hint)
