"""`python -m bench.micro.once SECONDS [NAME …]`: ns of each operation in the form that runs here.

As JSON; the parent (bench/micro/__main__.py) chooses the form by PGMUX_PURE.
"""

from __future__ import annotations

import json
import sys
from time import process_time
from timeit import Timer

from bench.micro.operations import OPERATIONS, Operation

_TRIALS = 20


def measure(operation: Operation, seconds: float) -> float:
    """ns of CPU of one of what the operation is called after; the collector is off meanwhile."""
    timer = Timer(operation.prepare(), timer=process_time)
    timer.timeit(_TRIALS)
    count = max(1, round(seconds * _TRIALS / timer.timeit(_TRIALS)))
    return 1e9 * timer.timeit(count) / count / operation.size


if __name__ == "__main__":
    names = sys.argv[2:]
    chosen = [each for each in OPERATIONS if each.name in names]
    print(json.dumps({each.name: measure(each, float(sys.argv[1])) for each in chosen}))
