"""The policy plugin without Airflow: its section, the tasks it looks at, what it makes of them."""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pgmux_apps.airflow import connections, judge, policy_settings
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.connections import Connections
from pgmux_apps.airflow.policy_settings import Mode
from pgmux_apps.airflow.sources import Sources
from pgmux_apps.airflow.tasks import conn_ids_of, uses_of

CODE = '''\
import functools
from helpers import fetch

class PostgresHook:
    """Stands for Airflow's: only the source is looked at."""

def load(page):
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    PostgresHook(postgres_conn_id="warehouse").run("SELECT 1")

def both():
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    rows = PostgresHook().get_records("SELECT 1")
    PostgresHook("direct").insert_rows("t", rows)

def through_another_file():
    return fetch()

def nothing():
    return 1

def decorated(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)
    return inner

@decorated
def wrapped():
    return fetch()

anonymous = lambda: fetch()
'''

HELPERS = """\
from airflow.providers.postgres.hooks.postgres import PostgresHook

def fetch():
    return PostgresHook("lake").get_records("SELECT 1")
"""


class Violation(Exception):
    """Stands for AirflowClusterPolicyViolation."""


class NotFound(Exception):
    """Stands for AirflowNotFoundException."""


@pytest.fixture(autouse=True)
def airflows_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imported of Airflow to raise and to catch."""
    module = ModuleType("airflow.exceptions")
    vars(module).update(AirflowClusterPolicyViolation=Violation, AirflowNotFoundException=NotFound)
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.exceptions", module)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of functions that tasks run, and one beside it."""
    (tmp_path / "helpers.py").write_text(HELPERS.replace("from airflow", "if 0:\n    from airflow"))
    path = tmp_path / "dag_code.py"
    path.write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = importlib.util.spec_from_file_location("dag_code", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "helpers.py").write_text(HELPERS)
    yield module
    sys.modules.pop("helpers", None)


@dataclass(eq=False)
class Task:
    """An operator's attributes."""

    task_id: str = "load"
    pool: str = "default_pool"
    conn_id: Any = None
    python_callable: Callable[..., Any] | None = None
    task_type: str = "SQLExecuteQueryOperator"


@dataclass(eq=False)
class Dag:
    """A DAG's."""

    tasks: list[Any]
    fileloc: str = "/dags/absent.py"
    dag_id: str = "etl"
    tags: list[str] = field(default_factory=list)


def known(monkeypatch: pytest.MonkeyPatch, **found: tuple[str, int | None]) -> list[str]:
    """Airflow's connections: type and port. The ids that are asked for."""
    asked: list[str] = []

    def look_up(conn_id: str) -> Any:
        asked.append(conn_id)
        if conn_id not in found:
            raise NotFound
        return SimpleNamespace(conn_type=found[conn_id][0], port=found[conn_id][1])

    monkeypatch.setattr(connections, "_look_up", look_up)
    return asked


def held(dag: Dag, **section: str) -> None:
    """As Airflow calls the policy."""
    made = judge.Judge(section.get)
    made.begin(dag)
    for task in dag.tasks:
        made.look_at(task)


# The section


def test_the_section_has_defaults() -> None:
    found = policy_settings.read({"policy": "enforce"}.get)
    assert (found.mode, found.error) == (Mode.ENFORCE, None)
    assert found.policy == Policy(("db_pool",), (5432,), ("postgres",))


def test_lists_are_separated_by_commas() -> None:
    section = {"policy": "Warn", "pool": "a, b c ,", "direct_ports": "5432, 5433"}
    found = policy_settings.read((section | {"database_conn_types": "postgres,redshift"}).get)
    assert found.policy == Policy(("a", "b c"), (5432, 5433), ("postgres", "redshift"))
    assert policy_settings.read({"direct_ports": "none"}.get).policy.direct_ports == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy", "enforced"),
        ("pool", ""),
        ("direct_ports", "5432;5433"),
        ("direct_ports", "65536"),
        ("direct_ports", "٥٤٣٢"),
        ("database_conn_types", ","),
    ],
)
def test_nonsense_is_named_with_what_is_accepted(name: str, value: str) -> None:
    found = policy_settings.read({name: value}.get)
    assert found.error is not None
    assert found.error.startswith(f"[pgmux] {name} = {value!r}: ")
    assert "accepted" in found.error
    assert found.policy == Policy()


