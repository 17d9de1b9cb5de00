"""`pgmux loadtest`: a load, straight at PostgreSQL, through a pooler, or both in turns; judged.

Exit codes: 0 passed; 1 failed by a limit; 2 unusable: wrong usage, no connection, a query that
can't run, no room for the load, no yes to it; 130 after Ctrl-C, with the results so far.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from pgmux.cli.durations import Duration
from pgmux.cli.interrupts import interruptible
from pgmux.cli.options import no_password_option, together
from pgmux.cli.place import make_streams_tolerant
from pgmux.cli.where import json_option, open_place
from pgmux.errors import PgmuxError
from pgmux.ops.files import FileError, change_file, read_text
from pgmux.ops.printing import terminal, to_json
from pgmux.ops.severity import INTERRUPTED, UNUSABLE


class MissingLibrary(click.ClickException):
    """Says what to install."""

    exit_code = UNUSABLE

    def __init__(self, error: ModuleNotFoundError) -> None:
        super().__init__(f"the load test needs {error.name}: pip install 'pgmux[loadtest]'")


try:
    from pgmux.ops.loadtest import room
    from pgmux.ops.loadtest.clients import Driver, Pooling
    from pgmux.ops.loadtest.judge import Limits
    from pgmux.ops.loadtest.page import build_page
    from pgmux.ops.loadtest.plan import Load, LoadType, Side, plan
    from pgmux.ops.loadtest.report import Report, build_report
    from pgmux.ops.loadtest.running import Course, OnTick, run, try_query
    from pgmux.ops.loadtest.statements import (
        COMPLEX_QUERY,
        SIMPLE_QUERY,
        Query,
        StatementError,
        read_query,
    )
    from pgmux.ops.loadtest.target import Target, find_target
    from pgmux.ops.loadtest.text import msec, print_report
except ModuleNotFoundError as missing:
    raise MissingLibrary(missing) from missing

FAILED = 1
_POOL_SIZE = 5  # SQLAlchemy's, where --pool-size isn't said
_BUILT_IN = {query.name: query for query in (SIMPLE_QUERY, COMPLEX_QUERY)}
_SIDES = {
    Side.DIRECT: ("--direct", "PGMUX_POSTGRES"),
    Side.POOLER: ("--pooler", "PGMUX_POOLER"),
}
_OF_WORKERS = ("num_queries", "num_workers")
_OF_BURSTS = ("burst_size", "num_bursts", "burst_interval")

_COUNT = click.IntRange(1, 1_000_000_000)
_AT_ONCE = click.IntRange(1, 100_000)  # each is a task, also where a pool bounds connections
_SECONDS = Duration(0.001, 86_400.0)
_LOAD_OPTIONS = together(
    click.option(
        "--test-type",
        type=click.Choice([str(each) for each in LoadType]),
        default=str(LoadType.CONCURRENT),
        show_default=True,
        help="All workers at once, bursts at fixed moments, or more and more workers.",
    ),
    click.option(
        "--num-queries", type=_COUNT, default=1000, show_default=True, help="Of all workers."
    ),
    click.option(
        "--num-workers", type=_AT_ONCE, default=50, show_default=True, help="Each asks in turn."
    ),
    click.option(
        "--query-type",
        metavar="simple|complex|FILE",
        default="simple",
        show_default=True,
        help="SELECT 1, a join and aggregate without tables, or a file of SQL.",
    ),
    click.option(
        "--burst-size", type=_AT_ONCE, default=100, show_default=True, help="Queries at once."
    ),
    click.option(
        "--num-bursts", type=_COUNT, default=10, show_default=True, help="One after the other."
    ),
    click.option(
        "--burst-interval",
        type=_SECONDS,
        default="2s",
        show_default=True,
        help="From one burst's beginning to the next one's.",
    ),
    click.option(
        "--rounds",
        type=click.IntRange(1, 1000),
        default=4,
        show_default=True,
        help="Of each side, where both are measured in turns.",
    ),
)
_DRIVER_OPTIONS = together(
    click.option(
        "--driver",
        type=click.Choice([str(each) for each in Driver]),
        default=str(Driver.ASYNCPG),
        show_default=True,
    ),
    click.option(
        "--pool-size",
        type=click.IntRange(1),
        help=f"The driver's own pool. SQLAlchemy: {_POOL_SIZE}; asyncpg: no pool, a connection for"
        " each worker.",
    ),
    click.option(
        "--max-overflow",
        type=click.IntRange(0),
        default=10,
        show_default=True,
        help="Connections of the pool besides --pool-size.",
    ),
    click.option(
        "--pool-timeout",
        type=_SECONDS,
        default="10s",
        show_default=True,
        help="What a query may wait for a connection of the pool.",
    ),
    click.option(
        "--query-timeout",
        type=_SECONDS,
        default="30s",
        show_default=True,
        help="What a query may take; a longer one has failed.",
    ),
    click.option(
        "--statement-cache-size",
        type=click.IntRange(0),
        default=100,
        show_default=True,
        help="Prepared statements that the driver keeps; 0 for a PgBouncer before 1.21.",
    ),
)
_LIMIT_OPTIONS = together(
    click.option(
        "--min-success",
        metavar="PERCENT",
        type=click.FloatRange(0, 100),
        default=99,
        show_default=True,
    ),
    click.option("--max-mean", metavar="MS", type=float, default=50, show_default=True),
    click.option("--max-p95", metavar="MS", type=float, default=100, show_default=True),
    click.option("--max-p99", metavar="MS", type=float, default=500, show_default=True),
)


@click.command("loadtest")
@click.option(
    "--direct",
    "--postgres",
    "direct",
    metavar="CONNINFO",
    envvar="PGMUX_POSTGRES",
    help="PostgreSQL itself: host=… port=… user=… dbname=…, or a URL.",
)
@click.option(
    "--pooler",
    metavar="CONNINFO",
    envvar="PGMUX_POOLER",
    help="The same through a pooler, pgmux or PgBouncer.",
)
@no_password_option
@_LOAD_OPTIONS
@_DRIVER_OPTIONS
@_LIMIT_OPTIONS
@click.option("--html", metavar="FILE", help="Write a page with charts; one that is there goes.")
@json_option
@click.option("--yes", is_flag=True, help="Don't ask before a load that may hurt others.")
def command(
    direct: str | None,
    pooler: str | None,
    no_password: bool,
    html: str | None,
    as_json: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Put a load on PostgreSQL, straight, through a pooler, or both in turns, and judge it.

    \b
    pgmux loadtest --pooler 'host=127.0.0.1 port=6432 user=app dbname=app'
    pgmux loadtest --direct "$DIRECT" --pooler "$POOLED" --num-workers 200 --html load.html
    pgmux loadtest --pooler "$POOLED" --test-type burst --burst-size 500 --num-bursts 5
    pgmux loadtest --pooler "$POOLED" --test-type ramp --num-workers 256 --query-type my.sql

    Without either place libpq's variables say where (PGHOST, PGPORT …). Passwords come from
    PGPASSWORD, ~/.pgpass or the terminal. With both sides the pooler is judged.

    Exit code: 0 passed, 1 failed by a limit, 2 unusable, 130 after Ctrl-C.
    """
    make_streams_tolerant()
    try:
        with interruptible():
            load, pooling, limits = _read(options)
            _say_unused(load)
            query = _find_query(options["query_type"])
            if html is not None:
                _require_writable(html)
            asked = _typed_or_all({Side.DIRECT: direct, Side.POOLER: pooler})
            targets = _find_targets(asked, may_ask=not no_password)
            _require_room(load, pooling, targets, yes=yes)
            writes = try_query(list(targets.values()), query, pooling) if query.is_own else None
            course = _run(load, query, pooling, targets)
    except (KeyboardInterrupt, click.Abort):  # the latter in answer to a question
        sys.exit(INTERRUPTED)
    except PgmuxError as error:
        _refuse(str(error))
    if not course.tallies:
        sys.exit(INTERRUPTED)
    report = build_report(course, load, query, writes, pooling, limits, targets)
    _show(report, html, as_json=as_json)
    sys.exit(_exit_code(report))


