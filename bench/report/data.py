"""Everything that was measured, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.measure import Measured, Row
from bench.report.machine import machine
from bench.workload import FIGURES


def as_json(results: Sequence[Measured], *, rounds: int, seconds: float) -> str:
    """Every sample, and the rows that were made of them; `figures` says what the keys mean."""
    what = {"machine": machine(), "rounds": rounds, "seconds": seconds, "figures": FIGURES}
    return json.dumps({**what, "results": [_as_dict(each) for each in results]}, indent=2)


def _as_dict(result: Measured) -> dict[str, object]:
    return {
        "load": result.workload.name,
        "rows": [_row(row) for row in result.rows()],
        "samples": result.samples,
        "peak_bytes": result.peaks,
        "failures": result.failures,
    }


def _row(row: Row) -> dict[str, object]:
    first, *others = row.measured.samples
    goal = row.quantity.goal
    return {
        "name": row.name,
        "figure": row.quantity.figure,
        "more_is_better": row.quantity.more_is_better,
        "goal": goal and {"limit": goal.limit, "is_ratio": goal.is_ratio},
        "median": {name: row.median(name) for name in (first, *others)},
        "ratios": {name: row.ratios(name) for name in others},
    }
