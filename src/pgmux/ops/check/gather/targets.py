"""Which PostgreSQL servers [databases] names, and as whom each can be asked. Nothing is connected.

Every host of an entry is a server of its own. Who may log in is who the pooler logs in as: the
entry's `user=`, and its auth_user; with the password that the entry or auth_file has in plain text,
else with what libpq finds (PGPASSWORD, ~/.pgpass).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from pgmux.config.model import AUTODB_NAME, Config, Database
from pgmux.ops.capacity import Place
from pgmux.ops.userlist.secrets import is_plain

_SOME_DATABASE = "postgres"
_LOOPBACK = frozenset(("", "localhost", "127.0.0.1", "::1"))


@dataclass(frozen=True, slots=True)
class Target:
    """One server; `logins` are libpq's parameters, to be tried in turn."""

    place: Place
    logins: tuple[dict[str, str], ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return name_of(self.place)


def name_of(place: Place) -> str:
    """host:port, for people."""
    return f"{place[0] or 'local socket'}:{place[1]}"


def entries_of(config: Config) -> list[Database]:
    """All of [databases], `*` last."""
    return [*config.databases.values(), *([config.autodb] if config.autodb else [])]


def places_of(database: Database) -> list[Place]:
    """Where an entry leads to."""
    return [(host, database.port) for host in database.hosts] or [
        (database.host or "", database.port)
    ]


def find_targets(config: Config) -> list[Target]:
    """Every server that an entry names, in the order of [databases]."""
    by_place: dict[Place, list[Database]] = {}
    for entry in entries_of(config):
        for place in places_of(entry):
            by_place.setdefault(place, []).append(entry)
    return [Target(place, _logins(config, place, found)) for place, found in by_place.items()]


def find_same(place: Place, reached: Place, places: Iterable[Place]) -> frozenset[Place]:
    """Which of `places` are the server that was named as `place` and reached at `reached`.

    Loopback and Unix socket are one machine; where all entries lead to one place, it is that one:
    a container's name for it is another than ours.
    """
    all_of_them = frozenset(places)
    found = {each for each in all_of_them if each in (place, reached) or _is_same(each, reached)}
    return frozenset(found) or (all_of_them if len(all_of_them) == 1 else frozenset())


def is_pooler(place: Place, config: Config) -> bool:
    """Whether that is where the pooler listens, and no PostgreSQL of [databases]."""
    is_ours = place[1] == config.settings.listen_port and _is_local(place[0])
    return is_ours and not any(place[1] == entry.port for entry in entries_of(config))


def _is_same(one: Place, other: Place) -> bool:
    return one[1] == other[1] and _is_local(one[0]) and _is_local(other[0])


def _is_local(host: str) -> bool:
    return host in _LOOPBACK or host.startswith(("/", "@"))


def _logins(
    config: Config, place: Place, entries: Iterable[Database]
) -> tuple[dict[str, str], ...]:
    """Once for each user."""
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        for user, password in _users(config, entry):
            login = _parameters(config, place, entry)
            login |= {"user": user} if user else {}
            login |= {"password": password} if password else {}
            if user not in found or ("password" in login and "password" not in found[user]):
                found[user] = login
    if not found and _is_socket(place):  # as peer authentication lets one in
        found[""] = _parameters(config, place, next(iter(entries)))
    return tuple(sorted(found.values(), key=lambda login: "password" not in login))


def _users(config: Config, entry: Database) -> Iterable[tuple[str, str | None]]:
    if auth_user := config.auth_user(entry):
        yield auth_user, plain_password(config.userlist.get(auth_user))
    if entry.user:
        known = config.userlist.get(entry.user) if entry.password is None else entry.password
        yield entry.user, plain_password(known)


def plain_password(secret: str | None) -> str | None:
    """A password that one can log in with; a verifier isn't one."""
    return secret if secret and is_plain(secret) else None


def _parameters(config: Config, place: Place, entry: Database) -> dict[str, str]:
    settings = config.settings
    dbname = _SOME_DATABASE if entry.dbname == AUTODB_NAME else entry.dbname
    found = {"port": str(place[1]), "dbname": dbname}
    if place[0]:
        found["host"] = place[0]
    if not _is_socket(place):
        files = {
            "sslmode": str(settings.server_tls_sslmode),
            "sslrootcert": settings.server_tls_ca_file,
            "sslcert": settings.server_tls_cert_file,
            "sslkey": settings.server_tls_key_file,
        }
        found |= {name: value for name, value in files.items() if value}
    return found


def _is_socket(place: Place) -> bool:
    return not place[0] or place[0].startswith(("/", "@"))


def has_libpq_variables() -> bool:
    """Whether the environment says where PostgreSQL is."""
    return any(os.environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"))