# Tasks


def test_connections_are_taken_from_an_operators_arguments_but_not_from_templates() -> None:
    task = SimpleNamespace(
        conn_id="one", source_conn_id="two", other_conn_id="{{ params.c }}", sql_conn_id=None, x="y"
    )
    assert [use.conn_id for use in conn_ids_of(task)] == ["one", "two"]


def test_a_mapped_operators_are_in_what_it_is_made_with() -> None:
    task = SimpleNamespace(
        partial_kwargs={"conn_id": "one"},
        expand_input=SimpleNamespace(value={"source_conn_id": ["two", "one"], "sql": ["x"]}),
    )
    assert [use.conn_id for use in conn_ids_of(task)] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "conn_ids"),
    [
        ("load", ["warehouse"]),
        ("both", ["postgres_default", "direct"]),
        ("through_another_file", ["lake"]),
        ("wrapped", ["lake"]),
        ("anonymous", ["lake"]),
        ("nothing", []),
    ],
)
def test_a_function_is_judged_by_its_source_and_what_it_calls(
    code: Any, name: str, conn_ids: list[str]
) -> None:
    sources = Sources(Policy())
    for function in (getattr(code, name), functools.partial(getattr(code, name), 1)):
        task = Task(python_callable=function)
        assert [use.conn_id for use in uses_of(task, sources)] == conn_ids


def test_a_function_without_a_file_says_nothing() -> None:
    scope: dict[str, Any] = {}
    exec("def load():\n    PostgresHook('x')", scope)  # as of a notebook or a zip file
    for function in (scope["load"], len, print, object()):
        assert list(uses_of(Task(python_callable=function), Sources(Policy()))) == []  # type: ignore[arg-type]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "dag.py"
    path.write_text("x = Operator(task_id='one')\n")
    sources = Sources(Policy())
    assert (sources.task_line(str(path), "one"), sources.task_line(str(path), "two")) == (1, None)
    path.write_text("\n\nx = Operator(task_id='two')\n")
    assert (sources.task_line(str(path), "one"), sources.task_line(str(path), "two")) == (None, 3)


# What becomes of them


def test_a_task_of_the_database_outside_of_the_pool_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known(monkeypatch, warehouse=("postgres", 6432))
    with pytest.raises(Violation, match=r'task load: AIR001 .*warehouse.*pool="db_pool"'):
        held(Dag([Task(conn_id="warehouse")]), policy="enforce")
    held(Dag([Task(conn_id="warehouse", pool="db_pool")]), policy="enforce")


@pytest.mark.parametrize(("port", "is_refused"), [(5432, True), (None, True), (6432, False)])
def test_a_connection_without_a_port_goes_where_libpq_goes(
    monkeypatch: pytest.MonkeyPatch, port: int | None, is_refused: bool
) -> None:
    known(monkeypatch, warehouse=("postgres", port))
    dag = Dag([Task(conn_id="warehouse", pool="db_pool")])
    if not is_refused:
        held(dag, policy="enforce")
        return
    with pytest.raises(Violation, match="AIR003 connection warehouse goes to port 5432"):
        held(dag, policy="enforce")


