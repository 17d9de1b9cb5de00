"""A user that comes or goes: a line of auth_file, an entry of [users], a name in admin_users.

Errors: `Refused`, and those of `deployment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgmux.auth.secrets import SecretKind
from pgmux.config.model import AuthType, Config
from pgmux.ops.entries.change import Change, Outcome, Refused, Trial
from pgmux.ops.entries.deployment import Deployment
from pgmux.ops.entries.running import Expectation, Running
from pgmux.ops.entries.server_secret import (
    SecretError,
    ServerPlace,
    learn_secret,
)
from pgmux.ops.files import read_text
from pgmux.ops.server_connection import ServerConnection
from pgmux.ops.userlist.edit import edit_userlist
from pgmux.ops.userlist.secrets import is_plain, make_secret, random_password

SECTION = "users"
_VERIFIER = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = %s AND rolcanlogin"
_OPEN = (AuthType.TRUST, AuthType.ANY)
_UNTRIED = (
    "not tried: the password isn't known here; try it by"
    " PGPASSWORD=… psql -h HOST -p PORT -U {name} {database} -c 'SELECT 1'"
)


@dataclass(frozen=True, slots=True)
class NewUser:
    """Who is to be let in. `secret` None leaves auth_file alone; `keys` are of [users]."""

    name: str
    secret: str | None = field(repr=False)
    keys: Mapping[str, str]
    is_admin: bool = False
    may_look: bool = False
    database: str | None = None  # to try the login at


@dataclass(frozen=True, slots=True)
class Secret:
    """What to store, and what to say of it."""

    text: str = field(repr=False)
    note: str = ""
    warning: str = ""


def secret_of_postgres(server: ServerConnection, name: str) -> Secret:
    """The verifier that PostgreSQL has. Raises: Refused where it has none; ServerError."""
    rows = server.rows(_VERIFIER, (name,))
    verifier = rows[0]["rolpassword"] if rows else None
    if verifier is None:
        why = "has no password there" if rows else "is no role that may log in there"
        raise Refused(f"{name} {why}")
    return Secret(verifier, note=f"stored as PostgreSQL at {server.place} has it")


def secret_of_password(
    deployment: Deployment, name: str, password: str, database: str | None
) -> Secret:
    """The best that can be stored: what PostgreSQL has, so that the pooler can log in with it.

    Raises: Refused where PostgreSQL doesn't take the password.
    """
    settings = deployment.config.settings
    if settings.auth_type in (*_OPEN, AuthType.PLAIN, AuthType.CERT):
        why = f"auth_type = {settings.auth_type}: the pooler needs the password itself"
        return plain_secret(name, password, why)
    place = server_place(deployment.config, database)
    if place is None:
        return Secret(
            make_secret(name, password, SecretKind.SCRAM),
            note="stored as a SCRAM verifier of its own",
        )
    try:
        learnt = learn_secret(place, name, password, settings)
    except SecretError as error:
        if error.is_refusal:
            raise Refused(
                f"{error}: the pooler could let {name} in and not log in there; create the role, or"
                " type the password that it has"
            ) from error
        warning = f"{error}: stored as a SCRAM verifier that may be of no use there"
        return Secret(
            make_secret(name, password, SecretKind.SCRAM),
            warning=f"{warning} (--from-postgres, --plain)",
        )
    if learnt.secret is None:
        why = f"PostgreSQL at {place} asks for it in clear"
        return plain_secret(name, password, why)
    return Secret(learnt.secret, note=f"stored as PostgreSQL at {place} has it ({learnt.method})")


def plain_secret(name: str, password: str, why: str) -> Secret:
    """The password itself. Raises: ValueError for one that would be taken for a verifier."""
    text = make_secret(name, password, SecretKind.PLAINTEXT)
    return Secret(text, warning=f"the password stands in auth_file as it is ({why})")


def add_user(deployment: Deployment, new: NewUser, *, replace: bool = False) -> Change:
    """Edits the files."""
    name = new.name
    if not name or "\n" in name or "\0" in name:
        raise Refused("a user's name is needed, of one line")
    config = deployment.config
    is_known = name in config.userlist or name in config.users
    if is_known and not replace:
        raise Refused(f"user {name} is there already (--replace changes it)")
    outcome = Outcome(f"user {name} {'changed' if is_known else 'added'}")
    if new.secret is not None:
        deployment.set_secret(name, new.secret)
    if new.keys:
        deployment.set_keys(SECTION, name, new.keys)
    for key, wanted in (("admin_users", new.is_admin), ("stats_users", new.may_look)):
        if wanted:
            deployment.add_word(key, name)
    deployment.checked()
    expected: list[Expectation] = [_is_known(name)]
    if new.is_admin:
        expected.append(_is_in("admin_users", name))
    if new.may_look:
        expected.append(_is_in("stats_users", name))
    database = new.database or _database_to_try(config) or "DATABASE"
    untried = _UNTRIED.format(name=name, database=database)
    return Change(deployment, outcome, expected, untried=untried)


def trial_of(config: Config, new: NewUser, password: str | None) -> list[Trial]:
    """The login that shows it; none where the password isn't known and one is needed."""
    database = new.database or _database_to_try(config)
    if database is None or (password is None and config.settings.auth_type not in _OPEN):
        return []
    return [Trial(database, new.name, password)]


