"""The options that say where a console is and as whom to log in, of every command that asks one."""

from __future__ import annotations

import getpass
import io
import os
import sys
from dataclasses import replace

import click

from pgmux.cli.options import no_password_option, together
from pgmux.ops.console.client import tell
from pgmux.ops.console.connection import ConnectError, connect
from pgmux.ops.console.place import Asked, Machine, Place, PlaceError, find_place

# Gives a command the parameters url, host, port, user, no_password and config.
place_options = together(
    click.option(
        "-d", "--url", metavar="URL", help="postgresql://USER@HOST:PORT, or host=… port=…."
    ),
    click.option("-h", "--host", help="Host, or the directory of the Unix socket."),
    click.option("-p", "--port", type=click.IntRange(1, 65535), help="The pooler's listen_port."),
    click.option("-U", "--user", help="One of admin_users or stats_users."),
    no_password_option,
    click.option("--config", metavar="FILE", help="A pgbouncer.ini that says where the pooler is."),
)


def place_of(
    url: str | None, host: str | None, port: int | None, user: str | None, config: str | None
) -> Place:
    """Where that is. Raises: click.UsageError."""
    asked = Asked(url, host, None if port is None else str(port), user, config)
    try:
        return find_place(asked, this_machine())
    except PlaceError as error:
        raise click.UsageError(str(error)) from error


def this_machine() -> Machine:
    """What the place of the console depends on, besides the command line."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        user = ""
    return Machine(os.environ, read_text, find_owner, os.geteuid(), user)


def read_text(path: str) -> str:
    """A configuration file as it is. Raises: OSError."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def find_owner(path: str) -> int | None:
    """The uid of a path's owner, None where there is no such path."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def ask_password(place: Place) -> str | None:
    """The password, typed at the terminal and not shown; None where there is no terminal."""
    user = place.parameters.get("user") or os.environ.get("PGUSER") or "of the pooler"
    host = place.parameters.get("host") or os.environ.get("PGHOST", "")
    return type_secret(f"Password for user {user} at {host}: ")


def log_in(place: Place, *, may_ask: bool) -> Place:
    """Tries the place, before the work begins; with the password that it wants.

    Raises: ConnectError.
    """
    try:
        connect(place.conninfo, tell).close()
    except ConnectError as error:
        password = ask_password(place) if error.needs_password and may_ask else None
        if password is None:
            raise
        place = replace(place, parameters={**place.parameters, "password": password})
        connect(place.conninfo, tell).close()
    return place


def type_secret(prompt: str) -> str | None:
    """What is typed at the terminal, unseen; None without a terminal, or where it is left."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return None  # getpass would read it from stdin, and show it
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return None


def make_streams_tolerant() -> None:
    """Bytes that aren't text pass through stdin; what a stream can't show doesn't stop it."""
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
