"""`pgmux shim DIR`: an executable named `pgbouncer` with PgBouncer's command line.

For images, units and scripts that call it by that name. Installing pgmux never puts the name on
PATH; this command does, where the operator says. The script runs the interpreter that runs this.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

MARK = "# written by `pgmux shim`"
_NAME = "pgbouncer"
# What every kernel reads of a script's first line; it takes the first blank for its end.
_LONGEST_SHEBANG = 127


def script(interpreter: str) -> str:
    """The text of the executable."""
    first = f"#!{interpreter} -P"
    if len(first) > _LONGEST_SHEBANG or " " in interpreter:
        # sh runs the second line; Python reads it as the beginning of a string.
        first = f"#!/bin/sh\n'''exec' \"{interpreter}\" -P \"$0\" \"$@\"\n' '''"
    return f"""{first}
{MARK}: PgBouncer's name and command line, run by pgmux
import sys

from pgmux.__main__ import run_daemon

sys.exit(run_daemon(sys.argv[1:], "{_NAME}"))
"""


def is_ours(path: Path) -> bool:
    """True where `path` is a file that this command wrote."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(1024)


def write_script(path: Path) -> None:
    """Put the executable at `path` in one step: nobody runs half of it."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{_NAME}-")
    try:
        with open(fd, "w") as file:
            file.write(script(sys.executable))
        os.chmod(name, 0o755)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


def advice(path: Path) -> str:
    """What is still to be done so that the name `pgbouncer` means `path`."""
    found = shutil.which(_NAME)
    if found is None:
        return f"{path.parent} is not on PATH: add it, or call the file by its path."
    if Path(found).resolve() != path.resolve():
        return f"On PATH the name {_NAME} is {found}: put {path.parent} before it."
    return f"{path.parent} is on PATH: `{_NAME}` now runs pgmux."


@click.command("shim")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--force", is_flag=True, help="Overwrite a pgbouncer that pgmux didn't write.")
def command(directory: str, force: bool) -> None:
    """Write an executable named pgbouncer into DIR; it takes PgBouncer's command line.

    DIR is made where it doesn't exist. Put it on PATH, before the directory of a real PgBouncer.
    """
    path = Path(directory).absolute() / _NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) and not force and not (path.is_file() and is_ours(path)):
            raise click.ClickException(
                f"{path} exists and is not pgmux's: give another DIR, or --force to overwrite it"
            )
        write_script(path)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
    click.echo(f"Wrote {path} ({sys.executable}).\n{advice(path)}")
