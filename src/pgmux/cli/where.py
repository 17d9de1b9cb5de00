"""The options by which a command finds PostgreSQL and a pooler's console, and the asking for
passwords: they come from PGPASSWORD, ~/.pgpass or the terminal, never from the command line.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from typing import TypeVar

import click

from pgmux.cli.options import no_password_option, together
from pgmux.cli.place import place_of, type_secret
from pgmux.ops.console.place import Place
from pgmux.ops.server_connection import ServerConnection, ServerError, read_conninfo

_POSTGRES_OPTION = ("--postgres", "PGMUX_POSTGRES")  # and the variable of the same meaning
_CONSOLE_OPTION = ("--console", "PGMUX_CONSOLE")

T = TypeVar("T")

# Gives a command the parameters `postgres` and `no_password`.
postgres_options = together(
    click.option(
        "--postgres",
        metavar="CONNINFO",
        envvar="PGMUX_POSTGRES",
        help="PostgreSQL itself: host=… port=… user=… dbname=…, or a URL; else libpq's variables.",
    ),
    no_password_option,
)
console_option = click.option(
    "--console",
    metavar="CONNINFO",
    envvar="PGMUX_CONSOLE",
    help="The pooler's console: host=… port=… user=…, or a URL; else by the ini file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


def server_parameters(postgres: str | None, **defaults: str) -> dict[str, str]:
    """libpq's parameters that --postgres names. Raises: click.UsageError, as `open_server`."""
    return {**defaults, **_read(postgres, _POSTGRES_OPTION)}


def _read(text: str | None, option: tuple[str, str]) -> dict[str, str]:
    name, variable = option
    try:
        return read_conninfo(text or "", is_typed=text != os.environ.get(variable))
    except ServerError as error:
        raise click.UsageError(f"{name}: {error}") from error


def open_server(postgres: str | None, *, may_ask: bool, **defaults: str) -> ServerConnection:
    """The PostgreSQL that --postgres names; `defaults` are parameters that it needn't say.

    Raises: ServerError; click.UsageError where the option holds a password or is no conninfo.
    """
    return _open(server_parameters(postgres, **defaults), may_ask=may_ask)


def open_place(text: str | None, option: tuple[str, str], *, may_ask: bool) -> ServerConnection:
    """The same of another option: its name, and that of its variable, which may hold a password."""
    return _open(_read(text, option), may_ask=may_ask)


def _open(parameters: dict[str, str], *, may_ask: bool) -> ServerConnection:
    return with_password(parameters, ServerConnection, may_ask=may_ask)


def with_password(
    parameters: dict[str, str], connect: Callable[[dict[str, str]], T], *, may_ask: bool
) -> T:
    """What `connect` makes of the parameters, or of them with the password that was lacking.

    Raises: ServerError, as `connect` does.
    """
    try:
        return connect(parameters)
    except ServerError as error:
        password = ask_for(parameters) if error.needs_password and may_ask else None
        if password is None:
            raise
        return connect({**parameters, "password": password})


def ask_for(parameters: dict[str, str]) -> str | None:
    """The password, typed at the terminal and not shown; None where there is no terminal."""
    user = parameters.get("user") or os.environ.get("PGUSER") or getpass.getuser()
    host = parameters.get("host") or os.environ.get("PGHOST") or "the local socket"
    return type_secret(f"Password for user {user} at {host}: ")


def find_console(console: str | None, config: str | None) -> Place:
    """Where the console is: --console, else what the ini file says, else as `pgmux console` does.

    Raises: click.UsageError, also where the option holds a password.
    """
    _read(console, _CONSOLE_OPTION)
    return place_of(console, None, None, None, None if console else config)
