"""`pgmux cutover plan`.

Exit codes: 0; 1 where all of it won't fit max_connections; 2 without PostgreSQL; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import click

from pgmux.cli.cutover_options import (
    NoPlace,
    exception_options,
    log_in_to_console,
    log_in_to_server,
)
from pgmux.cli.durations import Duration
from pgmux.cli.options import interval_option
from pgmux.cli.place import make_streams_tolerant
from pgmux.cli.where import console_option, find_console, json_option, postgres_options
from pgmux.config.model import Config
from pgmux.monitor.by_conninfo import find_place, read_conninfo
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.gather import configuration
from pgmux.ops.console.client import tell
from pgmux.ops.cutover.look import Looker
from pgmux.ops.cutover.names import Exceptions
from pgmux.ops.cutover.plan import report
from pgmux.ops.cutover.plan.gather import observe
from pgmux.ops.cutover.plan.judge import Plan, judge
from pgmux.ops.cutover.plan.target import Target
from pgmux.ops.printing import terminal
from pgmux.ops.server_connection import ServerConnection, ServerError
from pgmux.ops.severity import UNUSABLE

DOES_NOT_FIT = 1


@click.command("plan")
@click.argument("config_file", required=False)
@interval_option("1s")
@click.option(
    "--for",
    "seconds",
    type=Duration(0.0),
    default="10s",
    show_default=True,
    help="How long to look: one look misses peaks.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="A checklist, for a ticket.")
@exception_options
@postgres_options
@console_option
@json_option
def plan(
    config_file: str | None,
    postgres: str | None,
    no_password: bool,
    console: str | None,
    interval: float,
    seconds: float,
    applications: tuple[str, ...],
    users: tuple[str, ...],
    as_markdown: bool,
    as_json: bool,
) -> None:
    """What to move to the pooler first, and what can't simply be moved.

    \b
    pgmux cutover plan pgbouncer.ini --postgres 'host=db user=postgres' --for 1h --markdown

    Applications are told by application_name, user and database. CONFIG_FILE says where they are to
    connect instead, and how many connections the pooler can open. Nothing is changed.
    """
    make_streams_tolerant()
    exceptions = Exceptions(applications, users)
    places = Places(config_file, postgres, console, may_ask=not no_password)
    try:
        made = make_plan(read_config(config_file), places, exceptions, seconds, interval)
    except (NoPlace, ServerError) as error:
        tell(f"pgmux cutover: {error}")
        sys.exit(UNUSABLE)
    if as_json:
        click.echo(report.json_of(made))
    elif as_markdown:
        click.echo(report.to_markdown(made), nl=False)
    else:
        report.print_plan(made, terminal())
    sys.exit(DOES_NOT_FIT if made.fits is False else 0)


@dataclass(frozen=True)
class Places:
    """Where to look, as the command line says it."""

    config_file: str | None
    postgres: str | None
    console: str | None
    may_ask: bool


def read_config(config_file: str | None) -> Config | None:
    """Raises: click.UsageError."""
    found = None if config_file is None else configuration.gather(config_file)
    if isinstance(found, Unread):
        raise click.UsageError(f"{found.reason} ({found.advice})")
    return found


def make_plan(
    config: Config | None,
    places: Places,
    exceptions: Exceptions,
    seconds: float,
    interval: float,
) -> Plan:
    """Looks, and judges. Raises: NoPlace, ServerError."""
    parameters = log_in_to_server(places.postgres, may_ask=places.may_ask)
    console, failure = find_poolers_console(places)
    with Looker(parameters, console) as looker, ServerConnection(parameters) as server:
        if seconds and sys.stderr.isatty():
            tell(f"looking for {seconds:g} s …")
        observed = observe(looker, server, seconds, interval)
    if failure:
        observed = replace(observed, pooler_error=failure)
    place = None if console is None else find_place(read_conninfo(console))
    return judge(observed, Target(config, observed.place, place), exceptions)


def find_poolers_console(places: Places) -> tuple[str | None, str]:
    """Its conninfo, or why the one of CONFIG_FILE can't be asked: perhaps it doesn't run yet.

    Raises: NoPlace for one that was named.
    """
    if places.console is None and places.config_file is None:
        return None, ""
    place = find_console(places.console, places.config_file)
    try:
        return log_in_to_console(place, may_ask=places.may_ask and bool(places.console)), ""
    except NoPlace as error:
        if places.console is not None:
            raise
        return None, " ".join(str(error).split())
