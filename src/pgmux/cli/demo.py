"""`pgmux demo`: the problem and the cure on real connections, as a table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pgmux.cli.interrupts import interruptible
from pgmux.ops.installation import PostgresError
from pgmux.ops.pooler import PoolerProcessError
from pgmux.ops.severity import INTERRUPTED

try:
    from pgmux.ops import demo
    from pgmux.ops.demo_traffic import run_traffic
except ModuleNotFoundError as missing:
    raise click.ClickException(
        f"the demo needs {missing.name}: pip install 'pgmux[demo]'"
    ) from missing


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the table; otherwise stay until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The results as JSON on stdout.")
@click.option("--clients", default=300, show_default=True, type=click.IntRange(1, 900))
@click.option("--seconds", default=6.0, show_default=True, help="How long each run works.")
@click.option("--port", default=6432, show_default=True, help="pgmux's; another where it is taken.")
@click.option("--http-port", default=9127, show_default=True, help="The dashboard's; likewise.")
def command(
    once: bool, as_json: bool, clients: int, seconds: float, port: int, http_port: int
) -> None:
    """Show the problem and the cure: 300 clients at a PostgreSQL that takes 100.

    Starts a PostgreSQL of its own, and leaves nothing behind. While it stays, three applications go
    on working, for the dashboard and `pgmux top` to show. The exit code is 0 where pgmux served
    every client without an error over at most 20 server connections.
    """
    load = demo.Load(clients, seconds)
    console = Console(stderr=as_json, highlight=False)
    try:
        with interruptible():
            http = "" if once else demo.http_address(http_port)
            cured = run(console, load, port, http, once=once, as_json=as_json)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (PostgresError, PoolerProcessError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(0 if cured else 1)


def run(
    console: Console, load: demo.Load, port: int, http: str, *, once: bool, as_json: bool
) -> bool:
    """Both runs and what they showed; answers whether pgmux cured the problem."""
    console.print(f"Starting PostgreSQL with max_connections = {demo.MAX_CONNECTIONS} …")
    with demo.demo_postgres() as postgres:
        with progress(console, "straight at PostgreSQL") as on_progress:
            dsn = postgres.dsn(demo.NAME, demo.NAME, demo.NAME)
            direct = demo.run_load(dsn, None, load, on_progress)
        with demo.demo_pooler(postgres, port, load.clients, http_listen=http) as pooler:
            dsn = f"postgresql://{demo.NAME}:{demo.NAME}@{pooler.host}:{pooler.port}/{demo.NAME}"
            with progress(console, "through pgmux") as on_progress:
                pooled = demo.run_load(dsn, postgres.dsn(), load, on_progress)
            if as_json:
                results = {"direct": direct.as_dict(), "pgmux": pooled.as_dict(), "connect": dsn}
                print(json.dumps(results, indent=2), flush=True)
            else:
                console.print(results_table(direct, pooled))
            if not once:
                stay(console, dsn, http)
    return demo.is_cured(pooled)


@contextmanager
def progress(console: Console, title: str) -> Iterator[demo.OnProgress]:
    """Two bars, connecting and working, moved by the callback that this yields."""
    columns = (TextColumn("{task.description:<35}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(what: str, done: float, total: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{title}: {what}", total=total)
            bars.update(tasks[what], completed=done)

        yield on_progress


def results_table(direct: demo.Outcome, pooled: demo.Outcome) -> Table:
    """The two runs beside each other."""
    table = Table(title=f"{direct.clients} clients, max_connections = {demo.MAX_CONNECTIONS}")
    table.add_column()
    table.add_column("straight at PostgreSQL", justify="right")
    table.add_column("through pgmux", justify="right")
    outcomes = (direct, pooled)

    def add(label: str, *values: object) -> None:
        table.add_row(label, *map(str, values))

    add("clients connected", *(o.connected for o in outcomes))
    for text in sorted(direct.refusals | pooled.refusals):
        add(f"refused: {text}", *(o.refusals[text] for o in outcomes))
    add("errors after connecting", *(o.errors.total() for o in outcomes))
    for text in sorted(direct.errors | pooled.errors):
        add(f"  {text}", *(o.errors[text] for o in outcomes))
    add("server connections, at most", *(o.servers for o in outcomes))
    add("transactions/s", *(f"{o.transactions_per_second:.0f}" for o in outcomes))
    for q in (0.50, 0.99):
        waits = (f"{o.wait_quantile(q) * 1000:.1f} ms" for o in outcomes)
        add(f"wait for a server, p{q * 100:.0f}", *waits)
    return table


def stay(console: Console, dsn: str, http: str) -> None:
    """Says how to connect and to look, and has applications work until Ctrl-C."""
    console.print(f"Connect: [bold]psql {dsn}[/bold]", soft_wrap=True)
    where = dsn.rpartition("/")[0]
    pgmux = "pgmux" if shutil.which("pgmux") else sys.argv[0]  # `make demo` has it off PATH
    console.print(f"Console: {pgmux} console -d {where} 'SHOW POOLS'", soft_wrap=True)
    console.print(f"Watch:   {pgmux} top -d {where}", soft_wrap=True)
    if http:
        console.print(f"Dashboard: [bold]http://{http}/[/bold]", soft_wrap=True)
    console.print("Ctrl-C ends it.")
    try:
        run_traffic(dsn)
    except KeyboardInterrupt:
        console.print("Stopping …")
