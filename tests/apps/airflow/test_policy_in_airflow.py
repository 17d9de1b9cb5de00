"""The policy plugin in a real Airflow, 2 and 3: off, warn, enforce, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.airflow import Airflow

pytestmark = pytest.mark.frameworks

IMPORTS = """\
from datetime import datetime
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.postgres.hooks.postgres import PostgresHook
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow.decorators import task
    from airflow.models.dag import DAG
"""

CLEAN = """
with DAG("clean", schedule=None, start_date=datetime(2026, 1, 1), tags=["mine"]):
    SQLExecuteQueryOperator(
        task_id="count", conn_id="pooled", sql="SELECT 1", pool="db_pool"
    )
    SQLExecuteQueryOperator(task_id="elsewhere", conn_id="lake", sql="SELECT 1")

    @task
    def nothing():
        return 1

    nothing()
"""

LOOSE = """
def fetch():
    return PostgresHook("pooled").get_records("SELECT 1")

with DAG("loose", schedule=None, start_date=datetime(2026, 1, 1)):
    SQLExecuteQueryOperator(
        task_id="count", conn_id="pooled", sql="SELECT 1"
    )
    SQLExecuteQueryOperator(task_id="past", conn_id="direct", sql="SELECT 1", pool="db_pool")

    @task
    def load(page):
        return fetch()

    load.expand(page=[1, 2])

with DAG("beside", schedule=None, start_date=datetime(2026, 1, 1)):
    @task
    def innocent():
        return 1

    innocent()
"""

AT_IMPORT = """
ROWS = PostgresHook("pooled")

with DAG("at_import", schedule=None, start_date=datetime(2026, 1, 1)):
    @task
    def nothing():
        return 1

    nothing()
"""

CONNECTIONS = {
    "pooled": "postgres://etl:very-secret@pooler:6432/etl",
    "direct": "postgres://etl:very-secret@server/etl",  # no port: libpq's 5432
    "lake": "mysql://etl:very-secret@server:5432/etl",
}

LOAD = """
import json, logging, os, sys
from pathlib import Path

import airflow.settings

class Kept(logging.Handler):
    def emit(self, record):
        said.append([record.levelname, record.getMessage()])

said = []
logging.getLogger("pgmux_apps").addHandler(Kept())
if os.environ.get("BROKEN"):
    import pgmux_apps.airflow.judge
    def broken(*_):
        raise RuntimeError("a bug")
    pgmux_apps.airflow.judge.uses_of = broken
folder = Path(os.environ["AIRFLOW_HOME"], "dags")
try:
    from airflow.dag_processing.dagbag import BundleDagBag
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
except ImportError:
    from airflow.models.dagbag import DagBag
    bag = DagBag(folder)
