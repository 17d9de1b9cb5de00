"""ROLE and EXPO005: PostgreSQL's roles, who uses them, and auth_file's secrets of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.config.model import Config
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.server import Match, RoleFacts, ServerFacts
from pgmux.ops.check.gather.configuration import problems_of_access
from pgmux.ops.check.pools import entries_at, users_at
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.check.rules.limits import by_application
from pgmux.ops.printing import printable
from pgmux.ops.severity import Severity

SHOWN = 10  # names
_TOOLS = ("psql", "pg_dump", "pg_restore", "pgadmin", "dbeaver", "datagrip", "pgmux")


def names_of(found: list[str]) -> str:
    """So many of them by name, and how many more there are."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(map(printable, found[:SHOWN])) + more


@rule(
    "EXPO005",
    Severity.ERROR,
    "applications are connected as a superuser",
    needs=("servers",),
)
def superusers(evidence: Evidence) -> Iterator[Found]:
    advice = (
        "a superuser runs programs on PostgreSQL's host (COPY … PROGRAM) and has the reserved"
        " connections, so that nobody else can come in when they are gone: CREATE ROLE app LOGIN,"
        " GRANT it what the application needs"
    )
    for server in evidence.servers or ():
        lines = [*_superuser_pools(evidence, server), *_superuser_applications(server)]
        if lines:
            yield Found("\n".join(lines), advice, server.place)


def _superuser_pools(evidence: Evidence, server: ServerFacts) -> Iterator[str]:
    roles = server.roles or {}
    users = {name for name in users_at(evidence, server) if name in roles}
    found = sorted(name for name in users if roles[name].is_superuser)
    if found:
        yield f"pools of {names_of(found)}"
    if evidence.config is not None:
        for name in sorted(_asking(evidence.config, server) & roles.keys() - set(found)):
            if roles[name].is_superuser:
                yield f"auth_user {name}"


def _superuser_applications(server: ServerFacts) -> Iterator[str]:
    groups = [
        group
        for group in (server.activity.groups if server.activity else ())
        if group.is_superuser
        and not group.is_pooler
        and not group.application_name.lower().startswith(_TOOLS)
    ]
    for name, count in by_application(groups, SHOWN):
        yield f"{count:,} connection{'s' if count > 1 else ''}: {name}, past the pooler"


_SHUT_OUT = {
    "NOLOGIN": "ALTER ROLE … LOGIN, or take the line out of auth_file: pgmux user remove",
    "VALID UNTIL has passed": "ALTER ROLE … VALID UNTIL 'infinity', or take the line out of"
    " auth_file: the pooler lets such a user in, and PostgreSQL refuses the pooler",
}


@rule(
    "ROLE001",
    Severity.WARNING,
    "users of auth_file that PostgreSQL doesn't have, or doesn't let in",
    needs=("config", "servers"),
)
def missing_roles(evidence: Evidence) -> Iterator[Found]:
    for config, server, roles in _with_roles(evidence):
        clients = _clients(config, server)
        missing = sorted(clients - roles.keys() - _console_users(config))
        if missing:
            yield Found(
                f"no role: {names_of(missing)}",
                "the pooler's login as such a user fails at PostgreSQL: CREATE ROLE … LOGIN, or"
                " take the line out of auth_file: pgmux user remove",
                server.place,
            )
        for problem, advice in _SHUT_OUT.items():
            names = sorted(name for name in clients & roles.keys() if _is(problem, roles[name]))
            if names:
                yield Found(f"{problem}: {names_of(names)}", advice, server.place)


def _is(problem: str, role: RoleFacts) -> bool:
    return not role.can_login if problem == "NOLOGIN" else role.can_login and role.is_expired


def _with_roles(
    evidence: Evidence,
) -> Iterator[tuple[Config, ServerFacts, Mapping[str, RoleFacts]]]:
    """Every server whose roles could be read."""
    for server in evidence.servers or ():
        if evidence.config is not None and server.roles is not None:
            yield evidence.config, server, server.roles


def _clients(config: Config, server: ServerFacts) -> frozenset[str]:
    """Whose own name and secret of auth_file go to that server."""
    forced = all(entry.user for entry in entries_at(config, server))
    return frozenset() if forced else frozenset(config.userlist)


