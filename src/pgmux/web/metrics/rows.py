"""Rows of a SHOW to samples: some columns are labels, others values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgmux.monitor.console import Row
from pgmux.web.metrics.text import Family, Kind, Sample, labels, number

MICROSECONDS = 1_000_000  # in a second


@dataclass(frozen=True, slots=True)
class Column:
    """A column and the family that it becomes, with how many of its units are one of the
    family's."""

    column: str
    name: str
    help: str
    unit: int = 1


Labelled = Sequence[tuple[str, Row]]


def labelled(rows: Iterable[Row], columns: Mapping[str, str] | Sequence[str]) -> Labelled:
    """Each row with its labels; `columns` by the label's name where it isn't the same.

    Of rows with equal labels the first counts: Prometheus would refuse the second.
    """
    names = columns if isinstance(columns, Mapping) else {name: name for name in columns}
    found = {
        labels({label: row.get(column) or "" for label, column in names.items()}): row
        for row in reversed(list(rows))
    }
    return list(reversed(found.items()))


def families(rows: Labelled, kind: Kind, prefix: str, columns: Iterable[Column]) -> list[Family]:
    """A family for each column that the rows have."""
    return [
        Family(prefix + each.name, kind, each.help, samples(rows, each.column, each.unit))
        for each in columns
    ]


def samples(rows: Labelled, column: str, unit: int = 1) -> list[Sample]:
    """The column's values; a row without a number there has none."""
    return [
        (head, value) for head, row in rows if (value := number(row.get(column), unit)) is not None
    ]
