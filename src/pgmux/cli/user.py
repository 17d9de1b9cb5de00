"""`pgmux user add|remove`: who may log in, taken over by the running pooler.

The password is typed, or read from a file; never an argument.
"""

from __future__ import annotations

from typing import Any

import click

from pgmux.cli.change import Options, change_options, fail, given, key_options, perform, split
from pgmux.cli.passwords import PasswordError, read_password_file, type_password
from pgmux.cli.where import open_server
from pgmux.config.params import USER_KEYS
from pgmux.errors import PgmuxError
from pgmux.ops.entries.change import Change
from pgmux.ops.entries.deployment import Deployment
from pgmux.ops.entries.running import Running
from pgmux.ops.entries.user import (
    NewUser,
    Secret,
    add_user,
    forget_keys,
    plain_secret,
    remove_user,
    secret_of_password,
    secret_of_postgres,
    server_place,
    tell_of_clients,
    trial_of,
)
from pgmux.ops.server_connection import INSUFFICIENT_PRIVILEGE, ServerError

_ELSE = "use --password-file FILE (- is stdin), or --from-postgres"


@click.group("user")
def command() -> None:
    """Add users to a running pooler, pgmux or PgBouncer, or remove them.

    auth_file and pgbouncer.ini are edited in place, the pooler reloads them, and a login is tried;
    where that fails, everything is as before. Roles of PostgreSQL are neither made nor dropped.
    """


@command.command("add")
@click.argument("name")
@click.option("--from-postgres", is_flag=True, help="Take the verifier that PostgreSQL has.")
@click.option(
    "--plain",
    is_flag=True,
    help="Store the password as it is: the pooler needs it to"
    " log in by itself, as a forced user or auth_user.",
)
@click.option("--password-file", metavar="FILE", help="Read the password there; - is stdin.")
@click.option(
    "--postgres",
    metavar="CONNINFO",
    envvar="PGMUX_POSTGRES",
    help="With --from-postgres: where; else where the first database is.",
)
@key_options(USER_KEYS)
@click.option("--admin", is_flag=True, help="Add the user to admin_users.")
@click.option("--stats", is_flag=True, help="Add the user to stats_users.")
@click.option("--replace", is_flag=True, help="Change the user, if it is there already.")
@click.option("--database", metavar="NAME", help="Where to try the login; else the first one.")
@change_options
def add(
    name: str,
    from_postgres: bool,
    plain: bool,
    password_file: str | None,
    postgres: str | None,
    admin: bool,
    stats: bool,
    replace: bool,
    database: str | None,
    **rest: Any,
) -> None:
    """Let user NAME in.

    \b
    pgmux user add shop --pool-size 30
    pgmux user add shop --from-postgres --postgres 'host=db.internal user=postgres'
    """
    options, keys = split(rest)
    if from_postgres and plain:
        raise click.UsageError("--from-postgres and --plain exclude each other")
    password = _password(name, password_file, options, is_needed=not from_postgres)

    def make(deployment: Deployment, running: Running | None) -> Change:
        if from_postgres:
            secret = _secret_of_postgres(deployment, name, postgres, database, options)
        elif plain:
            secret = plain_secret(name, password or "", "as asked")
        else:
            secret = secret_of_password(deployment, name, password or "", database)
        new = NewUser(name, secret.text, given(keys), admin, stats, database)
        change = add_user(deployment, new, replace=replace)
        change.trials = trial_of(deployment.config, new, password)
        change.outcome.notes += [secret.note] if secret.note else []
        change.outcome.warnings += [secret.warning] if secret.warning else []
        return change

    perform(options, make)


@command.command("remove")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also the last admin, oneself, or whom it needs.")
@change_options
def remove(name: str, force: bool, **rest: Any) -> None:
    """Let user NAME in no more; PostgreSQL keeps the role, and who is connected stays so."""
    options, _ = split(rest)

    def make(deployment: Deployment, running: Running | None) -> Change:
        oneself = running.parameters.get("user", "") if running is not None else ""
        change = remove_user(deployment, name, oneself=oneself, force=force)
        if running is not None:
            tell_of_clients(change, name, running)
            forget_keys(change, name, running)
        return change

    perform(options, make)


def _password(name: str, file: str | None, options: Options, *, is_needed: bool) -> str | None:
    """From the file, or typed twice; else the process ends."""
    try:
        if file is not None:
            return read_password_file(file)
        may_ask = not options.no_password
        return type_password(name, _ELSE, may_ask=may_ask) if is_needed else None
    except PasswordError as error:
        fail(options, str(error))


def _secret_of_postgres(
    deployment: Deployment,
    name: str,
    postgres: str | None,
    database: str | None,
    options: Options,
) -> Secret:
    """Raises: Refused; ServerError."""
    place = server_place(deployment.config, database)
    defaults = (
        {"host": place.host, "port": str(place.port), "dbname": place.dbname} if place else {}
    )
    try:
        with open_server(postgres, may_ask=not options.no_password, **defaults) as server:
            return secret_of_postgres(server, name)
    except ServerError as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            hint = "only a superuser may read verifiers; without --from-postgres, the password does"
            raise PgmuxError(f"{error} ({hint})") from error
        raise