def remove_user(
    deployment: Deployment, name: str, *, oneself: str = "", force: bool = False
) -> Change:
    """Edits the files; `oneself` is who asks the console."""
    config = deployment.config
    admins = config.settings.admin_users
    is_listed = name in admins or name in config.settings.stats_users
    if not (name in config.userlist or name in config.users or is_listed):
        raise Refused(f"there is no user {name} in {deployment.path} and auth_file")
    reasons = _reasons_against(config, name, oneself)
    if reasons and not force:
        raise Refused(f"{'; '.join(reasons)} (--force removes it anyway)")
    if name in config.userlist:
        deployment.set_secret(name, None)
    deployment.remove(SECTION, name)
    for key in ("admin_users", "stats_users"):
        deployment.remove_word(key, name)
    deployment.checked()
    outcome = Outcome(f"user {name} removed", notes=list(reasons))
    _warn_of_other_doors(config, name, outcome)
    expected: list[Expectation] = [_is_gone(name)]
    expected += [_is_out_of(key, name) for key in ("admin_users", "stats_users")]
    return Change(deployment, outcome, expected, untried="not tried: there is nothing to log in as")


def tell_of_clients(change: Change, name: str, running: Running) -> None:
    """Who is connected now, and what becomes of them."""
    count = running.count_clients("user", name)
    if count:
        change.outcome.notes.append(
            f"clients connected as it: {count}; they stay until they leave (SHOW CLIENTS names"
            " them, and KILL_CLIENT of PgBouncer 1.24 and later, and of pgmux, ends one)"
        )


def forget_keys(change: Change, name: str, running: Running) -> None:
    """PgBouncer 1.25 lets a user who is removed in for as long as it runs, if it has kept the keys
    of a login; a new secret makes it forget them, so the user gets one that nobody knows first.
    """
    deployment = change.deployment
    if name in deployment.config.userlist and not running.is_pgmux:
        unknown = make_secret(name, random_password(), SecretKind.SCRAM)
        text = edit_userlist(read_text(deployment.auth_file), deployment.auth_file, {name: unknown})
        change.interim = (deployment.auth_file, text)


def plain_passwords(config: Config) -> dict[str, str]:
    """Of users whose password stands in auth_file as it is."""
    return {user: secret for user, secret in config.userlist.items() if is_plain(secret)}


def _reasons_against(config: Config, name: str, oneself: str) -> list[str]:
    settings = config.settings
    reasons = []
    if settings.admin_users == (name,):
        reasons.append(f"{name} is the last of admin_users")
    if name == oneself:
        reasons.append(f"you are {name} at the console")
    forced = [
        each.name for each in config.databases.values() if name in (each.user, each.auth_user)
    ]
    if forced:
        reasons.append(f"the pooler logs in to PostgreSQL as {name} for {', '.join(forced)}")
    if settings.auth_user == name:
        reasons.append(f"the pooler looks users up as {name} (auth_user)")
    return reasons


def _warn_of_other_doors(config: Config, name: str, outcome: Outcome) -> None:
    databases = [*config.databases.values(), *([config.autodb] if config.autodb else [])]
    if config.settings.auth_type is AuthType.ANY:
        outcome.warnings.append("auth_type = any: whoever comes is let in all the same")
    elif any(config.auth_user(each) for each in databases):
        outcome.warnings.append(
            f"auth_query looks up whom auth_file lacks: {name} is let in while PostgreSQL has the"
            f' role (ALTER ROLE "{name}" NOLOGIN)'
        )


def _database_to_try(config: Config) -> str | None:
    """One where the client's own role logs in, if there is one."""
    databases = sorted(config.databases.values(), key=lambda each: each.user is not None)
    if databases:
        return databases[0].name
    return "postgres" if config.autodb is not None else None


def server_place(config: Config, name: str | None) -> ServerPlace | None:
    """Where the pooler would log in as the user; None where it never does."""
    database = config.find_database(name or _database_to_try(config) or "")
    if database is None or database.user is not None:
        return None
    host = database.hosts[0] if database.hosts else config.settings.unix_socket_dir or "/tmp"
    return ServerPlace(host, database.port, database.dbname)


def _is_known(name: str) -> Expectation:
    return lambda at: "" if at.find("USERS", name) is not None else f"SHOW USERS has no {name}"


def _is_gone(name: str) -> Expectation:
    """PgBouncer keeps the name of who is gone, without a password; pgmux doesn't."""

    def check(running: Running) -> str:
        if running.find("USERS", name) is None or not running.is_pgmux:
            return ""
        return f"SHOW USERS still has {name}" if not running.count_clients("user", name) else ""

    return check


def _is_in(key: str, name: str) -> Expectation:
    return lambda at: "" if name in _names(at.setting(key)) else f"{key} has no {name}"


def _is_out_of(key: str, name: str) -> Expectation:
    return lambda at: "" if name not in _names(at.setting(key)) else f"{key} still has {name}"


def _names(text: str) -> list[str]:
    return text.replace(",", " ").split()
