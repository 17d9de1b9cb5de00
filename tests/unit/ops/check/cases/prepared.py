"""PREP: statements that a driver prepares, and a pooler that loses them."""

from __future__ import annotations

from pgmux.ops.check.facts.machine import MachineFacts, OpenFiles
from tests.unit.ops.check.cases.case import Case, config_of
from tests.unit.ops.check.cases.local import POOLED, UNTRACKED, compose, evidence, service, told

OFF, ON = config_of(UNTRACKED), config_of(POOLED)
ASYNCPG = "DATABASE_URL: postgresql+asyncpg://app:${P}@pgbouncer:6432/shop"
OLD = MachineFacts(OpenFiles(1024, 4096, "this shell", is_pooler=False), libpq=15)
PSQL = ["command: psql -h pgbouncer -p 6432 -c 'PREPARE q AS SELECT 1'", "environment:"]
HOST = "  DATABASE_URL: postgresql://app@pgbouncer:6432/shop"

CASES = {
    "PREP001": Case(
        bad=evidence(OFF, env="USE_PGBOUNCER=true\nDB_PREPARE_THRESHOLD=0\n"),
        good=evidence(OFF, env="USE_PGBOUNCER=true\nDB_PREPARE_THRESHOLD=none\n"),
        says=("DB_PREPARE_THRESHOLD = 0", ".env:2", "max_prepared_statements = 0", "None"),
    ),
    "PREP002": Case(
        bad=evidence(OFF, compose=told(ASYNCPG)),
        good=evidence(OFF, compose=told(ASYNCPG + "?prepared_statement_cache_size=0")),
        says=("asyncpg", "DATABASE_URL", "compose.yaml:8"),
    ),
    "PREP003": Case(
        bad=evidence(OFF, compose=told(ASYNCPG + "?isolation_level=AUTOCOMMIT")),
        good=evidence(ON, compose=told(ASYNCPG + "?isolation_level=AUTOCOMMIT")),
        says=("AUTOCOMMIT",),
    ),
    "PREP004": Case(
        bad=evidence(ON, env="DB_PREPARE_THRESHOLD=5\n", machine=OLD),
        good=evidence(ON, env="DB_PREPARE_THRESHOLD=\n", machine=OLD),
        says=("15's libpq",),
    ),
    "PREP005": Case(
        bad=evidence(ON, compose=compose(service("job", "postgres-tools", *PSQL, HOST))),
        good=evidence(
            ON, compose=compose(service("job", "postgres-tools", "command: psql", *PSQL[1:], HOST))
        ),
        says=("PREPARE q AS", "service job"),
    ),
}
