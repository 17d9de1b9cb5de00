"""From what is asked and what PostgreSQL says to the files, tried before they are written.

Errors: `InitError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.config import load_config
from pgmux.config.model import Config
from pgmux.errors import ConfigError, PgmuxError
from pgmux.ops.capacity import capacities
from pgmux.ops.files import PUBLIC, SECRET, NewFile
from pgmux.ops.init import texts
from pgmux.ops.init.facts import Facts
from pgmux.ops.init.sizes import size
from pgmux.ops.init.unit import service_unit
from pgmux.ops.init.values import Asked, Values
from pgmux.ops.userlist.secrets import make_secret, random_password

MOST_USERS = 50
_CONSOLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")  # it stands in lists by commas, and in a pgpass


class InitError(PgmuxError):
    """What is asked can't be made into files; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`most_servers`: what the pooler can open at most, by all pools; `users`: who gets in."""

    files: tuple[NewFile, ...]
    users: tuple[str, ...]
    most_servers: int
    values: Values
    warnings: tuple[str, ...]


def make_plan(asked: Asked, facts: Facts, files_limit: int) -> Plan:
    """Everything but the writing. Raises: InitError."""
    names_of_console = (asked.admin, asked.stats)
    if wrong := [name for name in names_of_console if not _CONSOLE_NAME.fullmatch(name)]:
        raise InitError(f"a user of the console can't be called {wrong[0]!r}: a-z, 0-9, _ and - do")
    users = {
        name: facts.verifiers[name] for name in let_in(asked, facts) if name in facts.verifiers
    }
    values = _values(asked, facts, users, files_limit)
    warnings = [
        *facts.remarks,
        *_left_out(asked, facts),
        *values.sizes.warnings,
        *_warnings(values, users),
    ]
    passwords = {name: random_password() for name in names_of_console}
    own = {
        name: make_secret(name, password, SecretKind.SCRAM) for name, password in passwords.items()
    }
    if clash := sorted(own.keys() & facts.verifiers.keys()):
        raise InitError(f"{', '.join(clash)} is a role of PostgreSQL: name another by --admin")
    contents = _contents(values, {**own, **users}, passwords)
    config = _tried(asked, contents)
    names = tuple(users) or tuple(f"user {n}" for n in range(1, values.users + 1))
    most = sum(place.most for place in capacities(config, lambda _: names))
    return Plan(_new_files(asked, contents), tuple(users), int(most), values, tuple(warnings))


def let_in(asked: Asked, facts: Facts) -> tuple[str, ...]:
    """Who is to be let in: who is asked for, else PostgreSQL's login roles, the first of many."""
    return asked.users if asked.users is not None else tuple(facts.verifiers)[:MOST_USERS]


def _left_out(asked: Asked, facts: Facts) -> list[str]:
    """Of what PostgreSQL has, where nothing is named."""
    left = []
    if facts.odd_databases and not asked.databases:
        left.append(f"left out, as no line can say their names: {_quoted(facts.odd_databases)}")
    if asked.users is not None:
        return left
    if facts.odd_users:
        left.append(f"left out, as a userlist can't hold their lines: {_quoted(facts.odd_users)}")
    if (count := len(facts.verifiers)) > MOST_USERS:
        left.append(
            f"{count} roles may log in: only the first {MOST_USERS} by name are let in. Name those"
            " who are to come by --user, or have PostgreSQL asked for them (pgmux auth-setup)"
        )
    return left


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _values(asked: Asked, facts: Facts, users: dict[str, str], files_limit: int) -> Values:
    databases = asked.databases or facts.databases
    count = max(len(asked.users or users), 1)
    sizes = size(
        facts.max_connections, facts.reserved, facts.direct, len(databases), count, files_limit
    )
    sslmode, why = _sslmode(asked, facts)
    return Values(asked, facts, sizes, databases, count, files_limit, sslmode, why)


