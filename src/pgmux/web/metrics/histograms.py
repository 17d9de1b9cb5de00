"""SHOW HISTOGRAMS as Prometheus's histograms: fewer buckets, cumulative, in seconds.

The console has four buckets to an octave. One that lies across a bound here is counted above it, so
a value may count as slower than a bound when it is up to a fifth faster, never the other way round.
Errors: none; what can't be read of a row is left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from pgmux.monitor.console import Row
from pgmux.web.metrics.rows import MICROSECONDS, labelled
from pgmux.web.metrics.text import Family, Kind, Sample

BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0),
)
_BOUNDS_US = [round(bound * MICROSECONDS) for bound in BOUNDS]
_LE = [*map(repr, BOUNDS), "+Inf"]

# `histogram` of the row, to name and meaning
_FAMILIES = {
    "wait": ("pgmux_wait_seconds", "How long clients waited for a server, 0 where one was free"),
    "xact": ("pgmux_transaction_seconds", "How long transactions took"),
    "query": ("pgmux_query_seconds", "How long queries took"),
}


def histogram_families(rows: Iterable[Row]) -> Iterator[Family]:
    """One of each kind, by database and user."""
    by_kind: dict[str, list[Row]] = {kind: [] for kind in _FAMILIES}
    for row in rows:
        by_kind.setdefault(row.get("histogram") or "", []).append(row)
    for kind, (name, help_) in _FAMILIES.items():
        samples: list[Sample] = []
        for head, row in labelled(by_kind[kind], ("database", "user")):
            samples += histogram_samples(head, row)
        yield Family(name, Kind.HISTOGRAM, help_, samples)


def histogram_samples(head: str, row: Row) -> list[Sample]:
    """Buckets, count and sum of one row; `head` is its labels."""
    try:
        counts = list(accumulate(read_buckets(row.get("buckets") or "")))
        total = float(row.get("sum") or 0) / MICROSECONDS
    except ValueError:
        return []
    begin = f"_bucket{head[:-1]},le="
    found = [(f'{begin}"{le}"}}', str(n)) for le, n in zip(_LE, counts, strict=True)]
    return [*found, (f"_count{head}", str(counts[-1])), (f"_sum{head}", repr(total))]


def read_buckets(text: str) -> list[int]:
    """How many values there are up to each of BOUNDS, and beyond. Raises: ValueError."""
    counts = [0] * len(_LE)
    for each in filter(None, text.split(",")):
        bound, _, count = each.partition(":")
        counts[bisect_left(_BOUNDS_US, float(bound))] += int(count)
    return counts