dags = {dag.dag_id: sorted(dag.tags) for dag in bag.dags.values()}
ours = sorted(name for name in sys.modules if name.startswith("pgmux_apps"))
errors = {Path(file).name: text for file, text in bag.import_errors.items()}
print()
print(json.dumps({"dags": dags, "errors": errors, "said": said, "ours": ours}))
"""


@pytest.fixture(scope="module")
def loaded(airflow: Airflow) -> Iterator[Airflow]:
    """Airflow with three files of DAGs, and their connections in its metadata database."""
    airflow.write_dag("clean.py", IMPORTS + CLEAN)
    airflow.write_dag("loose.py", IMPORTS + LOOSE)
    airflow.write_dag("at_import.py", IMPORTS + AT_IMPORT)
    for name, uri in CONNECTIONS.items():
        airflow.run("airflow", "connections", "add", name, "--conn-uri", uri)
    yield airflow


def load(airflow: Airflow, **settings: object) -> Any:
    """What a process that loads the DAGs makes of them."""
    return airflow.python(LOAD, **{f"pgmux__{name}": value for name, value in settings.items()})


def line_of(text: str, part: str) -> int:
    return 1 + (IMPORTS + text)[: (IMPORTS + text).index(part)].count("\n")


def test_while_it_is_off_dags_load_as_ever_and_nothing_of_it_is_imported(loaded: Airflow) -> None:
    for settings in ({}, {"policy": "off"}, {"policy": "False", "direct_ports": "nonsense"}):
        found = load(loaded, **settings)
        assert found["dags"] == {"clean": ["mine"], "loose": [], "beside": [], "at_import": []}
        assert found["errors"] == {}
        assert found["said"] == []
        assert found["ours"] == ["pgmux_apps", "pgmux_apps.airflow", "pgmux_apps.airflow.policy"]


def test_warn_loads_everything_and_says_what_to_write_and_tags_the_dag(loaded: Airflow) -> None:
    found = load(loaded, policy="warn")
    assert found["errors"] == {}
    assert found["dags"] == {
        "clean": ["mine"],
        "loose": ["pgmux:AIR001", "pgmux:AIR003"],
        "beside": [],
        "at_import": ["pgmux:AIR002"],
    }
    assert [level for level, _ in found["said"]] == ["WARNING", "WARNING"]
    text = "\n".join(message for _, message in found["said"])
    assert "very-secret" not in text
    loose = loaded.dags / "loose.py"
    count, fetch = line_of(LOOSE, "SQLExecuteQueryOperator("), line_of(LOOSE, "def load")
    assert f"{loose}:{count}: task count: AIR001" in text
    assert f"{loose}:{fetch}: task load: AIR001" in text
    assert 'pool="db_pool"' in text
    assert "task past: AIR003 connection direct goes to port 5432" in text
    assert f"{loaded.dags / 'at_import.py'}:{line_of(AT_IMPORT, 'ROWS')}: AIR002" in text


def test_enforce_refuses_the_dags_that_break_it_and_no_other(loaded: Airflow) -> None:
    found = load(loaded, policy="enforce")
    assert sorted(found["dags"]) == ["beside", "clean"]
    assert sorted(found["errors"]) == ["at_import.py", "loose.py"]
    refused = found["errors"]["loose.py"]
    assert refused.startswith("AirflowClusterPolicyViolation: DAG loose is against")
    assert "task count: AIR001" in refused
    assert "task load: AIR001" in refused
    assert "task past: AIR003" in refused
    assert "very-secret" not in refused


def test_other_pools_and_ports_are_accepted_where_they_are_named(loaded: Airflow) -> None:
    found = load(loaded, policy="enforce", pool="other, default_db", direct_ports="none")
    assert "one of other, default_db" in found["errors"]["clean.py"]
    assert "AIR003" not in found["errors"]["loose.py"]


def test_nonsense_in_the_section_stops_what_enforce_was_promised_for(loaded: Airflow) -> None:
    found = load(loaded, policy="enforce", direct_ports="5432;5433")
    assert found["dags"] == {}
    assert all(
        "[pgmux] direct_ports = '5432;5433': port numbers from 1 to 65535" in text
        for text in found["errors"].values()
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("direct_ports", "lots", "[pgmux] direct_ports = 'lots'"),
        ("policy", "enforced", "[pgmux] policy = 'enforced': off, warn and enforce are accepted"),
        ("pool", ",", "[pgmux] pool = ','"),
    ],
)
def test_nonsense_without_enforce_is_one_error_in_the_log(
    loaded: Airflow, name: str, value: str, said: str
) -> None:
    found = load(loaded, **({"policy": "warn"} | {name: value}))
    assert len(found["dags"]) == 4
    errors = [message for level, message in found["said"] if level == "ERROR"]
    assert len(errors) <= 1  # said as Airflow starts: before this test listens
    assert all(said in error for error in errors)


def test_a_mistake_of_the_policy_itself_is_said_once_and_lets_dags_pass(
    loaded: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = LOAD.replace('os.environ.get("BROKEN")', "True")
    found = loaded.python(broken, pgmux__policy="enforce")
    assert {"clean", "beside"} <= set(found["dags"])
    errors = [message for level, message in found["said"] if level == "ERROR"]
    assert len(errors) == 1
    assert "a mistake of the database access policy itself" in errors[0]


def test_a_cluster_policy_that_sets_the_pool_itself_is_seen(loaded: Airflow) -> None:
    folder = loaded.home / "config"
    folder.mkdir()
    path = folder / "airflow_local_settings.py"
    path.write_text("def task_policy(task):\n    task.pool = 'db_pool'\n")
    try:
        found = load(loaded, policy="enforce")
    finally:
        path.unlink()
    assert "AIR001" not in found["errors"]["loose.py"]
    assert "AIR003" in found["errors"]["loose.py"]


def test_the_commands_of_airflow_show_the_violation(loaded: Airflow) -> None:
    settings = {"pgmux__policy": "enforce"}
    if loaded.version == 3:
        # its parsers ask for connections by the process that started them
        loaded.run("airflow", "dag-processor", "--num-runs", "1", **settings)
    command = ("airflow", "dags", "list-import-errors", "--output", "json")
    shown = loaded.run(*command, fails=True, **settings).stdout
    assert "task past: AIR003 connection direct goes to port 5432" in shown
