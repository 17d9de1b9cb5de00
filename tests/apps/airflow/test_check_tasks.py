"""AIR001: which tasks use the database, and which of them are in no pool for it."""

from __future__ import annotations

import textwrap

import pytest

from tests.apps.airflow.checking import Checker

IMPORTS = """
from airflow import DAG
from airflow.decorators import dag, task, task_group
from airflow.operators.python import PythonOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.utils.task_group import TaskGroup

def load():
    PostgresHook("db").run("select 1")
"""

WITHOUT_POOL = {
    "an SQL operator": 'SQLExecuteQueryOperator(task_id="t", sql="select 1", conn_id="db")',
    "an SQL operator in a DAG without default_args": """
        with DAG("d"):
            SQLExecuteQueryOperator(task_id="t", sql="select 1", conn_id="db")
        """,
    "the old PostgresOperator": """
        from airflow.providers.postgres.operators.postgres import PostgresOperator
        PostgresOperator(task_id="t", sql="select 1")
        """,
    "an operator by its module": """
        import airflow.providers.common.sql.operators.sql as sql
        sql.SQLColumnCheckOperator(task_id="t", conn_id="db", table="x", column_mapping={})
        """,
    "a sensor of SQL": """
        from airflow.providers.common.sql.sensors.sql import SqlSensor
        SqlSensor(task_id="t", conn_id="db", sql="select 1")
        """,
    "a transfer": """
        from airflow.providers.google.cloud.transfers.postgres_to_gcs import PostgresToGCSOperator
        PostgresToGCSOperator(task_id="t", sql="select 1", bucket="b", filename="f")
        """,
    "a transfer with one end elsewhere": """
        from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
        GenericTransfer(task_id="t", source_conn_id="mysql_x", destination_conn_id="db")
        """,
    "default_pool by name": 'SQLExecuteQueryOperator(task_id="t", sql="", pool="default_pool")',
    "pool=None": 'SQLExecuteQueryOperator(task_id="t", sql="", pool=None)',
    "another pool": 'SQLExecuteQueryOperator(task_id="t", sql="", pool="cpu_pool")',
    "a pool by a constant of another name": """
        POOL = "cpu_" + "pool"
        SQLExecuteQueryOperator(task_id="t", sql="", pool=POOL)
        """,
    "a mapped operator": 'SQLExecuteQueryOperator.partial(task_id="t").expand(sql=["a"])',
    "a PythonOperator": 'PythonOperator(task_id="t", python_callable=load)',
    "a PythonOperator over a lambda": 'PythonOperator(task_id="t", python_callable=lambda: load())',
    "a PythonOperator over partial()": """
        from functools import partial
        PythonOperator(task_id="t", python_callable=partial(load))
        """,
    "a PythonOperator over a method": """
        class Loader:
            def run(self):
                self.connect()
            def connect(self):
                return PostgresHook("db").get_records("select 1")
        PythonOperator(task_id="t", python_callable=Loader().run)
        """,
    "a PythonSensor": """
        from airflow.sensors.python import PythonSensor
        PythonSensor(task_id="t", python_callable=load)
        """,
    "a function under @task": """
        @task
        def t():
            load()
        """,
    "a function under airflow.sdk's @task": """
        from airflow.sdk import task as job
        @job(retries=2)
        def t():
            load()
        """,
    "a function under @task.branch": """
        @task.branch
        def t():
            load()
        """,
    "@task.sql, which always does": """
        @task.sql(conn_id="db")
        def t():
            return "select 1"
        """,
    "@setup": """
        from airflow.decorators import setup
        @setup
        def t():
            load()
        """,
    "task(f)": "task(load)()",
    "task(…)(f)": "task(retries=1)(load)()",
    "a @task that is overridden with another pool": """
        @task(pool="db_pool")
        def t():
            load()
        t.override(pool="cpu_pool")()
        """,
    "a @task in a pool in one of two places only": """
        @task
        def t():
            load()
        with DAG("a", default_args={"pool": "db_pool"}):
            t()
        with DAG("b"):
            t()
        """,
    "a mapped @task": """
        @task
        def t(x):
            load()
        t.partial().expand(x=[1])
        """,
    "psycopg2 under an alias": """
        @task
        def t():
            import psycopg2 as pg
            with pg.connect("dbname=x") as conn:
                conn.close()
        """,
    "asyncpg": """
        @task
        async def t():
            import asyncpg
            conn = await asyncpg.connect("postgresql://pooler:6432/x")
            await conn.close()
        """,
    "an engine of SQLAlchemy": """
        @task
        def t(url):
            from sqlalchemy import create_engine
            create_engine(url).dispose()
        """,
    "pandas with a URI": """
        import pandas as pd
        @task
        def t():
            pd.read_sql("select 1", "postgresql://u@pooler:6432/x")
        """,
    "a hook as a parameter": """
        @task
        def t(hook: PostgresHook):
            hook.run("select 1")
        """,
    "a class of the file made of an SQL operator": """
        class Load(SQLExecuteQueryOperator):
            pass
        Load(task_id="t", sql="select 1")
        """,
    "a class of the file that uses a hook": """
        from airflow.models import BaseOperator
        class Load(BaseOperator):
            def execute(self, context):
                load()
        Load(task_id="t")
        """,
    "a class whose pool is another": """
        class Load(SQLExecuteQueryOperator):
            def __init__(self, **kwargs):
                super().__init__(pool="cpu_pool", **kwargs)
        Load(task_id="t", sql="select 1")
        """,
    "a function that is handed on": """
        from concurrent.futures import ThreadPoolExecutor
        @task
        def t():
            with ThreadPoolExecutor() as executor:
                list(executor.map(load, [1, 2]))
        """,
    "an argument dictionary without a pool": """
        ARGS = {"owner": "me", "retries": 1}
        with DAG("d", default_args=ARGS):
            PythonOperator(task_id="t", python_callable=load)
        """,
    "a pool of another DAG": """
        with DAG("a", default_args={"pool": "db_pool"}):
            pass
        with DAG("b"):
            PythonOperator(task_id="t", python_callable=load)
        """,
    "a loop": """
        for name in ("a", "b"):
            SQLExecuteQueryOperator(task_id=f"load_{name}", sql="select 1")
        """,
}