def test_connections_of_other_types_and_unknown_ones_are_nobodys_business(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known(monkeypatch, lake=("mysql", 5432))
    held(Dag([Task(conn_id="lake"), Task(conn_id="absent")]), policy="enforce")
    with pytest.raises(Violation):
        held(Dag([Task(conn_id="lake")]), policy="enforce", database_conn_types="mysql")


def test_all_of_a_dag_is_said_at_once_and_the_next_dag_begins_anew(
    monkeypatch: pytest.MonkeyPatch, code: Any
) -> None:
    known(monkeypatch, warehouse=("postgres", 6432))
    tasks = [Task(f"t{n}", conn_id="warehouse") for n in range(30)]
    made = judge.Judge({"policy": "enforce"}.get)
    dag = Dag([*tasks, Task("last", python_callable=code.load)])
    made.begin(dag)
    for task in dag.tasks[:-1]:
        made.look_at(task)
    with pytest.raises(Violation) as refused:
        made.look_at(dag.tasks[-1])
    assert str(refused.value).count("AIR001") == judge.MOST_SHOWN
    assert "and 11 more" in str(refused.value)
    made.begin(Dag([], dag_id="empty"))


def refusal(made: judge.Judge, dag: Dag) -> str:
    """What a DAG is refused with."""
    with pytest.raises(Violation) as refused:
        made.begin(dag)
        for task in dag.tasks:
            made.look_at(task)
    return str(refused.value)


def test_the_last_dag_of_a_file_says_what_those_before_it_had_as_airflow_keeps_its_error_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known(monkeypatch, warehouse=("postgres", 6432))
    path = tmp_path / "dags.py"
    path.write_text(
        "import psycopg2\nconnection = psycopg2.connect('port=6432')\nconnection.close()\n"
    )
    made = judge.Judge({"policy": "enforce"}.get)
    first = Dag([Task("load", conn_id="warehouse")], str(path), "first")
    last = Dag([Task("copy", conn_id="warehouse")], str(path), "last")
    lines = [
        "DAG last is against the database access policy:",
        f"  {path}:2: AIR002 at module level: psycopg2.connect() opens a connection.",
        f"  {path}: task copy: AIR001 SQLExecuteQueryOperator uses connection warehouse",
        "DAG first is against the database access policy:",
        f"  {path}: task load: AIR001 SQLExecuteQueryOperator uses connection warehouse",
        "  and 1 as above",
    ]
    for _ in range(2):  # also where the process reads the file again
        assert "DAG last" not in refusal(made, first)
        said = refusal(made, last).splitlines()
        assert len(said) == len(lines)
        assert [a for a, b in zip(said, lines, strict=True) if not a.startswith(b)] == []
    elsewhere = Dag([Task(conn_id="warehouse")], str(tmp_path / "other.py"), "elsewhere")
    assert "DAG first" not in refusal(made, elsewhere)


def test_a_dag_that_another_policy_stopped_half_way_leaves_nothing_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known(monkeypatch, warehouse=("postgres", 6432))
    made = judge.Judge({"policy": "enforce"}.get)
    stopped = Dag([Task(conn_id="warehouse"), Task("never looked at")])
    made.begin(stopped)
    made.look_at(stopped.tasks[0])
    right = Dag([Task(conn_id="warehouse", pool="db_pool")], dag_id="right")
    made.begin(right)
    made.look_at(right.tasks[0])


def test_warn_says_it_and_tags_that_dag_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known(monkeypatch, warehouse=("postgres", 5432))
    shared = ["team"]
    dag, other = Dag([Task(conn_id="warehouse")], tags=shared), Dag([Task()], tags=shared)
    with caplog.at_level(logging.WARNING):
        held(dag, policy="warn")
        held(other, policy="warn")
    assert dag.tags == ["team", "pgmux:AIR001", "pgmux:AIR003"]
    assert other.tags == ["team"]
    assert "DAG etl is against the database access policy" in caplog.text


def test_enforce_with_nonsense_in_the_section_refuses_every_dag() -> None:
    with pytest.raises(Violation, match=r"\[pgmux\] pool = ''"):
        held(Dag([Task()]), policy="enforce", pool="")


def test_a_mistake_of_ours_is_logged_once_and_lets_dags_pass(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(judge, "uses_of", broken)
    held(Dag([Task(), Task()]), policy="enforce")
    assert caplog.text.count("a mistake of the database access policy itself") == 1


# Connections


def test_each_connection_is_looked_up_once_also_one_that_there_isnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = known(monkeypatch, one=("postgresql", None))
    found = Connections()
    for _ in range(3):
        one = found.find("one")
        assert one is not None and (one.conn_type, one.port) == ("postgres", 5432)
        assert found.find("absent") is None
    assert asked == ["one", "absent"]


def test_a_metadata_database_that_is_away_costs_one_attempt_and_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def look_up(conn_id: str) -> Any:
        asked.append(conn_id)
        raise OSError("postgresql://user:very-secret@host is away")

    monkeypatch.setattr(connections, "_look_up", look_up)
    found = Connections()
    assert [found.find(name) for name in ("one", "two", "three")] == [None] * 3
    assert asked == ["one"]
    assert len(caplog.records) == 1
    assert "very-secret" not in caplog.text
