"""What NullPool costs beside QueuePool: `DATABASE_URL=… python -m bench.sqlalchemy_engines`.

The engines that pgmux_apps makes of the environment, psycopg and psycopg2: a SELECT by primary key
in a transaction, from asking for a connection to giving it back; the median of five runs' means.
With USE_PGBOUNCER=false and a URL past the pooler: the last line of the table in
docs/apps/sqlalchemy.md. Makes a table of its own in the database, and drops it.
"""

from __future__ import annotations

import os
import statistics
import time

from sqlalchemy import Engine, create_engine, text

from pgmux_apps.sqlalchemy import get_db_connect_args, get_db_url, get_sqlalchemy_pool_config

RUNS = 5
SECONDS = 1.0  # a run
TABLE = "pgmux_bench_engines"


def make(driver: str, pool_class: str) -> Engine:
    """An engine as an application would have it."""
    environ = os.environ | {"DB_POOL_CLASS": pool_class}
    return create_engine(
        get_db_url(driver=driver),
        **get_sqlalchemy_pool_config(environ),
        connect_args=get_db_connect_args(driver=driver),
    )


def run(engine: Engine) -> float:
    """Seconds for one transaction."""
    query = text(f"SELECT value FROM {TABLE} WHERE id = :id")
    count, end = 0, 0.0
    start = time.perf_counter()
    while end < start + SECONDS:
        with engine.begin() as connection:
            connection.execute(query, {"id": 1 + count % 1000})
        count += 1
        end = time.perf_counter()
    return (end - start) / count


def main() -> None:
    """Prints a line an engine."""
    with make("psycopg", "nullpool").begin() as connection:
        connection.execute(text(f"DROP TABLE IF EXISTS {TABLE}"))
        connection.execute(
            text(f"CREATE TABLE {TABLE} AS SELECT id, id AS value FROM generate_series(1, 1000) id")
        )
        connection.execute(text(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (id)"))
    for pool_class in ("QueuePool", "NullPool"):
        for driver in ("psycopg", "psycopg2"):
            engine = make(driver, pool_class)
            median = statistics.median(run(engine) for _ in range(RUNS))
            print(f"{pool_class:<10}{driver:<10}{median * 1e3:6.2f} ms")
            engine.dispose()
    with make("psycopg", "nullpool").begin() as connection:
        connection.execute(text(f"DROP TABLE {TABLE}"))


if __name__ == "__main__":
    main()