SILENT = {
    "an operator with the pool": 'SQLExecuteQueryOperator(task_id="t", sql="", pool="db_pool")',
    "a pool by a constant": """
        POOL = "db_pool"
        SQLExecuteQueryOperator(task_id="t", sql="", pool=POOL)
        """,
    "a pool that the source doesn't show": """
        import os
        SQLExecuteQueryOperator(task_id="t", sql="", pool=os.environ["POOL"])
        """,
    "keyword arguments from elsewhere": """
        from company import settings
        SQLExecuteQueryOperator(task_id="t", sql="", **settings.TASK)
        """,
    "keyword arguments of a dictionary": """
        COMMON = {"pool": "db_pool"}
        SQLExecuteQueryOperator(task_id="t", sql="", **COMMON)
        """,
    "another database's operator": """
        from airflow.providers.mysql.operators.mysql import MySqlOperator
        MySqlOperator(task_id="t", sql="select 1")
        """,
    "another database's connection": """
        SQLExecuteQueryOperator(task_id="t", sql="", conn_id="snowflake_default")
        """,
    "another database's connection in default_args": """
        with DAG("d", default_args={"conn_id": "my_bigquery"}):
            SQLExecuteQueryOperator(task_id="t", sql="")
        """,
    "another database's hook": """
        from airflow.providers.mysql.hooks.mysql import MySqlHook
        @task
        def t():
            engine = MySqlHook("m").get_sqlalchemy_engine()
            MySqlHook("m").get_conn().cursor()
        """,
    "another database's URL": """
        from sqlalchemy import create_engine
        @task
        def t(password):
            create_engine(f"mysql+pymysql://u:{password}@h/x")
            create_engine("sqlite://")
        """,
    "operators about servers of PostgreSQL": """
        from airflow.providers.x import CreatePostgresInstanceOperator
        CreatePostgresInstanceOperator(task_id="t")
        """,
    "a PythonOperator without a database": """
        PythonOperator(task_id="t", python_callable=lambda: print("hello"))
        """,
    "a @task without a database": """
        @task
        def t():
            import requests
            return requests.get("https://example.org").json()
        """,
    "a function that nobody makes a task": "",
    "@task(pool=…)": """
        @task(pool="db_pool")
        def t():
            load()
        t()
        """,
    ".override(pool=…) at each call": """
        @task
        def t(x=1):
            load()
        t.override(pool="db_pool")()
        t.override(task_id="u", pool="db_pool").expand(x=[1])
        """,
    "default_args of the DAG": """
        with DAG("d", default_args={"pool": "db_pool"}):
            PythonOperator(task_id="t", python_callable=load)
        """,
    "default_args by name": """
        default_args = dict(owner="me", pool="db_pool")
        with DAG("d", default_args=default_args) as d:
            PythonOperator(task_id="t", python_callable=load)
        """,
    "default_args made of others": """
        BASE = {"pool": "db_pool"}
        with DAG("a", default_args={**BASE, "owner": "me"}):
            PythonOperator(task_id="t", python_callable=load)
        with DAG("b", default_args=BASE | {"owner": "me"}):
            PythonOperator(task_id="t", python_callable=load)
        with DAG("c", default_args=BASE.copy()):
            PythonOperator(task_id="t", python_callable=load)
        """,
    "default_args with the pool put in later": """
        args = {"owner": "me"}
        args["pool"] = "db_pool"
        with DAG("a", default_args=args):
            PythonOperator(task_id="t", python_callable=load)
        others = {}
        others.update(pool="db_pool")
        with DAG("b", default_args=others):
            PythonOperator(task_id="t", python_callable=load)
        """,
    "default_args out of a function": """
        def build_args():
            return {"pool": "db_pool"}
        with DAG("d", default_args=build_args()):
            PythonOperator(task_id="t", python_callable=load)
        """,
    "default_args of @dag": """
        @dag(default_args={"pool": "db_pool"})
        def d():
            @task
            def t():
                load()
            t()
            PythonOperator(task_id="u", python_callable=load)
        d()
        """,
    "default_args of a task group": """
        with DAG("d"), TaskGroup("g", default_args={"pool": "db_pool"}):
            PythonOperator(task_id="t", python_callable=load)
        @task_group(default_args={"pool": "db_pool"})
        def group():
            PythonOperator(task_id="u", python_callable=load)
        """,
    "dag=…": """
        d = DAG("d", default_args={"pool": "db_pool"})
        PythonOperator(task_id="t", python_callable=load, dag=d)
        """,
    "with a variable of a DAG": """
        d = DAG("d", default_args={"pool": "db_pool"})
        with d:
            PythonOperator(task_id="t", python_callable=load)
        """,
    "a DAG out of a function": """
        def build():
            return DAG("d", default_args={"pool": "db_pool"})
        with build():
            PythonOperator(task_id="t", python_callable=load)
        """,
    "a task out of a function that is called in the DAG": """
        def add_task(name):
            return PythonOperator(task_id=name, python_callable=load)
        with DAG("d", default_args={"pool": "db_pool"}):
            add_task("t")
        """,
    "a task out of a function that is given the DAG": """
        def add_task(dag):
            return PythonOperator(task_id="t", python_callable=load, dag=dag)
        add_task(DAG("d", default_args={"pool": "db_pool"}))
        """,
    "a pool that is set behind the task": """
        t = PythonOperator(task_id="t", python_callable=load)
        t.pool = "db_pool"
        """,
    "a mapped operator with the pool": """
        SQLExecuteQueryOperator.partial(task_id="t", pool="db_pool").expand(sql=["a"])
        """,
    "a class that sets the pool": """
        class Load(SQLExecuteQueryOperator):
            def __init__(self, *, pool="db_pool", **kwargs):
                super().__init__(pool=pool, **kwargs)
        class Loads(Load):
            pass
        class Others(SQLExecuteQueryOperator):
            def __init__(self, **kwargs):
                kwargs.setdefault("pool", "db_pool")
                super().__init__(**kwargs)
        Load(task_id="t")
        Loads(task_id="u")
        Others(task_id="v")
        """,
}