def _console_users(config: Config) -> frozenset[str]:
    return frozenset((*config.settings.admin_users, *config.settings.stats_users))


def _pooler_users(config: Config, server: ServerFacts) -> frozenset[str]:
    """As whom the pooler logs in by itself, with a secret of auth_file."""
    entries = entries_at(config, server)
    forced = {entry.user for entry in entries if entry.user and entry.password is None}
    return frozenset(config.userlist.keys() & (forced | _asking(config, server)))


def _asking(config: Config, server: ServerFacts) -> set[str]:
    """The auth_users of the entries that lead there."""
    found = {config.auth_user(entry) for entry in entries_at(config, server)}
    return {name for name in found if name}


@rule(
    "ROLE002",
    Severity.ERROR,
    "a secret of auth_file that isn't the role's",
    needs=("config", "servers"),
)
def other_secrets(evidence: Evidence) -> Iterator[Found]:
    for config, server, roles in _with_roles(evidence):
        used = _clients(config, server) | _pooler_users(config, server)
        names = sorted(n for n in used & roles.keys() if roles[n].match is Match.OTHER)
        if names:
            yield Found(
                f"differs: {names_of(names)}",
                "who logs in to the pooler with auth_file's secret is refused by PostgreSQL: take"
                " PostgreSQL's verifiers over (pgmux userlist), then RELOAD",
                server.place,
            )


@rule(
    "ROLE003",
    Severity.ERROR,
    "a secret of auth_file with which the pooler can't log in to PostgreSQL",
    needs=("config", "servers"),
)
def unusable_secrets(evidence: Evidence) -> Iterator[Found]:
    for config, server, roles in _with_roles(evidence):
        used = (_clients(config, server) | _pooler_users(config, server)) & roles.keys()
        names = sorted(name for name in used if roles[name].match is Match.UNUSABLE)
        if names:
            yield Found(
                f"MD5 here and SCRAM there, or the other way round: {names_of(names)}",
                "neither can be made of the other: take PostgreSQL's verifiers over (pgmux"
                " userlist); with them auth_type is scram-sha-256",
                server.place,
            )
        verifiers = sorted(n for n in _pooler_users(config, server) if _is_verifier(config, n))
        if verifiers:
            yield Found(
                f"auth_user or user= with a SCRAM verifier: {names_of(verifiers)}",
                "with a verifier one can check a password, not log in: the pooler logs in as this"
                " user by itself, so auth_file (mode 0600) has to have the password in plain text,"
                " or PostgreSQL's pg_hba.conf lets it in by certificate or peer",
                server.place,
            )


def _is_verifier(config: Config, name: str) -> bool:
    return parse_secret(config.userlist[name]).kind is SecretKind.SCRAM


@rule(
    "ROLE004",
    Severity.NOTE,
    "passwords that PostgreSQL stores as MD5",
    needs=("servers",),
)
def md5_secrets(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        roles = (server.roles or {}).values()
        names = sorted(role.name for role in roles if role.kind is SecretKind.MD5)
        method = server.settings.get("password_encryption")
        is_md5 = method is not None and method.value in ("md5", "on")
        if names or is_md5:
            by = "password_encryption = md5" if is_md5 else ""
            yield Found(
                "; ".join(text for text in (names_of(names), by) if text),
                "a stolen MD5 secret is as good as the password, and PostgreSQL gives it up:"
                " password_encryption = scram-sha-256, set the passwords anew, pgmux userlist",
                server.place,
            )


@rule(
    "ROLE006",
    Severity.ERROR,
    "a file that says who may log in is broken, or isn't there",
    needs=("config",),
)
def broken_files(evidence: Evidence) -> Iterator[Found]:
    assert evidence.config is not None
    for problem in problems_of_access(evidence.config):
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        keeps_out = problem.is_grave or problem in evidence.config.access_problems
        yield Found(
            problem.message,
            f"{problem.hint or 'mend it'}; then RELOAD",
            place,
            None if keeps_out else Severity.WARNING,
        )


RULES = (
    superusers,
    missing_roles,
    other_secrets,
    unusable_secrets,
    md5_secrets,
    broken_files,
)
