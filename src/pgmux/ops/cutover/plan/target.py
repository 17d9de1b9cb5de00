"""Where applications are to connect instead: what the configuration says of the pooler."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgmux.config.model import AUTODB_NAME, AuthType, Config, Database
from pgmux.ops.capacity import Place, capacities
from pgmux.ops.check.gather.targets import entries_of, find_same, places_of
from pgmux.ops.cutover.names import App

_ANY_ADDRESS = frozenset(("*", "0.0.0.0", "::"))
_BY_USERLIST = frozenset((AuthType.MD5, AuthType.SCRAM_SHA_256, AuthType.PLAIN, AuthType.TRUST))


@dataclass(frozen=True, slots=True)
class Change:
    """What an application is told instead; `first`: what the pooler lacks before."""

    before: str
    after: str
    database: str
    first: tuple[str, ...]


class Target:
    """A configuration as seen from one PostgreSQL; without one, only the console's place."""

    def __init__(self, config: Config | None, server: str, console: str | None) -> None:
        """`server` and `console` are host:port."""
        self._config = config
        self._server = server
        self._console = console
        self._places = frozenset[Place]() if config is None else _same_places(config, server)

    @property
    def address(self) -> str:
        """The pooler's host:port, as far as it is known."""
        if self._config is None:
            return self._console or "HOST:PORT of the pooler"
        settings = self._config.settings
        known = next((each for each in settings.listen_addr if each not in _ANY_ADDRESS), "")
        host = known or (self._console or "").rpartition(":")[0]
        if not host or host.startswith("/"):
            host = "HOST of the pooler"
        return f"{host}:{settings.listen_port}"

    def change(self, app: App) -> Change:
        """For one application."""
        if self._config is None:
            return Change(self._server, self.address, app.database, ())
        entry = self._entry(app.database)
        if entry is None:
            host, _, port = self._server.rpartition(":")
            missing = f"[databases] lacks: {app.database} = host={host} port={port}"
            return Change(self._server, self.address, app.database, (missing,))
        return Change(self._server, self.address, entry.name, tuple(self._lacking(app, entry)))

    def _entry(self, database: str) -> Database | None:
        """The entry that leads to this database, best the one that is called so."""
        assert self._config is not None
        found = [
            each
            for each in self._config.databases.values()
            if each.dbname == database and self._places & set(places_of(each))
        ]
        if found:
            return min(found, key=lambda each: each.name != database)
        auto = self._config.autodb
        if auto is None or auto.dbname not in (AUTODB_NAME, database):
            return None
        taken = database in self._config.databases  # an entry of that name leads elsewhere
        return None if taken else self._config.find_database(database)

    def _lacking(self, app: App, entry: Database) -> Iterable[str]:
        config = self._config
        assert config is not None
        is_by_userlist = config.settings.auth_type in _BY_USERLIST
        if is_by_userlist and app.user not in config.userlist and not config.auth_user(entry):
            yield f"auth_file lacks user {app.user}, and there is no auth_user: pgmux userlist"
        if entry.user and entry.user != app.user:
            yield f"[databases] {entry.name} logs in as {entry.user} for everybody"

    def most_servers(self, apps: Iterable[App]) -> float | None:
        """How many connections the pooler can open here for these applications; may be infinite.

        None where no configuration says it.
        """
        if self._config is None or not self._places:
            return None
        moved = list(apps)

        def users_of(database: Database) -> set[str]:
            names = {database.dbname} if database.dbname != AUTODB_NAME else None
            return {app.user for app in moved if names is None or app.database in names}

        hosts = {
            (each.host or "", each.port)
            for each in entries_of(self._config)
            if self._places & set(places_of(each))
        }
        found = [each.most for each in capacities(self._config, users_of) if each.place in hosts]
        return sum(found) if found else None


def _same_places(config: Config, server: str) -> frozenset[Place]:
    host, _, port = server.rpartition(":")
    place = (host, int(port) if port.isdigit() else 5432)
    everywhere = {place for entry in entries_of(config) for place in places_of(entry)}
    return find_same(place, place, everywhere)
