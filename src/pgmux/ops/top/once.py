"""`pgmux top --once` and `--json`: two readings of the console, and what came between them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.cells import cell_len
from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from pgmux.monitor.console import Console
from pgmux.monitor.rates import CounterKey, Rates, difference
from pgmux.monitor.sample import Sample, take_sample
from pgmux.ops.top import head
from pgmux.ops.top.panes import Pane
from pgmux.ops.top.table import Row, Table
from pgmux.ops.top.watch import Picture

_GAP = 2  # characters between columns
_UNBOUNDED = 1 << 12


async def take_picture(console: Console, interval: float) -> Picture:
    """Two samples, `interval` seconds apart. Raises: as `take_sample`."""
    try:
        older = await take_sample(console, time.monotonic())
        await asyncio.sleep(interval)
        newer = await take_sample(console, time.monotonic())
    finally:
        await console.close()
    return Picture(newer, difference(older, newer))


# For people


def render(picture: Picture, place: str, pane: Pane, width: int) -> RenderableType:
    """The head and one table, so wide at most; columns that don't fit are left out, and named."""
    notes = [head.not_told(picture.sample)]
    table: list[RenderableType] = []
    if pane.is_told(picture):
        content = pane.table(picture)
        drawn, left_out = _render_table(content, width)
        table = [Text(""), drawn]
        if left_out:
            notes.append(f"No room for: {', '.join(left_out)}")
    lines = [head.title(picture, place), head.work(picture), head.load(picture.sample)]
    return Group(*lines, *table, *(Text(note, "dim") for note in notes if note))


def print_picture(picture: Picture, place: str, pane: Pane) -> None:
    """To stdout: as wide as the terminal, or where there is none as the table is."""
    is_terminal = sys.stdout.isatty()
    width = None if is_terminal else _UNBOUNDED
    terminal = Terminal(width=width, highlight=False, markup=False, emoji=False)
    terminal.print(render(picture, place, pane, terminal.width))


def _render_table(table: Table, width: int) -> tuple[RenderableType, list[str]]:
    """The table, and the headings of the columns that it has no room for."""
    if not table.rows:
        return Text(table.empty), []
    rows = [_cells(table, row) for row in table.rows]
    drawn = RichTable.grid(padding=(0, _GAP, 0, 0))
    left, shown = width, 0
    for column, *cells in zip(table.columns, *rows, strict=True):
        left -= max(cell_len(column.title), *(cell.cell_len for cell in cells)) + _GAP
        if left < -_GAP:
            break
        drawn.add_column(justify="left" if column.is_text else "right", no_wrap=True)
        shown += 1
    titles = [column.title for column in table.columns]
    drawn.add_row(*(Text(title, "bold") for title in titles[:shown]))
    for row in rows:
        drawn.add_row(*row[:shown])
    return drawn, titles[shown:]


def _cells(table: Table, row: Row) -> list[Text]:
    pairs = zip(table.columns, row.values, strict=True)
    return [
        Text(column.show(value), head.ALARM if column.is_alarm and value else "")
        for column, value in pairs
    ]


# For programs


def to_json(picture: Picture) -> str:
    """The newer sample as objects, with the rates since the older one; times in seconds."""
    content = _sample(picture.sample)
    if picture.rates is not None:
        content["rates"] = _rates(picture.rates)
    return json.dumps(content, indent=2)


def _sample(sample: Sample) -> dict[str, Any]:
    content = asdict(sample)
    del content["taken_at"]  # of a clock that nobody else has
    content["not_told"] = sorted(sample.not_told)
    return content


def _rates(rates: Rates) -> dict[str, Any]:
    content = asdict(rates)
    content["databases"] = [
        {"database": name, **asdict(rate)} for name, rate in rates.databases.items()
    ]
    content["pools"] = [
        {"database": database, "user": user, **asdict(rate)}
        for (database, user), rate in rates.pools.items()
    ]
    for each in content["apps"]:
        row = each.pop("row")
        each.update({name: row[name] for name in ("database", "user", "application_name")})
    content["errors"] = _counts(rates.errors, ("database", "source", "sqlstate", "error"))
    content["connects"] = _counts(rates.connects, ("database", "side", "event", "reason"))
    return content


def _counts(counts: Mapping[CounterKey, int], names: CounterKey) -> list[dict[str, str | int]]:
    return [{**dict(zip(names, key, strict=True)), "count": count} for key, count in counts.items()]
