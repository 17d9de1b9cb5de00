"""How a command that can't do its work ends: a line on stderr, and an exit code."""

from __future__ import annotations

from collections.abc import Callable

import click

from pgmux.errors import PgmuxError
from pgmux.ops.printing import printable
from pgmux.ops.severity import INTERRUPTED, UNUSABLE

_BREAKS = "\n\t"  # what libpq puts into its messages


def say_error(message: str) -> None:
    """The text, with nothing in it that a terminal would obey."""
    click.echo(f"ERROR {printable(message, keep=_BREAKS)}", err=True)


def carried_out(work: Callable[[], int], on_ctrl_c: str) -> int:
    """The exit code of `work`; what went wrong is told in a line."""
    try:
        return work()
    except PgmuxError as error:
        say_error(str(error))
        return UNUSABLE
    except (KeyboardInterrupt, click.Abort):
        click.echo(on_ctrl_c, err=True)
        return INTERRUPTED
