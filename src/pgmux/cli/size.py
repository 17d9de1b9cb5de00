"""`pgmux size`: which sizes pools should have, from what is observed at a console for a while.

Exit codes: 0 nothing has to change; 1 something should; 3 PostgreSQL has less than is needed, or
clients got errors for it; 2 too little was seen, no connection, wrong usage; 130 Ctrl-C before
enough was seen.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

import click

from pgmux.cli.durations import Duration
from pgmux.cli.options import interval_option
from pgmux.cli.place import log_in, make_streams_tolerant
from pgmux.cli.where import console_option, find_console, json_option, open_server, postgres_options
from pgmux.config import load_config
from pgmux.errors import ConfigError
from pgmux.monitor.console import Console, open_console
from pgmux.ops.console.client import describe, tell
from pgmux.ops.console.connection import ConnectError
from pgmux.ops.console.place import Place
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.files import FileError, exclusively
from pgmux.ops.ini_edit import EditError, IniEdit
from pgmux.ops.printing import terminal
from pgmux.ops.server_connection import ServerError
from pgmux.ops.severity import INTERRUPTED, UNUSABLE, Severity, exit_code
from pgmux.ops.sizing.advice import MIN_SAMPLES, Wishes
from pgmux.ops.sizing.fragment import FindEntry, finder, fragment, put_in_place
from pgmux.ops.sizing.observation import Observation
from pgmux.ops.sizing.plan import Place as ServerPlace
from pgmux.ops.sizing.plan import Plan, make_plan
from pgmux.ops.sizing.postgres_room import RoomReader, rooms_told
from pgmux.ops.sizing.progress import Progress
from pgmux.ops.sizing.report import json_of, print_report, too_little
from pgmux.ops.sizing.room import Room
from pgmux.ops.sizing.watch import Observed, run_observing
from pgmux.ops.top.watch import FAILURES


@click.command("size")
@click.argument("config_file", required=False)
@click.option(
    "--for",
    "period",
    type=Duration(0.1, 30 * 86400.0),
    default="10m",
    show_default=True,
    help="How long to observe; Ctrl-C ends it early.",
)
@interval_option("1s", 0.02, 3600.0)
@click.option(
    "--target-wait",
    type=Duration(0.0, 3600.0),
    default="5ms",
    show_default=True,
    help="What 99 of 100 transactions may wait for a server.",
)
@click.option(
    "--growth",
    type=click.FloatRange(0.1, 1000),
    default=1.0,
    show_default=True,
    help="Advise for so many times the load that is observed.",
)
@click.option(
    "--keep-free",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Connections of PostgreSQL to leave to others, besides those that are seen.",
)
@click.option("--lower", is_flag=True, help="Also lower what is larger than was needed.")
@click.option("--edit", is_flag=True, help="Change the ini file in place; RELOAD stays with you.")
@postgres_options
@console_option
@json_option
def command(
    config_file: str | None,
    period: float,
    interval: float,
    target_wait: float,
    growth: float,
    keep_free: int,
    lower: bool,
    edit: bool,
    postgres: str | None,
    no_password: bool,
    console: str | None,
    as_json: bool,
) -> None:
    """Observe a pooler, pgmux or PgBouncer, and advise on sizes of its pools and limits.

    \b
    pgmux size --for 10m
    pgmux size /etc/pgbouncer/pgbouncer.ini --for 1h --postgres 'host=db1 user=postgres'
    pgmux size --console 'host=db1 port=6432 user=stats' --target-wait 20ms --json

    Only SHOW is sent: one of stats_users is enough. Nothing is changed without --edit: the settings
    that should change are printed, with the arithmetic. Observe when there is load: the busiest
    hour that the pools are to bear. --postgres tells max_connections, and who takes some around the
    pooler.
    """
    if period / interval < MIN_SAMPLES:
        raise click.UsageError(
            f"--for {period:g}s with a sample every {interval:g}s are too few samples:"
            f" {MIN_SAMPLES} are needed"
        )
    make_streams_tolerant()
    wishes = Wishes(target_wait, growth)
    place = find_console(console, config_file)
    find = _entries(config_file, place)
    config = _config_of(config_file, place) if edit else None
    if edit and config is None:
        raise click.UsageError("--edit: which file? Name the pooler's pgbouncer.ini")
    try:
        with ExitStack() as stack:
            place = log_in(place, may_ask=not no_password)
            reader = None
            if postgres is not None:
                server = stack.enter_context(open_server(postgres, may_ask=not no_password))
                reader = RoomReader(server, keep_free)
            at = open_console(place.conninfo)
            observed = _observe(at, period, interval, reader)
    except (ConnectError, *FAILURES) as error:
        tell(describe(error, place))
        sys.exit(UNUSABLE)
    except ServerError as error:
        tell(str(error))
        sys.exit(UNUSABLE)
    rooms = _rooms(observed.observation, reader, keep_free)
    plan = make_plan(observed.observation, at.place, rooms, wishes, lower=lower)
    code = _finish(plan, observed, find, as_json=as_json)
    sys.exit(_edit(plan, config, code) if config and plan.judged else code)


def _observe(console: Console, period: float, every: float, reader: RoomReader | None) -> Observed:
    on_servers = reader.ask if reader else lambda pids: None
    with Progress(terminal(stderr=True), console.place, period) as progress:
        return run_observing(console, period, every, progress.show, on_servers)


def _rooms(
    observation: Observation, reader: RoomReader | None, keep_free: int
) -> dict[ServerPlace, Room]:
    """By place, what each PostgreSQL has."""
    sample = observation.last
    assert sample is not None
    rooms = rooms_told(sample, keep_free)
    if reader is None or reader.room is None:
        return rooms
    place = reader.place(sample)
    if place is None:
        tell(
            "--postgres isn't where any database of the pooler is, as far as can be told: its"
            " max_connections count for none. Name it as [databases] do."
        )
        return rooms
    return rooms | {place: reader.room}


def _config_of(config_file: str | None, place: Place) -> str | None:
    return config_file or (place.source if place.source.endswith(".ini") else None)


def _entries(config_file: str | None, place: Place) -> FindEntry | None:
    """What reads entries of the configuration file; None where none is known.

    Raises: click.UsageError where the one that is named can't be read.
    """
    path = _config_of(config_file, place)
    if path is None:
        return None
    find = finder(IniEdit(path, EditedTexts()))
    try:
        find("databases", "")
    except ConfigError as error:
        if config_file is None:
            return None
        raise click.UsageError(f"cannot read {config_file}: {error}") from error
    return find


def _edit(plan: Plan, config: str, code: int) -> int:
    """Puts the settings into the file; the exit code."""
    texts = EditedTexts()
    try:
        with exclusively(config):
            missing = put_in_place(plan, IniEdit(config, texts))
            load_config(config, texts.read)
            texts.write()
    except (ConfigError, EditError, FileError, ValueError) as error:
        tell(f"nothing is changed: {error}")
        return UNUSABLE
    for name in missing:
        tell(f"{name} has no entry in {config} that can be read: change it by hand")
    changed = ", ".join(texts.changed)
    tell(f"changed: {changed}; now RELOAD the pooler" if changed else f"{config} is as it was")
    return code


def _finish(plan: Plan, observed: Observed, find: FindEntry | None, *, as_json: bool) -> int:
    """Prints the advice; the exit code."""
    if not plan.judged:
        tell(too_little(plan))
        return INTERRUPTED if observed.is_stopped else UNUSABLE
    text = fragment(plan, find)
    if as_json:
        click.echo(json_of(plan, text))
    else:
        print_report(plan, text, terminal())
    return exit_code((*plan.severities(), *([Severity.WARNING] if text else [])))
