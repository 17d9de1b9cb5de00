"""What measuring a pool adds to a checkout and its checkin: `python -m bench.sqlalchemy_pools`.

Process CPU time, the least of many rounds, the kinds in turn; the driver is SQLite in memory, which
does next to nothing. With PROMETHEUS_MULTIPROC_DIR set to an empty directory: as in several
processes.
"""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import QueuePool

from pgmux_apps.sqlalchemy import setup_sqlalchemy_pool_metrics

ROUNDS = 60
CHECKOUTS = 1000  # a round


def make() -> Engine:
    """An engine whose connections cost nothing."""
    return create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(":memory:"), poolclass=QueuePool
    )


def run(engine: Engine) -> float:
    """Seconds of CPU for one checkout and its checkin."""
    start = time.process_time()
    for _ in range(CHECKOUTS):
        engine.raw_connection().close()
    return (time.process_time() - start) / CHECKOUTS


def main() -> None:
    """Prints a line a kind."""
    engines = {"not measured": make(), "measured": make(), "with the leak finder": make()}
    setup_sqlalchemy_pool_metrics(engines["measured"], "measured")
    setup_sqlalchemy_pool_metrics(engines["with the leak finder"], "leaks", leak_seconds=30)
    least = dict.fromkeys(engines, float("inf"))
    for _ in range(ROUNDS):
        for kind, engine in engines.items():
            least[kind] = min(least[kind], run(engine))
    for kind, seconds in least.items():
        print(f"{kind:<22}{seconds * 1e6:6.1f} µs")


if __name__ == "__main__":
    main()
