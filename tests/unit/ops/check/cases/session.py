"""SESS: what belongs to a session, and a pool that gives each transaction another server."""

from __future__ import annotations

from tests.unit.ops.check.cases.case import Case, config_of
from tests.unit.ops.check.cases.local import POOLED, POOLER, compose, evidence, service, told

CONFIG = config_of(POOLED)
SESSION = config_of(POOLED.replace("transaction", "session"))
URL = "DATABASE_URL: postgresql://app:${P}@pgbouncer:6432/shop"
OPTIONS = "?options=-c%20statement_timeout%3D30s%20-c%20lock_timeout%3D5s"
PGMUX = service("pgbouncer", "registry/pgmux:1", "volumes: ['.:/etc/pgbouncer']")
IGNORING = config_of(POOLED + "ignore_startup_parameters = options\n")


def with_sql(sql: str) -> str:
    return compose(
        POOLER,
        service(
            "app", "shop:1", "environment:", f"  {URL}", f"  HIKARI_CONNECTION_INIT_SQL: {sql}"
        ),
    )


def sql_case(bad: str, good: str, *says: str) -> Case:
    return Case(
        bad=evidence(CONFIG, compose=with_sql(bad)),
        good=evidence(CONFIG, compose=with_sql(good)),
        says=says,
    )


def running(image: str, command: str) -> str:
    return compose(POOLER, service("it", image, f"command: {command}", "environment:", f"  {URL}"))


CASES = {
    "SESS001": Case(
        bad=evidence(IGNORING, compose=told(URL + OPTIONS)),
        good=evidence(IGNORING, compose=told(URL + OPTIONS, pooler=PGMUX)),
        says=("statement_timeout, lock_timeout", "are dropped", "PgBouncer 1.24.1", "ALTER ROLE"),
    ),
    "SESS002": sql_case("SET ROLE reporting", "SET LOCAL ROLE reporting", "SET ROLE", "INIT_SQL"),
    "SESS003": sql_case("SET search_path = a, b", "SELECT 1", "SET search_path"),
    "SESS004": sql_case(
        "SELECT pg_advisory_lock(7)", "SELECT pg_advisory_xact_lock(7)", "pg_advisory_lock"
    ),
    "SESS005": Case(
        bad=evidence(CONFIG, compose=running("shop", "procrastinate worker")),
        good=evidence(SESSION, compose=running("shop", "procrastinate worker")),
        says=("service it (procrastinate)", "LISTEN"),
    ),
    "SESS006": Case(
        bad=evidence(CONFIG, env="DISABLE_SERVER_SIDE_CURSORS=False\n"),
        good=evidence(CONFIG, env="DISABLE_SERVER_SIDE_CURSORS=True\n"),
        says=(".env:1", "iterator()"),
    ),
    "SESS007": Case(
        bad=evidence(CONFIG, compose=running("postgres:17", "pg_dump -h pgbouncer -p 6432 shop")),
        good=evidence(CONFIG, compose=running("postgres:17", "pg_dump -h db shop")),
        says=("service it runs pg_dump at pgbouncer:6432", "search_path"),
    ),
    "SESS008": sql_case(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SELECT 1", "CHARACTERISTICS"
    ),
}
