"""`pgmux console [SQL]`: the admin console of pgmux or PgBouncer, without psql.

Exit codes: 0; 1 after an error that the console answered; 2 without a connection, when it was lost,
or when results can't be written; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

from pgmux.cli.place import ask_password, make_streams_tolerant, place_of, place_options
from pgmux.config.model import ADMIN_DATABASE
from pgmux.ops.console.client import FAILURES, Client, describe, tell
from pgmux.ops.console.connection import ConsoleError, Interrupted
from pgmux.ops.console.output import Format, Style
from pgmux.ops.severity import INTERRUPTED, UNUSABLE

FAILED = 1


@click.command("console", context_settings={"help_option_names": ["--help"]})
@click.argument("sql", nargs=-1)
@click.option("-c", "--command", "commands", multiple=True, metavar="SQL", help="The same as SQL.")
@place_options
@click.option("--json", "as_json", is_flag=True, help="Answer as a list of JSON objects.")
@click.option("--csv", "as_csv", is_flag=True, help="Answer as comma-separated values.")
@click.option("-x", "--expanded", is_flag=True, help="Print a line for each column.")
@click.option(
    "--watch", metavar="SECONDS", type=click.FloatRange(0.1), help="Ask again until Ctrl-C."
)
def command(
    sql: tuple[str, ...],
    commands: tuple[str, ...],
    url: str | None,
    host: str | None,
    port: int | None,
    user: str | None,
    no_password: bool,
    config: str | None,
    as_json: bool,
    as_csv: bool,
    expanded: bool,
    watch: float | None,
) -> None:
    """Run commands of the admin console, of pgmux or of PgBouncer.

    \b
    pgmux console 'SHOW POOLS'
    pgmux console --json -h db1 -p 6432 -U admin 'SHOW STATS'
    pgmux console PAUSE RELOAD RESUME

    Without SQL, commands are read from stdin, on a terminal from a prompt. Without a host, the
    place is looked up in ./pgbouncer.ini or /etc/pgbouncer/pgbouncer.ini. libpq's variables
    (PGHOST, PGPORT, PGUSER, PGPASSWORD …) and ~/.pgpass count.

    The exit code is 1 where the console answers with an error, 2 without a connection.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    statements = (*commands, *without_database(sql))
    if watch is not None and len(statements) != 1:
        raise click.UsageError("--watch takes one SQL")
    place = place_of(url, host, port, user, config)
    format_ = Format.JSON if as_json else Format.CSV if as_csv else Format.TABLE
    ask = (lambda: None) if no_password else (lambda: ask_password(place))
    client = Client(place, ask, Style(format_, expanded))
    sys.exit(run(client, statements, watch))


def without_database(sql: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments without the database in front that psql would want there."""
    if sql and sql[0].startswith(("postgresql://", "postgres://")):
        raise click.UsageError("the URL goes behind -d: pgmux console -d URL [SQL]")
    return sql[1:] if sql[:1] == (ADMIN_DATABASE,) else sql


def run(client: Client, statements: tuple[str, ...], watch: float | None) -> int:
    """Everything that was asked for; the exit code."""
    make_streams_tolerant()
    try:
        if watch is not None:
            client.watch(statements[0], watch)
        elif statements:
            for statement in statements:
                client.run(statement)
        elif sys.stdin.isatty() and sys.stdout.isatty():
            prompt(client)
        else:
            run_lines(client, sys.stdin)
    except FAILURES as error:
        tell(describe(error, client.place))
        if isinstance(error, Interrupted):
            return INTERRUPTED
        return FAILED if isinstance(error, ConsoleError) else UNUSABLE
    except KeyboardInterrupt:
        return 0 if watch is not None else INTERRUPTED
    finally:
        client.session.close()
    return 0


def run_lines(client: Client, lines: Iterable[str]) -> None:
    """What is piped in, up to the first error."""
    for line in lines:
        if not client.run_line(line):
            return


def prompt(client: Client) -> None:
    """The interactive console."""
    from pgmux.ops.console import interactive  # the line editor is needed here alone

    connection = client.session.open()
    tell(f"Console of PgBouncer {connection.version}: help shows its commands, Ctrl-D leaves.")
    history = interactive.open_history(interactive.history_path(os.environ))
    client.run_prompt(interactive.read_lines(client.session, connection.name, history))
