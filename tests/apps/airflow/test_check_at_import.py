"""AIR002: what a DAG file does with the database while it is read."""

from __future__ import annotations

import textwrap

import pytest

from tests.apps.airflow.checking import Checker

IMPORTS = """
from typing import TYPE_CHECKING
import psycopg2 as pg
from airflow import DAG
from airflow.decorators import dag, task
from airflow.hooks.base import BaseHook
from airflow.models import Variable
from airflow.providers.postgres.hooks.postgres import PostgresHook
from sqlalchemy import create_engine
"""

FOUND = {
    "a hook": 'hook = PostgresHook("db")',
    "a hook in a class body": 'class A:\n    hook = PostgresHook("db")',
    "a hook in a DAG's block": 'with DAG("d"):\n    hook = PostgresHook("db")',
    "a hook in a condition": 'if True:\n    hook = PostgresHook("db")',
    "a hook in the body of @dag": '@dag()\ndef d():\n    hook = PostgresHook("db")',
    "a class of the file made of the hook": "class H(PostgresHook):\n    pass\nH('db')",
    "an engine": 'engine = create_engine("postgresql://pooler:6432/x")',
    "a connection": 'conn = pg.connect("port=6432")',
    "Variable.get": 'X = Variable.get("x")',
    "Variable.get in default_args": 'ARGS = {"email": Variable.get("mail", default_var="")}',
    "Variable.get as a default": 'def f(x=Variable.get("x")):\n    pass',
    "Variable.get in a decorator": '@task(retries=int(Variable.get("n")))\ndef t():\n    pass',
    "Variable.get in a comprehension": 'X = [Variable.get(n) for n in ("a", "b")]',
    "Variable.get in an f-string": "X = f\"{Variable.get('x')}/y\"",
    "Variable.get as a schedule": 'with DAG("d", schedule=Variable.get("s")):\n    pass',
    "Variable.get of airflow.sdk": 'from airflow.sdk import Variable as V\nX = V.get("x")',
    "Variable.get by module": 'import airflow.models as m\nX = m.Variable.get("x")',
    "Connection.get": 'from airflow.sdk import Connection\nC = Connection.get("db")',
    "BaseHook.get_connection": 'C = BaseHook.get_connection("db").host',
    "another hook's get_connection": """
        from airflow.providers.http.hooks.http import HttpHook
        C = HttpHook("x").get_connection("x")
        """,
    "a session of the metadata database": """
        from airflow.utils.session import create_session
        with create_session() as session:
            pass
        """,
    "a function that is called": """
        def connect():
            return pg.connect("port=6432")
        conn = connect()
        """,
    "a function that calls another": """
        def names():
            return read()
        def read():
            return Variable.get("names", deserialize_json=True)
        for name in names():
            pass
        """,
    "an operator whose __init__ does": """
        from airflow.models import BaseOperator
        class Load(BaseOperator):
            def __init__(self, **kwargs):
                self.hook = PostgresHook("db")
        Load(task_id="t", pool="db_pool")
        """,
    "one finding for what is nested": 'hook = PostgresHook(Variable.get("conn"))',
    "what stands behind a main block": """
        if __name__ == "__main__":
            pass
        X = Variable.get("x")
        """,
    "the other branch of TYPE_CHECKING": """
        if TYPE_CHECKING:
            X = ""
        else:
            X = Variable.get("x")
        """,
}

SILENT = {
    "a hook in a function": 'def f():\n    return PostgresHook("db")',
    "a hook in a task": '@task(pool="db_pool")\ndef t():\n    PostgresHook("db").run("")',
    "a lambda": 'f = lambda: Variable.get("x")',
    "a method": 'class A:\n    def f(self):\n        return Variable.get("x")',
    "the main block": 'if __name__ == "__main__":\n    print(Variable.get("x"))',
    "the type checker's block": 'if TYPE_CHECKING:\n    X = Variable.get("x")',
    "a template": 'X = "{{ var.value.x }} {{ conn.db.host }}"',
    "another Variable": 'import tkinter\nX = tkinter.Variable.get("x")',
    "a dictionary's get": 'names = {}\nX = names.get("x")',
    "another database's hook": """
        from airflow.providers.http.hooks.http import HttpHook
        hook = HttpHook("x")
        """,
    "another database's engine": 'engine = create_engine("sqlite:///x.db")',
    "a task that is called": """
        @task(pool="db_pool")
        def t():
            return Variable.get("x")
        with DAG("d"):
            t()
        """,
    "a function that is only handed over": """
        from airflow.operators.python import PythonOperator
        def f():
            return PostgresHook("db")
        PythonOperator(task_id="t", python_callable=f, pool="db_pool")
        """,
    "a hook's class as an annotation": "def f(hook: PostgresHook) -> None: ...",
}


@pytest.mark.parametrize("text", FOUND.values(), ids=FOUND)
def test_what_a_file_does_with_the_database_when_it_is_read_is_found(
    checker: Checker, text: str
) -> None:
    assert checker.rules(IMPORTS + textwrap.dedent(text), "--select", "AIR002") == ["AIR002"]


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT)
def test_what_runs_later_or_elsewhere_is_no_finding(checker: Checker, text: str) -> None:
    assert checker.rules(IMPORTS + textwrap.dedent(text), "--select", "AIR002") == []


def test_the_way_to_what_is_done_is_named(checker: Checker) -> None:
    files = {
        "d.py": "from lib.db import connect\nconn = connect()\n",
        "lib/db.py": "import psycopg\ndef connect():\n    return psycopg.connect('port=6432')\n",
    }
    checker.write(files)
    found = checker.run("dags", "--json", "--select", "AIR002").json["findings"]
    assert [each["file"] for each in found] == ["dags/d.py"]
    assert "connect() → (lib/db.py:3) psycopg.connect() opens a connection" in found[0]["message"]
