"""The tables for a terminal, and as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from bench.measure import Measured
from bench.report.cells import CAPTION, DETAIL_CAPTION, Cells, comparison, details
from bench.report.machine import machine


def terminal_tables(results: Sequence[Measured], rounds: int) -> Group:
    """Both, for rich."""
    return Group(
        _table(comparison(results), machine(), _caption(results, rounds)),
        _table(details(results), "", DETAIL_CAPTION),
    )


def markdown_tables(results: Sequence[Measured], rounds: int) -> str:
    """Both, as they stand in a document."""
    first = f"{machine()}; {_caption(results, rounds)}:\n\n{_markdown(comparison(results))}"
    return f"{first}\n\n{DETAIL_CAPTION.capitalize()}:\n\n{_markdown(details(results))}"


def _caption(results: Sequence[Measured], rounds: int) -> str:
    yardstick = next(iter(results[0].samples))
    return CAPTION.format(yardstick=yardstick, rounds=rounds)


def _table(cells: Cells, title: str, caption: str) -> Table:
    headings, *lines = cells
    table = Table(title=title, caption=caption)
    for at, heading in enumerate(headings):
        table.add_column(escape(heading), justify="right" if at else "left")
    for line in lines:
        table.add_row(*map(escape, line))
    return table


def _markdown(cells: Cells) -> str:
    headings, *lines = cells
    rule = ["-", *["-:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [headings, rule, *lines])
