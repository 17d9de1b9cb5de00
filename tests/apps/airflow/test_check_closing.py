"""AIR004: connections that nothing closes."""

from __future__ import annotations

import textwrap

import pytest

from tests.apps.airflow.checking import Checker

IMPORTS = """
from contextlib import ExitStack, closing, contextmanager
import pandas as pd
import psycopg
import psycopg2
import sqlalchemy as sa
from airflow.providers.postgres.hooks.postgres import PostgresHook
"""

OPEN = {
    "a connection in a variable": 'conn = PostgresHook("db").get_conn()\nconn.cursor()',
    "a hook in a variable": 'hook = PostgresHook("db")\nconn = hook.get_conn()\nconn.commit()',
    "a cursor of it": 'cur = PostgresHook("db").get_conn().cursor()',
    "closing the cursor only": 'with closing(PostgresHook("db").get_conn().cursor()):\n    pass',
    "nothing at all": 'PostgresHook("db").get_conn()',
    "pandas, which doesn't": 'pd.read_sql("select 1", PostgresHook("db").get_conn())',
    "pandas, by keyword": 'pd.read_sql("select 1", con=PostgresHook("db").get_conn())',
    "pandas, by name": """
        conn = PostgresHook("db").get_conn()
        frame = pd.read_sql("select 1", con=conn)
        """,
    "to_sql": 'pd.DataFrame().to_sql("t", PostgresHook("db").get_conn())',
    "psycopg2's with": 'with psycopg2.connect("") as conn:\n    conn.cursor()',
    "psycopg2's with, later": 'conn = psycopg2.connect("")\nwith conn:\n    pass',
    "psycopg2 alone": 'conn = psycopg2.connect("")\nconn.cursor()',
    "psycopg alone": 'conn = psycopg.connect("")\nconn.execute("select 1")',
    "an engine's connection": 'conn = sa.create_engine("").connect()\nconn.execute("select 1")',
    "with and the wrong thing": 'conn = psycopg2.connect("")\nwith conn.cursor() as cur:\n    pass',
    "a walrus": 'if conn := psycopg.connect(""):\n    conn.cursor()',
    "an attribute": """
        class A:
            def open(self):
                self.conn = PostgresHook("db").get_conn()
            def read(self):
                return self.conn.cursor()
        """,
    "what a function returns": """
        def get():
            return PostgresHook("db").get_conn()
        def read():
            conn = get()
            return conn.cursor()
        """,
    "a hook as a parameter": """
        def read(hook: PostgresHook):
            conn = hook.get_conn()
            return conn.cursor()
        """,
    "a hook as an attribute": """
        class A:
            def __init__(self):
                self.hook = PostgresHook("db")
            def read(self):
                return self.hook.get_conn().cursor().fetchall()
        """,
}

CLOSED = {
    "closing": 'with closing(PostgresHook("db").get_conn()) as conn:\n    conn.cursor()',
    "closing, and a cursor": """
        with closing(PostgresHook("db").get_conn()) as conn, closing(conn.cursor()) as cur:
            pass
        """,
    "closing, later": 'conn = PostgresHook("db").get_conn()\nwith closing(conn):\n    pass',
    "close": 'conn = PostgresHook("db").get_conn()\nconn.close()',
    "finally": """
        conn = PostgresHook("db").get_conn()
        try:
            conn.cursor()
        finally:
            conn.close()
        """,
    "an exit stack": """
        with ExitStack() as stack:
            conn = stack.enter_context(closing(PostgresHook("db").get_conn()))
        """,
    "a callback": """
        with ExitStack() as stack:
            conn = PostgresHook("db").get_conn()
            stack.callback(conn.close)
        """,
    "psycopg's with": 'with psycopg.connect("") as conn:\n    pass',
    "an engine's with": 'with sa.create_engine("").connect() as conn:\n    pass',
    "run": 'PostgresHook("db").run("select 1")',
    "get_records": 'PostgresHook("db").get_records("select 1")',
    "get_cursor": 'with PostgresHook("db").get_cursor() as cur:\n    pass',
    "what is returned": 'def f():\n    return PostgresHook("db").get_conn()',
    "what is returned by name": """
        def f():
            conn = PostgresHook("db").get_conn()
            conn.autocommit = True
            return conn
        """,
    "what is handed on": """
        from company import use
        use(PostgresHook("db").get_conn())
        conn = PostgresHook("db").get_conn()
        use(conn=conn)
        """,
    "a context manager": """
        @contextmanager
        def connected():
            conn = PostgresHook("db").get_conn()
            try:
                yield conn
            finally:
                conn.close()
        def f():
            with connected() as conn:
                conn.cursor()
        """,
    "an attribute that is closed elsewhere": """
        class A:
            def open(self):
                self.conn = PostgresHook("db").get_conn()
            def close(self):
                self.conn.close()
        """,
    "another hook": """
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        conn = S3Hook("x").get_conn()
        def f(hook):
            return hook.get_conn().cursor()
        """,
}


@pytest.mark.parametrize("text", OPEN.values(), ids=OPEN)
def test_a_connection_that_nothing_closes_is_found(checker: Checker, text: str) -> None:
    found = checker.rules(IMPORTS + textwrap.dedent(text), "--select", "AIR004")
    assert found == ["AIR004"]


@pytest.mark.parametrize("text", CLOSED.values(), ids=CLOSED)
def test_a_connection_that_is_closed_or_given_away_is_no_finding(
    checker: Checker, text: str
) -> None:
    assert checker.rules(IMPORTS + textwrap.dedent(text), "--select", "AIR004") == []


def test_with_closes_a_hooks_connection_in_airflow_3_and_not_in_airflow_2(
    checker: Checker,
) -> None:
    text = IMPORTS + 'with PostgresHook("db").get_conn() as conn:\n    conn.cursor()\n'
    assert checker.rules(text, "--airflow", "3", "--select", "AIR004") == []
    assert checker.rules(text, "--airflow", "2", "--select", "AIR004") == ["AIR004"]
    [message] = checker.run("dags", "--json", "--airflow", "2", "--select", "AIR004").messages
    assert "psycopg2 connection ends the transaction and leaves it open" in message
