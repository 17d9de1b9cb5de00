"""Columns of the console's tables that aren't just an attribute of their rows.

Seconds become µs here, as PgBouncer shows them; a flag is 0 or 1. Errors: none.
"""

from __future__ import annotations

from operator import attrgetter

from pgmux.admin.table import Getter, TableColumn
from pgmux.admin.values import Type

TEXT, INT4, NUMERIC = Type.TEXT, Type.INT4, Type.NUMERIC
USEC = 1_000_000


def whole(name: str) -> TableColumn:
    """A flag as 0 or 1, seconds without their fraction."""
    get = attrgetter(name)
    return TableColumn(name, INT4, lambda row: int(get(row)))


def usec(name: str) -> Getter:
    get = attrgetter(name)
    return lambda row: round(get(row) * USEC)


def wait(name: str) -> tuple[TableColumn, TableColumn]:
    """A time as two columns: its seconds, and its µs below a second."""
    get = usec(name)
    return (
        TableColumn(name, INT4, lambda row: get(row) // USEC),
        TableColumn(f"{name}_us", INT4, lambda row: get(row) % USEC),
    )


def pointer(name: str) -> TableColumn:
    get = attrgetter(name)
    return TableColumn(name, TEXT, lambda row: "" if get(row) is None else f"{get(row):#x}")


def size(name: str) -> TableColumn:
    """A size of SHOW USERS: text, right-aligned, empty where nothing is set."""
    get = attrgetter(name)
    return TableColumn(name, TEXT, lambda row: "" if get(row) is None else f"{get(row):9d}")


def times(names: str) -> tuple[TableColumn, ...]:
    """Seconds, in µs."""
    return tuple(TableColumn(name, NUMERIC, usec(name)) for name in names.split())
