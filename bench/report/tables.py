"""The tables for a terminal, and as Markdown for docs/performance.md."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from bench.report.cells import CAPTION, DETAIL_CAPTION, SHORTER, Cells, comparison, details
from bench.report.data import Report


def terminal_tables(report: Report) -> Group:
    """Both, for rich."""
    return Group(
        _table(comparison(report.results), report.machine, _caption(report)),
        _table(details(report.results), "", DETAIL_CAPTION),
    )


def markdown_tables(report: Report) -> str:
    """Both, as they stand in a document."""
    first = f"{report.machine}; {_caption(report)}:\n\n{_markdown(comparison(report.results))}"
    return f"{first}\n\n{DETAIL_CAPTION.capitalize()}:\n\n{_markdown(details(report.results))}"


def _caption(report: Report) -> str:
    yardstick = next(iter(report.results[0].samples))
    caption = CAPTION.format(yardstick=yardstick, rounds=report.rounds)
    return caption + (SHORTER.format(seconds=report.seconds) if report.seconds < 1 else "")


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
