"""`pgmux cutover watch` and `record`.

Exit codes of `watch`: 0 where nobody connects directly any more, else 1; of `record` 0. Of both: 2
without what is needed, or where the recording can't go on; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

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
from pgmux.ops.console.client import tell
from pgmux.ops.cutover.follow import Show, Wanted, follow, show_nothing, shower
from pgmux.ops.cutover.look import Looker
from pgmux.ops.cutover.names import Exceptions
from pgmux.ops.cutover.progress import Progress
from pgmux.ops.cutover.recording import Recorder, RecordingError
from pgmux.ops.severity import UNUSABLE

MESSAGE = "Ctrl-C ends"

_FOR = click.option("--for", "seconds", type=Duration(0.1), help="Ends by itself after that time.")


@click.command("watch")
@click.argument("config_file", required=False)
@interval_option("2s")
@_FOR
@click.option("--until-done", is_flag=True, help="Ends when nobody else connects directly.")
@click.option("--once", "is_once", is_flag=True, help="One sample.")
@click.option("--record", metavar="FILE", help="Append the samples to that file, for the report.")
@exception_options
@postgres_options
@console_option
@json_option
def watch(config_file: str | None, as_json: bool, record: str | None, **more: Any) -> None:
    """Who still connects to PostgreSQL directly, and who has moved to the pooler.

    \b
    pgmux cutover watch pgbouncer.ini --postgres 'host=db user=postgres' --until-done

    Which of PostgreSQL's connections are the pooler's is told by their process ids, so that it
    doesn't matter where the pooler runs. CONFIG_FILE says where its console is; so does --console.
    --json prints a line of JSON for each sample.
    """
    run(Task(config=config_file, needs_console=True, as_json=as_json, record=record, **more))


@click.command("record")
@click.argument("file")
@interval_option("10s")
@_FOR
@click.option("--once", "is_once", is_flag=True, help="One sample, as for cron.")
@click.option("--config", metavar="FILE", help="A pgbouncer.ini that says where the pooler is.")
@postgres_options
@console_option
def record(file: str, config: str | None, **more: Any) -> None:
    """What `watch --record` does, without a screen; no pooler is needed.

    \b
    pgmux cutover record before.jsonl --postgres 'host=db user=postgres' --for 1d

    Samples are appended to FILE. The pooler is asked too where --console or --config says where.
    """
    run(Task(config=config, record=file, is_silent=True, **more))


@dataclass(frozen=True)
class Task:
    """What was asked for on the command line."""

    config: str | None
    record: str | None
    postgres: str | None
    no_password: bool
    console: str | None
    interval: float
    seconds: float | None
    is_once: bool
    until_done: bool = False
    applications: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    as_json: bool = False
    needs_console: bool = False
    is_silent: bool = False

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.interval, self.seconds, self.is_once, self.until_done)

    @property
    def has_console(self) -> bool:
        return bool(self.needs_console or self.console or self.config)


def run(task: Task) -> None:
    """Samples, to their end; ends the process."""
    make_streams_tolerant()
    progress = Progress(Exceptions(task.applications, task.users))
    try:
        with ExitStack() as stack:
            looker = stack.enter_context(open_looker(task))
            recorder = stack.enter_context(Recorder(task.record)) if task.record else None
            show: Show = show_nothing
            if not task.is_silent:
                show = shower(stack, MESSAGE, as_json=task.as_json, is_once=task.is_once)
            code = follow(looker, progress, task.wanted, recorder, show)
    except (NoPlace, RecordingError) as error:
        tell(f"pgmux cutover: {error}")
        sys.exit(UNUSABLE)
    sys.exit(0 if task.is_silent else code)


def open_looker(task: Task) -> Looker:
    """Logs in to both sides once, and asks for passwords. Raises: NoPlace."""
    may_ask = not task.no_password
    parameters = log_in_to_server(task.postgres, may_ask=may_ask)
    if not task.has_console:
        return Looker(parameters, None)
    place = find_console(task.console, task.config)
    return Looker(parameters, log_in_to_console(place, may_ask=may_ask))
