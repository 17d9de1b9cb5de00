"""What the commands of `pgmux cutover` have in common: options, and logging in to both sides."""

from __future__ import annotations

import click

from pgmux.cli.options import together
from pgmux.cli.place import log_in
from pgmux.cli.where import server_parameters, with_password
from pgmux.ops.console.client import describe
from pgmux.ops.console.connection import ConnectError
from pgmux.ops.console.place import Place
from pgmux.ops.cutover.look import is_refusal
from pgmux.ops.server_connection import ServerConnection, ServerError


class NoPlace(Exception):
    """One of the two sides can't be reached; the text says which and why."""


# Gives a command the parameters `applications` and `users`.
exception_options = together(
    click.option(
        "--except",
        "applications",
        metavar="NAME",
        multiple=True,
        help="An application_name that may stay direct, as pg_dump or 'repl*'; may be repeated.",
    ),
    click.option(
        "--except-user",
        "users",
        metavar="USER",
        multiple=True,
        help="A role that may stay direct; may be repeated.",
    ),
)


def _tried(parameters: dict[str, str]) -> dict[str, str]:
    """The parameters, if they lead to PostgreSQL itself, or to one that has no connection left:
    that is what this command is for. Raises: ServerError; NoPlace.
    """
    try:
        with ServerConnection(parameters) as server:
            if server.is_pooled():
                raise NoPlace(
                    f"at {server.place} is a pooler, not PostgreSQL itself: say by --postgres"
                    " where that is"
                )
    except ServerError as error:
        if not is_refusal(error):
            raise
    return parameters


def log_in_to_console(place: Place, *, may_ask: bool) -> str:
    """The conninfo with which the console lets us in. Raises: NoPlace."""
    try:
        return log_in(place, may_ask=may_ask).conninfo
    except ConnectError as error:
        raise NoPlace(describe(error, place)) from error


def log_in_to_server(postgres: str | None, *, may_ask: bool) -> dict[str, str]:
    """The parameters with which PostgreSQL lets us in, with the password that was typed.

    Raises: NoPlace.
    """
    try:
        return with_password(server_parameters(postgres), _tried, may_ask=may_ask)
    except ServerError as error:
        raise NoPlace(str(error)) from error
