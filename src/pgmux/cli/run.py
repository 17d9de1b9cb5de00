"""`pgmux run`, for Click's help and completion; `pgmux.__main__` calls the daemon without Click."""

from __future__ import annotations

import sys

import click

from pgmux.daemon.main import main


@click.command("run", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run the pooler with PgBouncer's command line."""
    sys.exit(main(list(arguments), "pgmux run"))
