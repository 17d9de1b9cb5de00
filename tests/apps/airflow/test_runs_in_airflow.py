"""Tasks of a real Airflow run through pgmux, in the pool that `pgmux-airflow pool` sets."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.airflow import Airflow
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.frameworks

SLOTS = 2
TASKS = 6

DAGS = f"""
from datetime import datetime
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.postgres.hooks.postgres import PostgresHook
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow.decorators import task
    from airflow.models.dag import DAG

with DAG("etl", schedule=None, start_date=datetime(2026, 1, 1), default_args={{"pool": "db_pool"}}):
    make = SQLExecuteQueryOperator(
        task_id="make", conn_id="warehouse", sql="CREATE TABLE loaded (page int)"
    )

    @task
    def load():
        hook = PostgresHook("warehouse")
        hook.insert_rows("loaded", [(page,) for page in range(50)], ["page"], commit_every=5)
        return hook.get_first("SELECT count(*) FROM loaded")[0]

    make >> load()

with DAG(
    "many", schedule=None, start_date=datetime(2026, 1, 1), is_paused_upon_creation=False
):
    @task(pool="db_pool")
    def work(page):
        # now() is when the statement's transaction began, clock_timestamp() when its sleep was over
        PostgresHook("warehouse").run(
            "INSERT INTO spans SELECT now(), clock_timestamp() FROM pg_sleep(0.7)"
        )

    work.expand(page=list(range({TASKS})))
"""


@pytest.fixture(scope="module")
def ready(airflow: Airflow) -> Iterator[Airflow]:
    """Airflow with the DAGs, their pool, and a connection to the warehouse through pgmux."""
    airflow.write_dag("dags.py", DAGS)
    uri = airflow.front.dsn(f"{airflow.database}_warehouse").replace("postgresql", "postgres", 1)
    airflow.run("airflow", "connections", "add", "warehouse", "--conn-uri", uri)
    airflow.settings |= {"pgmux.policy": "enforce", "pgmux.direct_ports": "none"}
    airflow.run("pgmux-airflow", "pool", "--slots", str(SLOTS), "--set")
    airflow.run("airflow", "dags", "reserialize")
    yield airflow


def test_a_pool_is_advised_by_what_the_console_says(ready: Airflow) -> None:
    console = f"postgres@{ready.front.host}:{ready.front.port}"
    command = ("pgmux-airflow", "pool", "--name", "new", "--console", console)
    advised = ready.run(*command, fails=True).stdout
    assert "now:      no pool new" in advised
    assert "airflow pools set new 16 " in advised


def test_a_pool_that_is_set_is_right_and_a_changed_one_keeps_what_isnt_ours(
    ready: Airflow,
) -> None:
    assert "Nothing to change." in ready.run("pgmux-airflow", "pool", "--slots", str(SLOTS)).stdout
    ready.run("airflow", "pools", "set", "other", "3", "ours", "--include-deferred")
    ready.run("pgmux-airflow", "pool", "--name", "other", "--slots", "5", "--set")
    listed = ready.run("airflow", "pools", "list", "--output", "json").stdout.splitlines()[-1]
    pools = {pool["pool"]: pool for pool in json.loads(listed)}
    assert pools["db_pool"]["slots"] == str(SLOTS)
    assert (pools["other"]["slots"], pools["other"]["description"]) == ("5", "ours")
    assert pools["other"]["include_deferred"] == "True"


def test_advice_reads_the_settings_of_the_airflow_that_is_installed(ready: Airflow) -> None:
    done = ready.run(
        "pgmux-airflow", "advice", "--json", "--max-client-conn", "300",
        core__parallelism="7", core__max_active_runs_per_dag="1", fails=True,
    )  # fmt: skip
    rows = {row["setting"]: row for row in json.loads(done.stdout)}
    assert rows["db_pool slots"]["now"] == str(SLOTS)
    assert rows["parallelism"]["now"] == "7"
    assert rows["max_active_tasks_per_dag"]["advised"] == str(SLOTS)
    assert rows["max_active_runs_per_dag"]["verdict"] == "ok"


def test_a_dag_of_the_database_runs_through_the_pooler_with_the_policy_enforced(
    ready: Airflow, postgres: EmbeddedPostgres
) -> None:
    ready.run("airflow", "dags", "test", "etl", "2026-01-02")
    answer = postgres.psql("SELECT count(*) FROM loaded", dbname=f"{ready.database}_warehouse")
    assert answer.strip() == "50"


def test_of_many_tasks_postgresql_sees_at_most_the_pools_slots_at_once(
    ready: Airflow, postgres: EmbeddedPostgres
) -> None:
    warehouse = f"{ready.database}_warehouse"
    postgres.psql("CREATE TABLE spans (begun timestamptz, ended timestamptz)", dbname=warehouse)
    with scheduling(ready):
        ready.run("airflow", "dags", "trigger", "many")
        wait_until(lambda: state_of(postgres, ready.database, "many") in ("success", "failed"), 100)
    assert state_of(postgres, ready.database, "many") == "success"
    overlaps = """
        SELECT count(*), max((SELECT count(*) FROM spans b
                              WHERE b.begun <= a.begun AND b.ended > a.begun))
        FROM spans a
    """
    done, most = postgres.psql(overlaps, dbname=warehouse).strip().split("|")
    assert int(done) == TASKS
    assert int(most) <= SLOTS


def state_of(postgres: EmbeddedPostgres, database: str, dag: str) -> str:
    """The state of a DAG's only run; empty before there is one."""
    sql = f"SELECT state FROM dag_run WHERE dag_id = '{dag}'"
    return postgres.psql(sql, dbname=database).strip()


@contextmanager
def scheduling(airflow: Airflow) -> Iterator[None]:
    """What starts tasks: the scheduler, and in Airflow 3 the API that they ask."""
    port = find_free_port()
    settings: dict[str, object] = {
        "scheduler__scheduler_heartbeat_sec": 1,
        "core__parallelism": TASKS,
    }
    programs = ["scheduler"]
    if airflow.version == 3:
        programs = ["api-server", "scheduler"]
        settings |= {
            "api__port": port,
            "api__host": "127.0.0.1",
            "core__execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
            "api_auth__jwt_secret": secrets.token_hex(32),
        }
    with ExitStack() as stack:
        logs = [stack.enter_context(airflow.running(each, **settings)) for each in programs]
        try:
            yield
        except BaseException:
            for log in logs:
                print(f"== {log.name}\n{log.read_text()[-6000:]}")
            raise