def _sslmode(asked: Asked, facts: Facts) -> tuple[str, str]:
    """server_tls_sslmode, and why."""
    if asked.sslmode in ("verify-ca", "verify-full"):
        return asked.sslmode, "As --postgres has it."
    if facts.has_tls:
        return (
            "require",
            "PostgreSQL has TLS; verify-full and server_tls_ca_file keep impostors out as well.",
        )
    if facts.is_local and facts.has_tls is False:
        return "disable", "PostgreSQL is on this machine, and has no TLS."
    return (
        "prefer",
        "TLS where PostgreSQL has it: it had none, or wasn't reached, when this was made.",
    )


def _warnings(values: Values, users: dict[str, str]) -> list[str]:
    facts, asked = values.facts, values.asked
    warnings = []
    missing = sorted(set(asked.users or ()) - set(users))
    if missing:
        warnings.append(
            f"not let in, as their verifiers weren't to be had: {', '.join(missing)};"
            f" later: pgmux user add NAME --config {asked.directory}/pgbouncer.ini"
        )
    elif not users:
        warnings.append(
            "nobody but the console's users gets in yet: pgmux user add NAME"
            f" --config {asked.directory}/pgbouncer.ini"
        )
    old = sorted(n for n, s in users.items() if parse_secret(s).kind is SecretKind.MD5)
    if old:
        warnings.append(
            f"these have MD5 secrets, with which scram-sha-256 lets nobody in: {', '.join(old)};"
            " set their passwords anew in PostgreSQL (password_encryption = scram-sha-256)"
        )
    if values.is_open:
        warnings.append(
            f"listen_addr = {asked.listen}: clients come without TLS until client_tls_sslmode ="
            " require, client_tls_cert_file and client_tls_key_file are set"
        )
    if facts.is_known and not facts.has_tls and not facts.is_local:
        warnings.append("PostgreSQL has no TLS: what the pooler asks it crosses the net in clear")
    unknown = sorted(set(asked.databases) - set(facts.databases) - {"postgres"})
    if facts.is_known and unknown:
        warnings.append(f"PostgreSQL has no database {', '.join(unknown)} (yet)")
    return warnings


def _contents(
    values: Values, userlist: dict[str, str], passwords: dict[str, str]
) -> dict[str, tuple[str, int]]:
    """Texts and modes by name. Raises: InitError."""
    try:
        return {
            "pgbouncer.ini": (texts.pgbouncer_ini(values), PUBLIC),
            "pgmux.ini": (texts.pgmux_ini(values), PUBLIC),
            "userlist.txt": (texts.userlist(userlist), SECRET),
            "userlist.txt.example": (texts.USERLIST_EXAMPLE, PUBLIC),
            "admin.pgpass": (texts.pgpass(values, passwords), SECRET),
            ".gitignore": (texts.GITIGNORE, PUBLIC),
            "compose.yaml": (texts.compose_yaml(values), PUBLIC),
            "pgmux.service": (service_unit(values), PUBLIC),
        }
    except ValueError as error:
        raise InitError(str(error)) from error


def _tried(asked: Asked, contents: dict[str, tuple[str, int]]) -> Config:
    """What the pooler would make of them. Raises: InitError."""
    by_path = {_path(asked, name): text for name, (text, _) in contents.items()}
    ini, own = _path(asked, "pgbouncer.ini"), _path(asked, "pgmux.ini")
    try:
        config = load_config(ini, by_path.__getitem__, own)
    except ConfigError as error:
        raise InitError(f"these files would be refused: {error}") from error
    if config.access_problems:
        raise InitError(f"userlist.txt would be refused: {config.access_problems[0]}")
    return config


def _new_files(asked: Asked, contents: dict[str, tuple[str, int]]) -> tuple[NewFile, ...]:
    """auth_file is the pooler's, the rest whoever's made it."""
    owners = {"userlist.txt": asked.owner}
    return tuple(
        NewFile(_path(asked, name), text, mode, owner=owners.get(name))
        for name, (text, mode) in contents.items()
    )


def _path(asked: Asked, name: str) -> str:
    return f"{asked.directory}/{name}"
