"""A table of the console: its columns, and how rows become RowDescription and DataRow.

A getter takes a row of what `Table.rows` returns and answers a str or int, None for NULL. A row of
None is not shown, but a step of the answer: that it was looked at has taken its time.
Errors: PoolerError, fatal=False, for a Bind's formats. A row without the attribute is our bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any

from pgmux.admin.pooler import AdminPooler
from pgmux.admin.values import Type, find_encoder
from pgmux.errors import PoolerError
from pgmux.wire import build
from pgmux.wire.codes import FORMAT_BINARY, FORMAT_TEXT
from pgmux.wire.parse import Column

Getter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class TableColumn:
    name: str
    type: Type
    get: Getter


@dataclass(frozen=True, slots=True)
class Table:
    """What one SHOW returns; `rows` is called when it runs. Parameters, if it has any, are texts
    that nobody reads.
    """

    columns: tuple[TableColumn, ...]
    rows: Callable[[AdminPooler], Iterable[Any]]
    parameter_count: int = 0

    def formats(self, asked: Sequence[int] = ()) -> tuple[int, ...]:
        """One format code a column, from those of a Bind: none, one for all, or one each.

        Raises: PoolerError.
        """
        if len(asked) > 1 and len(asked) != len(self.columns):
            counts = f"{len(asked)} result formats but query has {len(self.columns)} columns"
            raise PoolerError(f"bind message has {counts}", fatal=False)
        for code in asked:
            if code not in (FORMAT_TEXT, FORMAT_BINARY):
                raise PoolerError(f"unsupported format code: {code}", fatal=False)
        return tuple(asked) if len(asked) > 1 else (*asked, FORMAT_TEXT)[:1] * len(self.columns)

    def row_description(self, formats: Sequence[int]) -> bytes:
        """The RowDescription; one format a column."""
        return build.build_row_description(
            [
                Column(column.name, column.type.oid, column.type.typlen, format_)
                for column, format_ in zip(self.columns, formats, strict=True)
            ]
        )

    def data_rows(self, pooler: AdminPooler, formats: Sequence[int]) -> Iterator[bytes]:
        """The DataRows of one moment, each built when it is asked for; empty for a row of None."""
        fields = [
            (column.get, find_encoder(column.type, format_))
            for column, format_ in zip(self.columns, formats, strict=True)
        ]
        for row in self.rows(pooler):
            if row is None:
                yield b""
                continue
            values = [(get(row), encode) for get, encode in fields]
            yield build.build_data_row([None if v is None else encode(v) for v, encode in values])


def attributes(type_: Type, names: str) -> tuple[TableColumn, ...]:
    """Columns whose values are the rows' attributes of the same names."""
    return tuple(TableColumn(name, type_, attrgetter(name)) for name in names.split())


def items(type_: Type, *names: str, at: int = 0) -> tuple[TableColumn, ...]:
    """Columns of rows that are tuples, from index `at` on."""
    return tuple(TableColumn(name, type_, itemgetter(i)) for i, name in enumerate(names, at))