def _read(options: Mapping[str, Any]) -> tuple[Load, Pooling, Limits]:
    """What the options ask for."""
    load = Load(
        LoadType(options["test_type"]),
        *(options[name] for name in (*_OF_WORKERS, *_OF_BURSTS, "rounds")),
    )
    driver = Driver(options["driver"])
    pool_size = options["pool_size"]
    if driver is Driver.SQLALCHEMY:
        try:
            import sqlalchemy.ext.asyncio  # noqa: F401
        except ModuleNotFoundError as missing:
            raise MissingLibrary(missing) from missing
        pool_size = pool_size or _POOL_SIZE
    pooling = Pooling(
        driver,
        pool_size,
        options["max_overflow"],
        options["pool_timeout"],
        query_timeout=options["query_timeout"],
        statement_cache_size=options["statement_cache_size"],
    )
    names = ("min_success", "max_mean", "max_p95", "max_p99")
    return load, pooling, Limits(*(options[name] for name in names))


def _say_unused(load: Load) -> None:
    """Options that this test has no use for are no error, but nobody should rely on them."""
    context = click.get_current_context()
    unused = list(_OF_WORKERS if load.test_type is LoadType.BURST else _OF_BURSTS)
    if context.params["driver"] == str(Driver.ASYNCPG) and context.params["pool_size"] is None:
        unused += ["max_overflow", "pool_timeout"]
    for name in unused:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            click.echo(f"pgmux: {option} isn't used by this test", err=True)