@pytest.mark.parametrize("text", WITHOUT_POOL.values(), ids=WITHOUT_POOL)
def test_a_database_task_without_its_pool_is_found(checker: Checker, text: str) -> None:
    found = checker.rules(IMPORTS + textwrap.dedent(text), "--select", "AIR001")
    assert found == ["AIR001"]


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT)
def test_a_task_in_its_pool_or_without_a_database_is_no_finding(
    checker: Checker, text: str
) -> None:
    assert checker.rules(IMPORTS + textwrap.dedent(text), "--select", "AIR001") == []


def test_each_of_several_pools_may_be_accepted(checker: Checker) -> None:
    text = IMPORTS + 'SQLExecuteQueryOperator(task_id="t", sql="", pool="etl")\n'
    assert checker.rules(text, "--pool", "db_pool", "--pool", "etl") == []
    assert checker.rules(text, "--pool", "db_pool,etl") == []


def test_helpers_are_followed_into_other_modules_of_the_folder(checker: Checker) -> None:
    files = {
        "d.py": """
            from airflow.decorators import task
            from lib import load_rows
            from lib.deep import other as o

            @task
            def one():
                load_rows()

            @task
            def two():
                o.read()

            @task
            def three():
                o.nothing()
            """,
        "lib/__init__.py": "from .rows import load_rows",
        "lib/rows.py": "from lib.deep.other import read\ndef load_rows():\n    return read()\n",
        "lib/deep/__init__.py": "",
        "lib/deep/other.py": """
            from airflow.providers.postgres.hooks.postgres import PostgresHook as H
            def read():
                return H("db").get_records("select 1")
            def nothing():
                return 1
            """,
    }
    assert checker.findings(files) == ["AIR001 d.py:6", "AIR001 d.py:10"]
    message = checker.run("dags", "--json").messages[0]
    assert "load_rows() → read() → PostgresHook (lib/deep/other.py:4)" in message


