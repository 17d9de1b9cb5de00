"""What commands print: tables for people, JSON for programs. Nothing that others have named moves
a terminal's cursor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pgmux.ops.console.output import printable

__all__ = ["STYLES", "printable", "styled", "table", "terminal", "to_json"]

WIDTH_OF_FILES = 120  # characters, where no terminal says how wide it is
STYLES = {"note": "cyan", "warning": "yellow", "error": "bold red", "good": "green"}


def terminal(*, stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal, or as WIDTH_OF_FILES."""
    stream = sys.stderr if stderr else sys.stdout
    is_seen = stream is not None and stream.isatty()  # None: it is closed
    width = None if is_seen else WIDTH_OF_FILES
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | int | float | Text]],
    *,
    right: Iterable[str] = (),
    title: str | None = None,
) -> Table:
    """A table; the columns named in `right` are numbers. Long texts are folded, none is cut."""
    numbers = set(right)
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title)
    for name in columns:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    return made


def styled(text: str, style: str) -> Text:
    """A cell in the style of that name of STYLES, or in rich's own."""
    return Text(printable(text, keep="\n"), STYLES.get(style, style))


def _text(cell: str | int | float) -> str:
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else printable(cell, keep="\n")


def to_json(value: object) -> str:
    """Dataclasses as objects, enums by their text, sets in order."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
