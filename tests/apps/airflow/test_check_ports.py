"""AIR003: connections whose port is the server's own."""

from __future__ import annotations

import textwrap

import pytest

from tests.apps.airflow.checking import Checker

DIRECT = {
    "a URI": 'URL = "postgresql://app:secret@db:5432/app"',
    "a URI of a driver": 'URL = "postgresql+asyncpg://app:secret@db:5432/app"',
    "the old scheme": 'URL = "postgres://app:secret@db:5432/app"',
    "a URI without a port": 'URL = "postgresql://app:secret@db/app"',
    "one of two hosts": 'URL = "postgresql://app:secret@pooler:6432,db:5432/app"',
    "an IPv6 address": 'URL = "postgresql://app:secret@[::1]:5432/app"',
    "a port among the parameters": 'URL = "postgresql:///app?host=db&port=5432"',
    "an f-string": 'def f(u, p):\n    return f"postgresql://{u}:{p}@db:5432/app"',
    "an f-string with the host hidden": 'def f(h):\n    return f"postgresql://u:p@{h}:5432/app"',
    "a sum": 'HOST = "db:5432"\nURL = "postgresql://app:secret@" + HOST + "/app"',
    "%": 'URL = "postgresql://%s:%s@db:5432/app" % ("app", "secret")',
    "format": 'URL = "postgresql://{}:{}@db:5432/app".format("app", "secret")',
    "psycopg2's keyword": "import psycopg2\ndef f():\n    psycopg2.connect(port=5432).close()",
    "its text": 'import psycopg2\ndef f():\n    psycopg2.connect(port="5432").close()',
    "a constant": """
        import psycopg2
        PORT = 5432
        def f():
            psycopg2.connect(host="db", port=PORT).close()
        """,
    "a dictionary": """
        import psycopg2
        DB = {"host": "db", "port": 5432}
        def f():
            psycopg2.connect(**DB).close()
        """,
    "a host without a port": 'import psycopg\ndef f():\n    psycopg.connect(host="db").close()',
    "key=value": 'import psycopg\ndef f():\n    psycopg.connect("host=db port=5432").close()',
    "an Airflow connection": """
        from airflow.models import Connection
        c = Connection(conn_id="x", conn_type="postgres", host="db", port=5432)
        """,
    "SQLAlchemy's URL": """
        from sqlalchemy import URL
        u = URL.create("postgresql+psycopg", host="db", port=5432)
        """,
    "an environment variable": """
        import os
        os.environ["AIRFLOW_CONN_DB"] = "postgres://app:secret@db:5432/app"
        """,
    "a connection as JSON": """
        import os
        os.environ["AIRFLOW_CONN_DB"] = '{"conn_type": "postgres", "host": "db", "port": 5432}'
        """,
}

SILENT = {
    "the pooler's port": 'URL = "postgresql://app:secret@pooler:6432/app"',
    "another database": 'URL = "mysql://app:secret@db:5432/app"',
    "a web address": 'URL = "https://example.org:5432/"',
    "a docstring": '"""As in postgresql://app:secret@db:5432/app."""',
    "a text about it": 'TEXT = "use postgresql://db:5432/app, or not"',
    "a template of an address": 'URL = "postgresql://user:password@host:port/database"',
    "a hidden host": 'def f(host):\n    return f"postgresql://u:p@{host}/app"',
    "a hidden port": 'def f(p):\n    return f"postgresql://u:p@db:{p}/app"',
    "a socket": 'URL = "postgresql:///app"',
    "a socket's folder": 'URL = "postgresql://%2Frun%2Fpg/app"',
    "an unreadable port": 'URL = "postgresql://db:54x2/app"',
    "a port of something else": 'import socket\nsocket.create_connection(("db", 5432))',
    "another call's keyword": "def serve(port):\n    pass\nserve(port=5432)",
    "a port of the environment": """
        import os, psycopg2
        def f():
            psycopg2.connect(host="db", port=os.environ["PGPORT"]).close()
        """,
    "a connection of another type": """
        from airflow.models import Connection
        c = Connection(conn_id="x", conn_type="mysql", host="db", port=5432)
        """,
}


@pytest.mark.parametrize("text", DIRECT.values(), ids=DIRECT)
def test_a_connection_past_the_pooler_is_found(checker: Checker, text: str) -> None:
    assert checker.rules(textwrap.dedent(text), "--select", "AIR003") == ["AIR003"]


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT)
def test_other_addresses_are_no_finding(checker: Checker, text: str) -> None:
    assert checker.rules(textwrap.dedent(text), "--select", "AIR003") == []


def test_which_ports_are_the_servers_own_can_be_said(checker: Checker) -> None:
    text = 'A = "postgresql://a:5432/x"\nB = "postgresql://b:6543/x"\nC = "postgresql://c/x"\n'
    checker.write({"a.py": text})
    found = checker.run("dags", "--json", "--direct-port", "6543").json["findings"]
    assert [each["line"] for each in found] == [2]
    found = checker.run("dags", "--json", "--direct-port", "6543,5432").json["findings"]
    assert [each["line"] for each in found] == [1, 2, 3]


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://app:s3cr3t@db:5432/app",
        "postgresql://app:s3cr3t@x@db:5432/app",
        "postgresql://app:s3cr3t/x@db:5432/app",
        "postgresql://app:s3cr3t#x@db:5432/app",
        "postgresql://app:s3cr3t?x@db:5432/app",
        "postgresql://app:5432s3cr3t:5432@db:5432/app",
        "postgresql://db:5432/app?user=app&password=s3cr3t",
    ],
)
@pytest.mark.parametrize("form", ["", "--json", "--sarif"])
def test_a_password_is_in_no_form_of_the_answer(checker: Checker, uri: str, form: str) -> None:
    checker.write({"a.py": f'URL = "{uri}"\nCONN = "{uri}"\n'})
    answer = checker.run("dags", *filter(None, [form]))
    assert "s3cr3t" not in answer.out + answer.err


def test_connections_of_an_env_file_in_the_folder_or_beside_it_are_looked_at(
    checker: Checker,
) -> None:
    text = """\
        # AIRFLOW_CONN_OLD=postgres://app:s3cr3t@db:5432/app
        AIRFLOW_CONN_A=postgres://app:s3cr3t@db:5432/app
        export AIRFLOW_CONN_B='postgres://app:s3cr3t@pooler:6432/app'
        AIRFLOW_CONN_C='{"conn_type": "postgres", "host": "db", "password": "s3cr3t"}'
        AIRFLOW_CONN_D=http://db:5432/
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=postgresql://airflow:s3cr3t@db:5432/airflow
        """
    files = {"a.py": "", ".env": text, "../.env": text}
    assert checker.findings(files) == [
        "AIR003 ../.env:2",
        "AIR003 ../.env:4",
        "AIR003 .env:2",
        "AIR003 .env:4",
    ]
    answer = checker.run("dags")
    assert "AIRFLOW_CONN_A goes to db, port 5432" in answer.out
    assert "s3cr3t" not in answer.out
