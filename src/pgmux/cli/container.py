"""`pgmux container COMMAND…`: the entry point of an image."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pgmux.ops.container.environment import ContainerError
from pgmux.ops.container.prepare import prepare

_CANNOT_EXECUTE = 126
_NOT_FOUND = 127


@click.command("container", context_settings={"ignore_unknown_options": True})
@click.option(
    "--directory",
    default="/etc/pgbouncer",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where pgbouncer.ini and userlist.txt are, or are to be.",
)
@click.argument("argv", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(directory: Path, argv: tuple[str, ...]) -> None:
    """Make pgbouncer.ini of the environment, then become COMMAND.

    The variables are those of edoburu/pgbouncer: DATABASE_URL(S) or DB_HOST, DB_PORT, DB_NAME,
    DB_USER, DB_PASSWORD, and every setting in upper case. X_FILE names a file that holds X.
    """
    try:
        prepared = prepare(os.environ, argv, directory)
    except ContainerError as error:
        for problem in error.problems:
            click.echo(f"ERROR {problem}", err=True)
        sys.exit(1)
    for warning in prepared.warnings:
        click.echo(f"WARNING {warning}", err=True)
    for line in prepared.told:
        click.echo(line)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(prepared.command[0], prepared.command)
    except OSError as error:
        click.echo(f"ERROR cannot run {prepared.command[0]}: {error.strerror}", err=True)
        sys.exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _CANNOT_EXECUTE)
