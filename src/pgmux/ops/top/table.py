"""A table as values: columns, rows that can be sorted and filtered, and how a cell is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pgmux.ops.console.output import printable
from pgmux.ops.top.watch import PoolKey

Value = str | float | None


def text(value: str | None) -> str:
    """A name as it is; what could move a cursor is written out."""
    return printable(value or "")


def application(value: str | None) -> str:
    """An application's name, or that it has none."""
    return printable(value) if value else "(none)"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; where the value is found (attributes, of which one may be None); how it is shown.

    `is_alarm`: a value other than 0 wants attention. `needs`: the table that the console must have.
    """

    title: str
    path: str
    show: Callable[..., str] = text
    is_alarm: bool = False
    needs: str | None = None

    @property
    def is_text(self) -> bool:
        return self.show in (text, application)

    def value(self, item: object) -> Value:
        """Of one item; None where it isn't told."""
        found = item
        for name in self.path.split("."):
            found = getattr(found, name, None)
        return found if isinstance(found, str | int | float) else None


@dataclass(frozen=True, slots=True)
class Row:
    """`key` tells it from the others of its table; `pool` is the one that it can be opened for."""

    key: tuple[str, ...]
    values: tuple[Value, ...]
    pool: PoolKey | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in the order that says most; `empty` is what no rows mean."""

    columns: tuple[Column, ...]
    rows: Sequence[Row]
    empty: str


def make_row(
    columns: Iterable[Column], item: object, *key: object, pool: PoolKey | None = None
) -> Row:
    """The row of an item, known by what the key is made of."""
    return Row(tuple(map(str, key)), tuple(column.value(item) for column in columns), pool)


def sort_rows(table: Table, column: int | None, *, is_reversed: bool) -> list[Row]:
    """By one column, numbers from the highest and text from A; what isn't told comes last.

    None is the table's own order.
    """
    if column is None:
        return list(reversed(table.rows)) if is_reversed else list(table.rows)
    told = [row for row in table.rows if row.values[column] is not None]
    untold = [row for row in table.rows if row.values[column] is None]
    if table.columns[column].is_text:
        told.sort(key=lambda row: str(row.values[column]).lower(), reverse=is_reversed)
    else:
        told.sort(key=lambda row: float(row.values[column] or 0), reverse=not is_reversed)
    return told + untold


def filter_rows(table: Table, rows: Iterable[Row], wanted: str) -> list[Row]:
    """The rows that have the text in one of their columns of text, in any case."""
    if not wanted:
        return list(rows)
    columns = [number for number, column in enumerate(table.columns) if column.is_text]

    def is_wanted(row: Row) -> bool:
        shown = (table.columns[number].show(row.values[number]) for number in columns)
        return any(wanted.lower() in each.lower() for each in shown)

    return [row for row in rows if is_wanted(row)]
