"""Everything that was measured, as JSON; and read from there again, to be shown otherwise.

Errors: `BenchError` for a file that isn't such JSON, or has a load that there isn't any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import BenchError
from bench.measure import Measured, Row
from bench.workload import FIGURES
from bench.workloads import WORKLOADS


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run: on which machine, and how long."""

    machine: str
    rounds: int
    seconds: float
    results: Sequence[Measured]


def as_json(report: Report) -> str:
    """Every sample, and the rows that were made of them; `figures` says what the keys mean."""
    what = {
        "machine": report.machine,
        "rounds": report.rounds,
        "seconds": report.seconds,
        "figures": FIGURES,
        "results": [_as_dict(each) for each in report.results],
    }
    return json.dumps(what, indent=2)


def read_json(text: str) -> Report:
    """What `as_json` wrote. Raises: BenchError."""
    loads = {workload.name: workload for workload in WORKLOADS}
    try:
        found: dict[str, Any] = json.loads(text)
        results = [
            Measured(loads[each["load"]], each["samples"], each["peak_bytes"], each["failures"])
            for each in found["results"]
        ]
        return Report(found["machine"], found["rounds"], found["seconds"], results)
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"this isn't what --json of this version writes: {error!r}") from None


def _as_dict(result: Measured) -> dict[str, object]:
    return {
        "load": result.workload.name,
        "rows": [_row(row) for row in result.rows()],
        "samples": result.samples,
        "peak_bytes": result.peaks,
        "failures": result.failures,
    }


def _row(row: Row) -> dict[str, object]:
    goal = row.quantity.goal
    return {
        "name": row.name,
        "figure": row.quantity.figure,
        "more_is_better": row.quantity.more_is_better,
        "goal": goal and {"limit": goal.limit, "is_ratio": goal.is_ratio},
        "median": {name: row.median(name) for name in row.measured.samples},
        "ratios": {name: row.ratios(name) for name in row.others()},
    }
