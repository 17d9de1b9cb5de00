"""What a command of the console has answered, as text and as typed values.

Types by OID, of those that the console uses: whole numbers (int2, int4, int8, numeric without a
point) are ints, other numbers floats, all else is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_INT8, _INT2, _INT4, _NUMERIC = 20, 21, 23, 1700
_FLOAT4, _FLOAT8 = 700, 701
_NUMBERS = frozenset((_INT2, _INT4, _INT8, _FLOAT4, _FLOAT8, _NUMERIC))

Row = tuple[str | None, ...]
Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type_oid: int

    @property
    def is_number(self) -> bool:
        return self.type_oid in _NUMBERS

    def value(self, text: str | None) -> Value:
        """The typed value; a number that can't be read as one stays text."""
        if text is None or not self.is_number:
            return text
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text


@dataclass(frozen=True, slots=True)
class Result:
    """Rows, or for a command without columns its tag alone."""

    tag: str
    columns: Sequence[Column] = ()
    rows: Sequence[Row] = ()

    def as_objects(self) -> list[dict[str, Value]]:
        """The rows by column, typed."""
        return [
            {
                column.name: column.value(text)
                for column, text in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]
