"""The console's rows of text -> the values of `tables`, each class by what its fields say.

Columns that a class doesn't have are passed over; a column by another name in older versions is
found by that. Errors: `UnreadableAnswer`, which names the table, the column and what stands there.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from operator import ge
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pgmux.errors import PgmuxError
from pgmux.monitor.tables import Buckets, Limits, Seconds

Row = dict[str, str | None]
T = TypeVar("T")

USEC = 1_000_000
# The names that columns had before: reserve_pool until 1.23; what was one cancel request once.
_FORMER_NAMES = {"reserve_pool_size": "reserve_pool", "cl_waiting_cancel_req": "cl_cancel_req"}
_SPLIT = frozenset(("maxwait", "wait"))  # seconds; the µs below a second are a column of their own
_INTEGER = re.compile(r" *-?[0-9]{1,30}\Z", re.ASCII)
_DECIMAL = re.compile(r" *-?[0-9]{1,30}(\.[0-9]*)?\Z", re.ASCII)
_BUCKETS = re.compile(r"[0-9]{1,20}:[0-9]{1,20}(?:,[0-9]{1,20}:[0-9]{1,20})*\Z", re.ASCII)
_SHOWN = 40  # characters of a value that an error repeats


class UnreadableAnswer(PgmuxError):
    """The console's answer isn't what a pooler's console says."""


def read_rows(table: str, kind: type[T], rows: Sequence[Row]) -> tuple[T, ...]:
    """The rows of SHOW `table`. Raises: UnreadableAnswer."""
    if not rows:
        return ()
    columns = _columns_of(kind)
    readers = [_find_column(table, column, rows[0]) for column in columns]
    try:
        return tuple(kind(*[read(row) for read in readers]) for row in rows)
    except (ValueError, KeyError):
        raise _find_fault(table, columns, rows) from None


def read_pairs(table: str, rows: Sequence[Row], name: str, value: str) -> dict[str, str]:
    """A table of names and values, as SHOW CONFIG and SHOW LISTS. Raises: UnreadableAnswer."""
    pairs = {}
    for row in rows:
        if row.get(name) is None or value not in row:
            raise UnreadableAnswer(f"SHOW {table}: a row without {name} or {value}")
        pairs[str(row[name])] = row[value] or ""
    return pairs


def read_counts(table: str, rows: Sequence[Row], name: str, value: str) -> dict[str, int]:
    """A table of names and counts. Raises: UnreadableAnswer."""
    pairs = read_pairs(table, rows, name, value)
    return {key: _read(table, key, text, _integer) for key, text in pairs.items()}


def read_limits(rows: Sequence[Row]) -> Limits:
    """What SHOW CONFIG says of limits. Raises: UnreadableAnswer."""
    settings = read_pairs("CONFIG", rows, "key", "value")
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(Limits).items():
        if name not in settings:
            raise UnreadableAnswer(f"SHOW CONFIG: there is no {name}")
        convert = _text if hint is str else _decimal if hint is Seconds else _integer
        values[name] = _read("CONFIG", name, settings[name], convert)
    return Limits(**values)


Convert = Callable[[str | None], Any]


@dataclass(frozen=True, slots=True)
class _Column:
    """How a field is read: of which column, and with what where there is none."""

    name: str
    convert: Convert
    default: Any


def _columns_of(kind: type[Any]) -> tuple[_Column, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _Column(field.name, _find_conversion(field.name, hints[field.name]), field.default)
        for field in fields(kind)
    )


def _find_conversion(name: str, hint: object) -> Convert:
    """How text becomes a value of that type."""
    if get_origin(hint) in (Union, types.UnionType):
        convert = _find_conversion(name, next(a for a in get_args(hint) if a is not type(None)))
        # SHOW USERS has empty text for "none set".
        is_text = convert is _text
        return lambda text: None if text is None or not (text or is_text) else convert(text)
    if hint is Seconds:
        return _decimal if name in _SPLIT else _microseconds
    return _CONVERSIONS[hint]


def _text(text: str | None) -> str:
    return text or ""


def _integer(text: str | None) -> int:
    if text is None or not _INTEGER.match(text):
        raise ValueError("not a whole number")
    return int(text)


def _decimal(text: str | None) -> float:
    if text is None or not _DECIMAL.match(text):
        raise ValueError("not a number")
    return float(text)


def _microseconds(text: str | None) -> float:
    return _decimal(text) / USEC


def _flag(text: str | None) -> bool:
    return _integer(text) != 0


def _buckets(text: str | None) -> tuple[tuple[int, int], ...]:
    """`8:120,10:3` -> ((8, 120), (10, 3)). Raises: ValueError."""
    if not text:
        return ()
    if not _BUCKETS.match(text):
        raise ValueError("not a list of upper_bound:count")
    numbers = list(map(int, text.replace(":", ",").split(",")))
    bounds = numbers[::2]
    if any(map(ge, bounds, bounds[1:])):
        raise ValueError("not in ascending order")
    return tuple(zip(bounds, numbers[1::2], strict=True))


_CONVERSIONS: dict[object, Convert] = {
    str: _text,
    int: _integer,
    bool: _flag,
    Buckets: _buckets,
}


def _find_column(table: str, column: _Column, row: Row) -> Callable[[Row], Any]:
    """What reads the column, of rows that are as this one. Raises: UnreadableAnswer."""
    convert = column.convert
    for name in (column.name, _FORMER_NAMES.get(column.name, column.name)):
        if name in row and name in _SPLIT:
            return lambda row: convert(row[name]) + _microseconds(row.get(f"{name}_us") or "0")
        if name in row:
            return lambda row: convert(row[name])
    if column.default is MISSING:
        raise UnreadableAnswer(f"SHOW {table}: there is no column {column.name}")
    return lambda row: column.default


def _find_fault(table: str, columns: Sequence[_Column], rows: Sequence[Row]) -> UnreadableAnswer:
    """Which value of which row it was that couldn't be read."""
    for number, row in enumerate(rows, 1):
        for column in columns:
            try:
                _find_column(table, column, row)(row)
            except ValueError as error:
                shown = _shorten(row.get(column.name))
                return UnreadableAnswer(
                    f"SHOW {table}: {column.name} of row {number} is {shown}: {error}"
                )
            except UnreadableAnswer as error:
                return error
    return UnreadableAnswer(f"SHOW {table}: rows of different columns")


def _read(table: str, name: str, text: str, convert: Callable[[str | None], T]) -> T:
    try:
        return convert(text)
    except ValueError as error:
        raise UnreadableAnswer(f"SHOW {table}: {name} is {_shorten(text)}: {error}") from None


def _shorten(text: str | None) -> str:
    if text is None:
        return "NULL"
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