def _find_query(name: str) -> Query:
    """Raises: StatementError; click.UsageError where there is no such file."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    try:
        text = read_text(name)
        text.encode()
    except OSError as error:
        raise click.UsageError(
            f"--query-type: simple, complex or a file: {name}: {error.strerror}"
        ) from error
    except UnicodeEncodeError as error:
        raise StatementError(f"{name} isn't UTF-8") from error
    return read_query(name, text)


def _typed_or_all(asked: dict[Side, str | None]) -> dict[Side, str | None]:
    """Where a side is typed, a variable doesn't put a load on the other one unasked."""
    context = click.get_current_context()
    typed = {
        side: text
        for side, text in asked.items()
        if context.get_parameter_source(str(side)) is ParameterSource.COMMANDLINE
    }
    return typed or asked


def _require_writable(path: str) -> None:
    """Before the load, not after it. Raises: FileError."""
    directory = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise FileError(f"cannot write {path}: Is a directory")
    if not os.path.isdir(directory):
        raise FileError(f"cannot write {path}: no directory {directory}")
    if not os.access(directory, os.W_OK):
        raise FileError(f"cannot write {path}: Permission denied")


def _find_targets(asked: Mapping[Side, str | None], *, may_ask: bool) -> dict[Side, Target]:
    """Those that were named, or the one of libpq's variables; each tried. Raises: ServerError."""
    named = [side for side, text in asked.items() if text] or [Side.DIRECT]
    found = {}
    for side in named:
        with open_place(asked.get(side), _SIDES[side], may_ask=may_ask) as server:
            found[side] = find_target(side, server)
    return found


def _require_room(
    load: Load, pooling: Pooling, targets: Mapping[Side, Target], *, yes: bool
) -> None:
    """Raises: NoRoom. Without a yes where one is needed the process ends."""
    connections = pooling.connections(load.most_workers)
    room.allow_descriptors(connections, list(targets.values()))
    doubts = room.doubts(load, connections, list(targets.values()))
    if not doubts or yes:
        return
    for doubt in doubts:
        click.echo(f"pgmux: {doubt}", err=True)
    if not sys.stdin.isatty():
        _refuse("that needs --yes")
    if not click.confirm("Go on?", err=True):
        sys.exit(UNUSABLE)


def _run(load: Load, query: Query, pooling: Pooling, targets: dict[Side, Target]) -> Course:
    rounds = plan(load, list(targets))
    total = sum(each.queries for each in rounds) // len(targets)
    with _progress(total) as on_tick:
        return run(rounds, targets, query, pooling, on_tick)


@contextmanager
def _progress(total: int) -> Iterator[OnTick]:
    """A line a side on a terminal's stderr: done, rate, errors and p95 so far."""
    console = terminal(stderr=True)
    columns = (
        TextColumn("{task.description:<7}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TextColumn("{task.fields[figures]}"),
    )
    with ExitStack() as stack:
        bars = Progress(*columns, console=console, disable=not console.is_terminal)
        stack.enter_context(bars)
        tasks: dict[Side, TaskID] = {}

        def on_tick(side: Side, course: Course) -> None:
            if side not in tasks:
                tasks[side] = bars.add_task(str(side), total=total, figures="connecting")
            if side not in course.tallies or bars.disable:
                return
            tally = course.tally(side)
            seconds = tally.seconds + course.current_seconds
            rate = tally.latencies.count / seconds if seconds else 0.0
            p95 = tally.latencies.quantile(0.95)
            shown = f"{rate:,.0f}/s, {tally.failed:,} errors, p95 "
            shown += msec(None if p95 is None else p95 * 1000)
            if tally.done:
                bars.update(tasks[side], completed=tally.done, figures=shown)

        yield on_tick


def _show(report: Report, html: str | None, *, as_json: bool) -> None:
    if html is not None:
        try:
            change_file(html, build_page(report))
        except FileError as error:
            click.echo(f"pgmux: {error}", err=True)
    if as_json:
        click.echo(to_json(report))
        return
    print_report(report, terminal())


def _exit_code(report: Report) -> int:
    if report.is_interrupted:
        return INTERRUPTED
    return 0 if report.passed else FAILED


def _refuse(message: str) -> NoReturn:
    click.echo(f"pgmux: {message}", err=True)
    sys.exit(UNUSABLE)
