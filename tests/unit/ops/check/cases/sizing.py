"""SIZE002 to 005, 007: sizes that files alone tell."""

from __future__ import annotations

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.machine import MachineFacts, OpenFiles
from tests.unit.ops.check.cases.case import Case, config_of
from tests.unit.ops.check.cases.local import POOLED, compose, evidence, service

CONFIG = config_of(POOLED)
IDLE = config_of(POOLED + "client_idle_timeout = 600\n")


def database(keys: str, userlist: str = "") -> Evidence:
    text = f"[databases]\na = host=db {keys}\n[pgbouncer]\nauth_file = userlist.txt\n"
    return Evidence("pgbouncer.ini", config=config_of(text, userlist))


def descriptors(soft: int) -> Evidence:
    config = config_of(POOLED + "max_client_conn = 2000\n")
    files = OpenFiles(soft, 1 << 20, "pgbouncer, process 7", is_pooler=True)
    return Evidence("pgbouncer.ini", config=config, machine=MachineFacts(files))


def server(image: str, *lines: str) -> Evidence:
    config = config_of(POOLED + "default_pool_size = 100\n")
    return evidence(config, compose=compose(service("db", image, *lines)))


CASES = {
    "SIZE002": Case(
        bad=evidence(CONFIG, env="DB_POOL_SIZE=20\nDB_MAX_OVERFLOW=10\nWEB_CONCURRENCY=4\n"),
        good=evidence(CONFIG, env="DB_POOL_SIZE=5\nDB_MAX_OVERFLOW=10\nWEB_CONCURRENCY=4\n"),
        says=("(20 + 10) × 4 processes = 120", "max_client_conn = 100", ".env:1"),
    ),
    "SIZE003": Case(
        bad=database("pool_size=30 max_db_connections=20"),
        good=database("pool_size=15 max_db_connections=20", '"a" "x"\n"b" "x"\n'),
        says=("max_db_connections = 20", "30"),
    ),
    "SIZE004": Case(
        bad=descriptors(1024),
        good=descriptors(65536),
        says=("pgbouncer, process 7", "1024", "2012"),
    ),
    "SIZE005": Case(
        bad=evidence(IDLE, env="DB_POOL_RECYCLE=1800\n"),
        good=evidence(IDLE, env="DB_POOL_RECYCLE=300\n"),
        says=("DB_POOL_RECYCLE = 1800 s", "client_idle_timeout = 600 s"),
    ),
    "SIZE007": Case(
        bad=server("postgres:16"),
        good=server("postgres:16", "command: postgres -c max_connections=300"),
        says=("max_connections = 100", "the default of postgres:16"),
    ),
}
