"""AIR: Airflow's connections."""

from __future__ import annotations

from tests.unit.ops.check.cases.case import Case, config_of
from tests.unit.ops.check.cases.local import POOLED, UNTRACKED, compose, evidence, service, told

CONFIG, OFF = config_of(POOLED), config_of(UNTRACKED)
IMAGE = "apache/airflow:3.1.0"
CONNECTION = "AIRFLOW_CONN_DB: postgres://etl:${P}@pgbouncer:6432/dwh"
METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN: postgresql+psycopg2://a:${P}@pgbouncer:6432/air"
NULL = """AIRFLOW_CONN_DB: '{"conn_type": "postgres", "host": "pgbouncer", "port": 6432,
        "schema": "dwh", "extra": {"prepare_threshold": null}}'"""


FOUR = ("scheduler", "triggerer", "api-server", "dag-processor")


def parallelism(number: int) -> str:
    setting = f"  AIRFLOW__CORE__PARALLELISM: {number}"
    return compose(service("airflow", IMAGE, "environment:", f"  {CONNECTION}", setting))


def components(*names: str) -> str:
    return compose(
        *(
            service(f"airflow-{name}", IMAGE, f"command: {name}", "environment:", f"  {METADATA}")
            for name in names
        )
    )


CASES = {
    "AIR003": Case(
        bad=evidence(CONFIG, env="AIRFLOW_CONN_DB=postgres://etl@db:5432/dwh\n"),
        good=evidence(CONFIG, env="AIRFLOW_CONN_DB=postgres://etl@pooler:6432/dwh\n"),
        says=("AIRFLOW_CONN_DB", "db:5432"),
    ),
    "AIR005": Case(
        bad=evidence(CONFIG, compose=components(*FOUR)),
        good=evidence(CONFIG, compose=components("scheduler", "triggerer", "celery worker")),
        says=("airflow-scheduler: (5 + 10) × 2 engines = 30", "up to 120", "max_client_conn = 100"),
    ),
    "AIR006": Case(
        bad=evidence(OFF, compose=told(CONNECTION, image=IMAGE)),
        good=evidence(OFF, compose=told(NULL, image=IMAGE)),
        says=("AIRFLOW_CONN_DB", "prepare_threshold"),
    ),
    "AIR007": Case(
        bad=evidence(CONFIG, compose=parallelism(64)),
        good=evidence(CONFIG, compose=parallelism(20)),
        says=("parallelism = 64", "20 servers"),
    ),
}
