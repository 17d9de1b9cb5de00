"""`pgmux database add|remove`: an entry of [databases], taken over by the running pooler."""

from __future__ import annotations

import os
from typing import Any

import click

from pgmux.cli.change import Options, change_options, given, key_options, perform, split
from pgmux.cli.place import type_secret
from pgmux.config.params import DATABASE_KEYS
from pgmux.ops.entries.change import Change
from pgmux.ops.entries.database import (
    add_database,
    remove_database,
    tell_of_clients,
    trials_of,
)
from pgmux.ops.entries.deployment import Deployment
from pgmux.ops.entries.running import Running
from pgmux.ops.entries.user import plain_passwords


@click.group("database")
def command() -> None:
    """Add databases to a running pooler, pgmux or PgBouncer, or remove them.

    pgbouncer.ini is edited in place, the pooler reloads it, and a login is tried; where that fails,
    everything is as before.
    """


@command.command("add")
@click.argument("name")
@key_options(DATABASE_KEYS, but=("password",))
@click.option("--replace", is_flag=True, help="Change the entry, if it is there already.")
@click.option("--as", "as_user", metavar="USER", help="Try the login as this user.")
@change_options
def add(name: str, replace: bool, as_user: str | None, **rest: Any) -> None:
    """Add database NAME; * is whichever has no entry of its own.

    \b
    pgmux database add shop --host db.internal --pool-size 30
    """
    options, keys = split(rest)
    password = _password_of(as_user, options) if as_user else None

    def make(deployment: Deployment, running: Running | None) -> Change:
        change = add_database(deployment, name, given(keys), replace=replace)
        known = _known(deployment, running) if as_user is None else {as_user: password or ""}
        if as_user and not password:
            stored = plain_passwords(deployment.config).get(as_user)
            known = {as_user: stored} if stored else {}
        change.trials = trials_of(deployment.config, name, known)
        return change

    perform(options, make)


@command.command("remove")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also where something else needs it.")
@change_options
def remove(name: str, force: bool, **rest: Any) -> None:
    """Remove database NAME; its clients are disconnected, PostgreSQL keeps it."""
    options, _ = split(rest)

    def make(deployment: Deployment, running: Running | None) -> Change:
        change = remove_database(deployment, name, force=force)
        if running is not None:
            tell_of_clients(change, name, running)
        return change

    perform(options, make)


def _password_of(user: str, options: Options) -> str | None:
    """PGPASSWORD is the console's, unless it is the same user's or PGUSER says so."""
    if os.environ.get("PGPASSWORD"):
        return os.environ["PGPASSWORD"]
    return None if options.no_password else type_secret(f"Password for user {user}: ")


def _known(deployment: Deployment, running: Running | None) -> dict[str, str]:
    """Users whose password is known, and who aren't the console's alone."""
    settings = deployment.config.settings
    known = plain_passwords(deployment.config)
    at = running.parameters if running is not None else {}
    if "password" in at:
        known[at["user"]] = at["password"]
    if (user := os.environ.get("PGUSER")) and (password := os.environ.get("PGPASSWORD")):
        known[user] = password
    operators = {*settings.admin_users, *settings.stats_users} - {os.environ.get("PGUSER", "")}
    return {user: password for user, password in known.items() if user not in operators}
