"""`python -m bench`, or `make bench`: a table of CPU per transaction and bytes per idle client."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.cells import (
    CELLS,
    IDLE_BATCH,
    TLS_CELLS,
    Cell,
    Result,
    measure,
    measure_idle,
    room_for_clients,
)
from bench.poolers import BenchError, Target, find_pgbouncer, pgmux_forms, running
from pgmux.ops.installation import PostgresError
from pgmux.ops.pooler import PoolerProcessError

IDLE = "idle clients"
CAPTION = "µs of CPU per transaction, where nothing else is said"
WIDTH = 110  # of the table in a file


@click.command("bench")
@click.option("--pgbouncer", metavar="PATH", help="PgBouncer; else the one on PATH, if any.")
@click.option(
    "--form",
    "forms",
    multiple=True,
    type=click.Choice(["compiled", "pure"]),
    help="pgmux's; may be given twice. [default: compiled]",
)
@click.option("--seconds", default=1.0, show_default=True, help="About how long one run takes.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--idle", default=2000, show_default=True, help="Idle clients; 0 leaves them out.")
@click.option("--tls", "with_tls", is_flag=True, help="Measure clients with TLS, too.")
@click.option("--only", metavar="TEXT", help='Cells whose name contains it, as "tcp simple".')
@click.option("--list", "as_list", is_flag=True, help="The cells' names, and nothing else.")
@click.option("--markdown", is_flag=True, help="The table as Markdown, for docs/performance.md.")
@click.option("--json", "as_json", is_flag=True, help="Every sample as JSON on stdout.")
def command(
    pgbouncer: str | None,
    forms: tuple[str, ...],
    seconds: float,
    rounds: int,
    idle: int,
    with_tls: bool,
    only: str | None,
    as_list: bool,
    markdown: bool,
    as_json: bool,
) -> None:
    """CPU per transaction of pgmux and PgBouncer, and memory per idle client.

    Starts its own PostgreSQL and poolers. With the defaults it takes three minutes; on a machine
    that does something else besides, take the ratios and not the times.
    """
    all_cells = (*CELLS, *TLS_CELLS) if with_tls else CELLS
    cells = [cell for cell in all_cells if only is None or only in cell.name]
    with_idle = idle > 0 and (only is None or only in IDLE)
    if as_list:
        print(*(cell.name for cell in cells), *([IDLE] if with_idle else []), sep="\n")
        return
    if not cells and not with_idle:
        raise click.ClickException(f"no cell's name contains {only!r}; --list shows them")
    stream = sys.stderr if as_json else sys.stdout
    width = None if stream.isatty() else WIDTH
    console = Console(file=stream, highlight=False, width=width)
    try:
        yardstick = find_pgbouncer(pgbouncer)
        if yardstick is None:
            console.print("PgBouncer isn't on PATH (--pgbouncer): measuring pgmux alone.")
        programs = [*([yardstick] if yardstick else []), *pgmux_forms(forms)]
        clients = room_for_clients(idle) if with_idle else 0
        room = 2 * (clients + 2 * IDLE_BATCH)
        with running(programs, room, with_tls=with_tls) as (pgbench, targets):

            def run(cell: Cell, on_run: Callable[[], None]) -> Result:
                return measure(
                    cell, pgbench, targets, rounds=rounds, seconds=seconds, on_run=on_run
                )

            results = run_all(console, cells, run, rounds * len(targets))
            if with_idle:
                results.append(run_idle(targets, clients))
                if with_tls:
                    results.append(run_idle(targets, clients, with_tls=True))
    except (BenchError, PostgresError, PoolerProcessError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        what = {"machine": machine(), "rounds": rounds, "seconds": seconds}
        print(json.dumps({**what, "results": [each.as_dict() for each in results]}, indent=2))
    if markdown:
        print(markdown_table(results))
    else:
        console.print(results_table(results))
    for failure in filter(None, [each.failure for each in results]):
        console.print(failure.splitlines()[0], markup=False)


def run_all(
    console: Console,
    cells: Sequence[Cell],
    run: Callable[[Cell, Callable[[], None]], Result],
    runs_per_cell: int,
) -> list[Result]:
    """All cells, with a bar that moves at each run."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        task = bars.add_task("", total=len(cells) * runs_per_cell)
        results = []
        for cell in cells:
            bars.update(task, description=cell.name)
            results.append(run(cell, lambda: bars.advance(task)))
    return results


def run_idle(targets: Sequence[Target], clients: int, *, with_tls: bool = False) -> Result:
    """The memory cell: one sample a pooler."""
    samples = {t.name: [measure_idle(t, clients, with_tls=with_tls)] for t in targets}
    what = f"{clients} {IDLE}{' with TLS' if with_tls else ''}, bytes each"
    return Result(what, "bytes/client", samples)


def table_rows(results: Sequence[Result]) -> list[list[str]]:
    """The headings, and a row for each cell: medians, and each pooler's ratio to the first one."""
    first, *others = results[0].samples
    headings = ["transport, protocol, clients", first]
    for name in others:
        headings += [name, "ratio [spread]"]
    rows = [headings]
    for result in results:
        row = [result.cell, _number(result, first)]
        for name in others:
            row += [_number(result, name), _ratio(result.ratios(name))]
        rows.append(row)
    return rows


def results_table(results: Sequence[Result]) -> Table:
    """The rows for a terminal."""
    headings, *rows = table_rows(results)
    table = Table(title=machine(), caption=CAPTION)
    for heading in headings:
        is_number = heading != headings[0]
        narrow = not is_number or heading.startswith("ratio")
        table.add_column(escape(heading), justify="right" if is_number else "left", no_wrap=narrow)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def markdown_table(results: Sequence[Result]) -> str:
    """The rows for a document."""
    headings, *rows = table_rows(results)
    lines = [headings, ["-", *["-:"] * (len(headings) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{machine()}; {CAPTION}:\n\n{table}"


def _number(result: Result, name: str) -> str:
    if not result.samples[name]:
        return "fails"
    value = median(result.samples[name])
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return "–"
    spread = f" [{ratios[0]:.2f}–{ratios[-1]:.2f}]" if len(ratios) > 1 else ""
    return f"{median(ratios):.2f}{spread}"


def machine() -> str:
    """When and on what this was measured."""
    date = time.strftime("%Y-%m-%d")
    python = platform.python_version()
    return f"{date}, {os.cpu_count()} cores, Linux {platform.release()}, Python {python}"


if __name__ == "__main__":
    command(prog_name=f"{os.path.basename(sys.executable)} -m bench")
