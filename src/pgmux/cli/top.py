"""`pgmux top`: what a pooler does now, in a terminal. Needs the extra `top`, but for --once and
--json. Exit codes: 0; 2 without a connection; 130 after Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from pgmux.cli.options import interval_option
from pgmux.cli.place import log_in, make_streams_tolerant, place_of, place_options
from pgmux.monitor.console import open_console
from pgmux.ops.console.client import describe, tell
from pgmux.ops.console.connection import ConnectError
from pgmux.ops.console.place import Place
from pgmux.ops.severity import UNUSABLE
from pgmux.ops.top import once
from pgmux.ops.top.panes import PANES
from pgmux.ops.top.watch import FAILURES, Watch

_PANES = {pane.name: pane for pane in PANES}


@click.command("top", context_settings={"help_option_names": ["--help"]})
@place_options
@interval_option("2s", 0.1, 3600.0)
@click.option("--once", "is_once", is_flag=True, help="Print one table and end.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON and end.")
@click.option(
    "--table",
    type=click.Choice(list(_PANES)),
    default="pools",
    show_default=True,
    help="Which table --once prints.",
)
def command(
    interval: float, is_once: bool, as_json: bool, table: str, no_password: bool, **where: Any
) -> None:
    """Watch pools, applications, waiting clients and errors of pgmux or PgBouncer.

    \b
    pgmux top
    pgmux top -h db1 -p 6432 -U stats --interval 5
    pgmux top --once --table applications

    Only SHOW is sent: one of stats_users is enough. Without a host, the place is looked up in
    ./pgbouncer.ini or /etc/pgbouncer/pgbouncer.ini, as `pgmux console` does. Inside, ? shows the
    keys. --once and --json read twice, an interval apart.
    """
    is_lasting = not (is_once or as_json)
    if is_lasting and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("no terminal: --once prints a table, --json everything")
    if is_lasting:
        require_textual()
    make_streams_tolerant()
    place = place_of(**where)
    try:
        place = log_in(place, may_ask=not no_password)
        if is_lasting:
            sys.exit(follow(place, interval))
        console = open_console(place.conninfo)
        picture = asyncio.run(once.take_picture(console, interval))
    except (ConnectError, *FAILURES) as error:
        tell(describe(error, place))
        sys.exit(UNUSABLE)
    if as_json:
        click.echo(once.to_json(picture))
    else:
        once.print_picture(picture, console.place, _PANES[table])


def require_textual() -> None:
    """Raises: click.ClickException with what to install."""
    try:
        import textual  # noqa: F401
    except ModuleNotFoundError as missing:
        raise click.ClickException(
            f"pgmux top needs {missing.name}: pip install 'pgmux[top]'"
            " (--once and --json work without it)"
        ) from missing


def follow(place: Place, interval: float) -> int:
    """The application, to its end; the exit code."""
    from pgmux.ops.top.app import TopApp  # textual is an extra

    app = TopApp(Watch(open_console(place.conninfo)), interval)
    app.run()
    return app.return_code or 0
