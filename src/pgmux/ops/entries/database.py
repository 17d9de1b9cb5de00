"""An entry of [databases] that comes or goes.

Errors: `Refused`, and those of `deployment`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgmux.config.model import ADMIN_DATABASE, AUTODB_NAME, AuthType, Config, Database
from pgmux.ops.entries.change import Change, Outcome, Refused, Trial
from pgmux.ops.entries.deployment import Deployment
from pgmux.ops.entries.running import Expectation, Running

SECTION = "databases"
MAX_NAME = 63  # bytes: PgBouncer's MAX_DBNAME is 64
MAX_TRIALS = 3
_UNTRIED = (
    "not tried: nobody's password is known here; try it by"
    " PGPASSWORD=… psql -h HOST -p PORT -U USER {name} -c 'SELECT 1',"
    " or name a user by --as (its password from PGPASSWORD or the terminal)"
)
_SHOWN = {"host": "host", "port": "port", "dbname": "database", "user": "force_user"}
_SHOWN |= {key: key for key in ("pool_size", "min_pool_size", "pool_mode")}


def add_database(
    deployment: Deployment, name: str, keys: Mapping[str, str], *, replace: bool = False
) -> Change:
    """Edits the files. Where no host is named, it is that of the other databases."""
    if name == ADMIN_DATABASE or not name or len(name.encode()) > MAX_NAME:
        raise Refused(f"a database can't be called {name!r}: 1 to {MAX_NAME} bytes, not pgbouncer")
    outcome = Outcome(f"database {name} added")
    if place := deployment.place(SECTION, name):
        if not replace:
            raise Refused(f"database {name} is there already, at {place} (--replace changes it)")
        outcome.what = f"database {name} changed"
    elif "host" not in keys:
        shared = _shared_place(deployment.config)
        outcome.notes.append(f"host and port as of the other databases: {shared['host']}")
        keys = {**shared, **keys}
    deployment.set_keys(SECTION, name, keys)
    config = deployment.checked()
    database = config.databases[name] if name != AUTODB_NAME else None
    if database is not None and database.user and not _has_password(config, database):
        outcome.warnings.append(
            f"the pooler logs in as {database.user}, whose password is neither in auth_file nor in"
            f" the entry: pgmux user add {database.user} --plain"
        )
    expected: list[Expectation] = [_is_shown(name, keys)] if database is not None else []
    return Change(deployment, outcome, expected, untried=_UNTRIED.format(name=name))


def remove_database(deployment: Deployment, name: str, *, force: bool = False) -> Change:
    """Edits the files."""
    if not deployment.place(SECTION, name):
        raise Refused(f"there is no database {name} in {deployment.path}")
    config = deployment.config
    users = [
        f"auth_dbname of {each.name}"
        for each in config.databases.values()
        if each.auth_dbname == name and each.name != name
    ]
    if config.settings.auth_dbname == name:
        users.append("the setting auth_dbname")
    if users and not force:
        raise Refused(f"database {name} is needed: {', '.join(users)} (--force removes it anyway)")
    deployment.remove(SECTION, name)
    config = deployment.checked()
    outcome = Outcome(f"database {name} removed")
    expected: list[Expectation] = []
    if config.autodb is None:
        expected.append(
            lambda at: "" if at.find("DATABASES", name) is None else "it is still there"
        )
    elif name != AUTODB_NAME:
        outcome.warnings.append(f"the entry * is there: clients reach a database {name} by it")
    untried = "not tried: there is nothing to log in to"
    return Change(deployment, outcome, expected, untried=untried)


def tell_of_clients(change: Change, name: str, running: Running) -> None:
    """Who is connected now, and what becomes of them."""
    if name == AUTODB_NAME and not running.is_pgmux:
        change.outcome.warnings.append(f"{running.name} keeps the entry * until it is restarted")
    count = running.count_clients("database", name)
    if count:
        change.outcome.notes.append(
            f"clients connected to it: {count}; the pooler ends them (`database removed`)"
        )


def trials_of(config: Config, name: str, candidates: Mapping[str, str]) -> list[Trial]:
    """Logins that may be tried: of users whose password is known, or who need none."""
    dbname = "postgres" if name == AUTODB_NAME else name
    known = [Trial(dbname, user, password) for user, password in candidates.items()]
    if not known and config.settings.auth_type in (AuthType.TRUST, AuthType.ANY):
        known = [Trial(dbname, user) for user in config.userlist]
    return known[:MAX_TRIALS]


def _has_password(config: Config, database: Database) -> bool:
    return bool(database.password) or (database.user or "") in config.userlist


def _shared_place(config: Config) -> dict[str, str]:
    """Raises: Refused where the databases are at several places, or at none."""
    databases = [*config.databases.values(), *([config.autodb] if config.autodb else [])]
    places = {(each.host, each.port) for each in databases}
    if len(places) != 1:
        known = "there is no other database" if not places else "the others are at several places"
        raise Refused(f"where is it? name its --host: {known}")
    host, port = places.pop()
    return {**({"host": host} if host else {}), "port": str(port)}


def _is_shown(name: str, keys: Mapping[str, str]) -> Expectation:
    """SHOW DATABASES has it, with what is said of it here."""

    def check(running: Running) -> str:
        row = running.find("DATABASES", name)
        if row is None:
            return f"SHOW DATABASES has no {name}"
        for key, column in _SHOWN.items():
            shown = row.get(column)
            if key in keys and column in row and str(shown) != keys[key]:
                return f"{key} of {name} is {shown}"
        return ""

    return check