@pytest.mark.parametrize(
    "line",
    [
        "from dags.lib.db import load",  # the folder's parent is on sys.path
        "from .lib.db import load",
        "from lib.db import *",
        "import lib.db\nload = lib.db.load",
    ],
)
def test_a_module_of_the_folder_is_found_however_it_is_imported(
    checker: Checker, line: str
) -> None:
    files = {
        "d.py": f"from airflow.decorators import task\n{line}\n@task\ndef t():\n    load()\n",
        "lib/db.py": "import psycopg\ndef load():\n    psycopg.connect('').close()\n",
    }
    found = checker.findings(files, "--select", "AIR001")
    assert [each.split(":")[0] for each in found] == ["AIR001 d.py"]


def test_an_operator_class_of_another_module_is_a_task_of_the_database(checker: Checker) -> None:
    files = {
        "ops.py": """
            from airflow.sdk import BaseOperator
            from airflow.providers.postgres.hooks.postgres import PostgresHook
            class Base(BaseOperator):
                def execute(self, context):
                    PostgresHook("db").run("select 1")
            class Load(Base):
                pass
            class Print(BaseOperator):
                def execute(self, context):
                    print(1)
            """,
        "d.py": "import ops\nops.Load(task_id='t')\nops.Print(task_id='p')\n",
    }
    assert checker.findings(files) == ["AIR001 d.py:2"]


def test_the_pool_of_a_dag_in_another_file_covers_the_tasks_that_a_helper_makes(
    checker: Checker,
) -> None:
    helper = """
        from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
        def add_load(name):
            return SQLExecuteQueryOperator(task_id=name, sql="select 1")
        """
    dag = """
        from airflow import DAG
        from helper import add_load
        with DAG("d", default_args={ARGS}):
            add_load("t")
        """
    covered = dag.replace("{ARGS}", '{"pool": "db_pool"}')
    assert checker.findings({"helper.py": helper, "d.py": covered}) == []
    others = {"e.py": dag.replace("{ARGS}", "{}")}
    assert checker.findings(others) == ["AIR001 helper.py:4"]


def test_names_that_lead_in_circles_end(checker: Checker) -> None:
    files = {
        "a.py": """
            from airflow.decorators import task
            from b import x
            y = x
            args = args
            @task
            def t():
                return u(x)
            def u(v):
                return t(u)
            class C(C):
                pass
            C(task_id="t", pool=args)
            """,
        "b.py": "from a import y as x\nfrom a import *\n",
    }
    assert checker.findings(files) == []


def test_the_finding_names_the_task_and_says_what_to_do(checker: Checker) -> None:
    checker.write({"a.py": IMPORTS + 'PythonOperator(task_id="fill", python_callable=load)\n'})
    [found] = checker.run("dags", "--json", "--pool", "etl").json["findings"]
    assert found["task"] == "fill"
    assert (found["line"], found["column"]) == (11, 1)
    assert "PostgresHook (line 10)" in found["message"]
    assert 'pool="etl"' in found["advice"]
