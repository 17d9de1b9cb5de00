"""`python -m bench`, or `make bench`: pgmux beside PgBouncer, load by load."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import BenchError
from bench.measure import Measured, measure
from bench.poolers import made_for
from bench.programs import Program, find_programs
from bench.report.chart import chart
from bench.report.data import Report, as_json, read_json
from bench.report.machine import machine
from bench.report.tables import markdown_tables, terminal_tables
from bench.workload import Workload
from bench.workloads import WORKLOADS
from pgmux.ops.installation import PostgresError
from pgmux.ops.pooler import PoolerProcessError

ROUNDS, SECONDS = 5, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.3
WIDTH = 150  # of the tables in a file


@click.command("bench")
@click.option(
    "--pgbouncer",
    metavar="PATH",
    envvar="PGBOUNCER",
    help="The yardstick; else the PgBouncer on PATH, if any.  [$PGBOUNCER]",
)
@click.option(
    "--form",
    "forms",
    multiple=True,
    type=click.Choice(["compiled", "pure"]),
    help="pgmux's; may be given twice. [default: compiled]",
)
@click.option(
    "--seconds",
    type=float,
    help="About how long one run takes; below 1, copies and crowds are smaller.  [default: 1]",
)
@click.option("--rounds", type=click.IntRange(1), help="[default: 5]")
@click.option("--quick", is_flag=True, help="3 rounds of 0.3 s, without Debian's PgBouncer.")
@click.option(
    "--only",
    metavar="TEXT",
    multiple=True,
    help='Loads whose name contains it, as "tcp simple"; may be given more than once.',
)
@click.option("--list", "as_list", is_flag=True, help="The loads' names, and nothing else.")
@click.option("--markdown", is_flag=True, help="The tables as Markdown, for docs/performance.md.")
@click.option("--json", "with_json", is_flag=True, help="Every sample as JSON on stdout.")
@click.option(
    "--svg",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Chart the ratios.",
)
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show what --json has written there, and measure nothing.",
)
def command(
    pgbouncer: str | None,
    forms: tuple[str, ...],
    seconds: float | None,
    rounds: int | None,
    quick: bool,
    only: tuple[str, ...],
    as_list: bool,
    markdown: bool,
    with_json: bool,
    svg: Path | None,
    source: Path | None,
) -> None:
    """What pgmux costs beside PgBouncer: CPU per transaction, throughput, latency, memory.

    Starts its own PostgreSQL and poolers. With the defaults it takes a quarter of an hour; on a
    machine that does something else besides, take the ratios and not the times.
    """
    if markdown and with_json:
        raise click.UsageError("--json or --markdown; --from FILE makes the tables of the JSON")
    workloads = [w for w in WORKLOADS if not only or any(text in w.name for text in only)]
    if not workloads:
        raise click.ClickException(f"no load's name contains {' or '.join(only)}; see --list")
    if as_list:
        print(*(workload.name for workload in workloads), sep="\n")
        return
    if svg is not None and not os.access(svg.parent, os.W_OK):  # not a quarter of an hour later
        raise click.BadParameter(f"{svg.parent} is no directory to write to", param_hint="--svg")
    stream = sys.stderr if with_json else sys.stdout
    width = None if stream.isatty() else WIDTH
    console = Console(file=stream, highlight=False, width=width)
    try:
        if source is not None:
            report = read_report(source)
        else:
            rounds = rounds or (QUICK_ROUNDS if quick else ROUNDS)
            seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
            programs = find_programs(pgbouncer, forms, with_second=not quick)
            report = run_all(console, workloads, programs, rounds, seconds)
    except (BenchError, PostgresError, PoolerProcessError) as error:
        raise click.ClickException(str(error)) from error
    if with_json:
        print(as_json(report))
    if markdown:
        print(markdown_tables(report))
    else:
        console.print(terminal_tables(report))
    if svg is not None:
        svg.write_text(chart(report))
    sys.exit(report_failures(console, report.results))


def read_report(source: Path) -> Report:
    """What --json has written there. Raises: BenchError, which names the file."""
    try:
        return read_json(source.read_text(errors="replace"))
    except BenchError as error:
        raise BenchError(f"{source}: {error}") from error


def run_all(
    console: Console,
    workloads: Sequence[Workload],
    programs: Sequence[Program],
    rounds: int,
    seconds: float,
) -> Report:
    """All loads, with a bar that moves at each run. Raises: BenchError, PostgresError."""
    if programs[0].is_pgmux:
        console.print("PgBouncer isn't on PATH (--pgbouncer): measuring pgmux alone.")
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn())
    results = []
    with (
        made_for(programs) as bed,
        Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars,
    ):
        runs = rounds * len(programs)
        task = bars.add_task("", total=len(workloads) * runs)
        for number, workload in enumerate(workloads, 1):
            bars.update(task, description=workload.name)
            results.append(
                measure(
                    workload,
                    bed,
                    rounds=rounds,
                    seconds=seconds,
                    on_run=lambda: bars.advance(task),
                )
            )
            bars.update(task, completed=number * runs)  # some loads have fewer
    return Report(machine(), rounds, seconds, results)


def report_failures(console: Console, results: Sequence[Measured]) -> int:
    """Says what failed; 1 where that was pgmux, whose every load has to work."""
    code = 0
    for result in results:
        for name, failure in result.failures.items():
            console.print(failure.splitlines()[0], markup=False)
            code = code or int(name.startswith("pgmux"))
    return code


if __name__ == "__main__":
    command(prog_name=f"{os.path.basename(sys.executable)} -m bench")
