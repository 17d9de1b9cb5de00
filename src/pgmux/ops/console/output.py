"""Results as text: tables for a terminal, psql's own layout where no terminal reads it, JSON, CSV.

What scripts have made of `psql -c "SHOW POOLS"` they can make of the plain form: it is psql's, byte
for byte. Clients choose their application_name, so control characters never reach a terminal.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pgmux.ops.console.result import Column, Result, Row

NULL = "NULL"


class Format(Enum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def printable(text: str, keep: str = "") -> str:
    """The text with everything that could move a cursor written out; `keep` may stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}"


def to_json(result: Result) -> str:
    """A list of objects, one a row; numbers are numbers, NULL is null."""
    return json.dumps(result.as_objects(), indent=2)


def to_csv(result: Result) -> str:
    """A line of names, and one a row; NULL is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(column.name for column in result.columns)
    writer.writerows(result.rows)
    return file.getvalue().rstrip("\n")


def to_aligned(result: Result) -> str:
    """psql's table."""
    names = [printable(column.name) for column in result.columns]
    rows = [[_plain(text) for text in row] for row in result.rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
    lines = [
        "|".join(f" {_center(*pair)} " for pair in zip(names, widths, strict=True)),
        "+".join("-" * (width + 2) for width in widths),
    ]
    for row in rows:
        cells = [_pad(*each) for each in zip(row, widths, result.columns, strict=True)]
        if not result.columns[-1].is_number:
            cells[-1] = row[-1]  # nothing behind the last word of a line
        lines.append(" " + " | ".join(cells))
    count = len(rows)
    return "\n".join([*lines, f"({count} row{'' if count == 1 else 's'})", ""])


def to_expanded(result: Result) -> str:
    """psql's table in its expanded form."""
    if not result.rows:
        return "(0 rows)\n"
    names = [printable(column.name) for column in result.columns]
    rows = [[_plain(text) for text in row] for row in result.rows]
    name_width = max(map(cell_len, names))
    value_width = max(cell_len(text) for row in rows for text in row)
    rule = "-" * (name_width + 1) + "+" + "-" * (value_width + 1)
    lines = []
    for number, row in enumerate(rows, 1):
        title = f"-[ RECORD {number} ]"
        lines.append(title + rule[len(title) :])
        for name, text in zip(names, row, strict=True):
            lines.append(f"{name}{' ' * (name_width - cell_len(name))} | {text}")
    return "\n".join([*lines, ""])


def _plain(text: str | None) -> str:
    return "" if text is None else printable(text)


def _center(text: str, width: int) -> str:
    space = width - cell_len(text)
    return " " * (space // 2) + text + " " * (space - space // 2)


def _pad(text: str, width: int, column: Column) -> str:
    space = " " * (width - cell_len(text))
    return space + text if column.is_number else text + space


def to_table(result: Result) -> Table:
    """The table for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in result.columns:
        name = Text(printable(column.name))
        table.add_column(name, justify="right" if column.is_number else "left", no_wrap=True)
    for row in result.rows:
        table.add_row(*map(_cell, row))
    return table


def to_expanded_table(result: Result) -> RenderableType:
    """The expanded form for a terminal; long values are folded."""
    records = [_record(number, result.columns, row) for number, row in enumerate(result.rows, 1)]
    return Group(*records)


def _record(number: int, columns: Sequence[Column], row: Row) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for column, text in zip(columns, row, strict=True):
        table.add_row(Text(printable(column.name)), _cell(text))
    return Group(Text(f"--- {number} ---", style="dim"), table)


def _cell(text: str | None) -> Text:
    return Text(NULL, style="dim italic") if text is None else Text(printable(text))


@dataclass(frozen=True, slots=True)
class Style:
    """How results are to look; `expanded`: a line a column, also where a table would fit."""

    format: Format = Format.TABLE
    expanded: bool = False


def render_text(result: Result, style: Style) -> str:
    """For pipes and files: depends on nothing but the result. A command's tag is no data."""
    if style.format is Format.TABLE and not result.columns:
        return printable(result.tag)
    if not result.columns:
        return ""
    if style.format is Format.JSON:
        return to_json(result)
    if style.format is Format.CSV:
        return to_csv(result)
    return to_expanded(result) if style.expanded else to_aligned(result)


def render_rich(result: Result, style: Style, console: Console) -> RenderableType:
    """For a terminal of the console's width."""
    if style.format is not Format.TABLE or not result.columns:
        return Text(render_text(result, style))
    table = to_table(result)
    unbounded = console.options.update(max_width=1 << 16)
    is_wide = Measurement.get(console, unbounded, table).maximum > console.width
    shown = to_expanded_table(result) if style.expanded or is_wide else table
    count = len(result.rows)
    rows = Text(f"({count} row{'' if count == 1 else 's'})", style="dim")
    return Group(shown, rows)
