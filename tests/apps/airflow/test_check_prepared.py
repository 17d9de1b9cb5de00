"""AIR006: drivers that prepare statements, where the pooler tracks none."""

from __future__ import annotations

import textwrap

import pytest

from tests.apps.airflow.checking import Checker

IMPORTS = """
import asyncpg
import psycopg
import psycopg2
from airflow.models import Connection
from psycopg_pool import ConnectionPool
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
"""

PREPARING = {
    "psycopg": 'psycopg.connect("port=6432").close()',
    "psycopg with 0, which means at once": 'psycopg.connect("", prepare_threshold=0).close()',
    "psycopg's pool": 'ConnectionPool("port=6432")',
    "an engine of psycopg": 'create_engine("postgresql+psycopg://pooler:6432/x")',
    "an engine of asyncpg": 'create_async_engine("postgresql+asyncpg://pooler:6432/x")',
    "asyncpg": 'asyncpg.connect("postgresql://pooler:6432/x")',
    "an Airflow connection": 'Connection(conn_type="postgres", host="pooler", port=6432)',
    "an extra of something else": """
        Connection(conn_type="postgres", host="pooler", port=6432, extra='{"sslmode": "require"}')
        """,
    "an extra of 0": 'Connection(conn_type="postgres", extra=\'{"prepare_threshold": 0}\')',
}
SILENT = {
    "psycopg2": 'psycopg2.connect("port=6432").close()',
    "psycopg": 'psycopg.connect("port=6432", prepare_threshold=None).close()',
    "psycopg's pool": 'ConnectionPool("port=6432", kwargs={"prepare_threshold": None})',
    "an engine of psycopg": """
        OFF = {"prepare_threshold": None}
        create_engine("postgresql+psycopg://pooler:6432/x", connect_args=OFF)
        """,
    "an engine of psycopg2": 'create_engine("postgresql+psycopg2://pooler:6432/x")',
    "asyncpg": 'asyncpg.connect("postgresql://pooler:6432/x", statement_cache_size=0)',
    "an Airflow connection": """
        Connection(conn_type="postgres", extra='{"prepare_threshold": null}')
        """,
    "an Airflow connection with a dictionary": """
        Connection(conn_type="postgres", extra={"prepare_threshold": None})
        """,
    "another Airflow connection": 'Connection(conn_type="http", host="x")',
    "what the source doesn't show": """
        import settings
        psycopg.connect("port=6432", **settings.ARGS).close()
        create_engine("postgresql+psycopg://pooler:6432/x", connect_args=settings.ARGS)
        """,
}
NONE = ("--select", "AIR006", "--max-prepared-statements", "0")


@pytest.mark.parametrize("text", PREPARING.values(), ids=PREPARING)
def test_a_driver_that_prepares_is_found_where_the_pooler_tracks_nothing(
    checker: Checker, text: str
) -> None:
    text = IMPORTS + textwrap.dedent(text)
    assert checker.rules(text, *NONE) == ["AIR006"]
    assert checker.rules(text, "--select", "AIR006") == []


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT)
def test_a_driver_that_prepares_nothing_is_no_finding(checker: Checker, text: str) -> None:
    assert checker.rules(IMPORTS + textwrap.dedent(text), *NONE) == []


def test_an_env_files_connections_need_the_extra_too(checker: Checker) -> None:
    extra = "%7B%22prepare_threshold%22%3A+null%7D"
    text = f"""\
        AIRFLOW_CONN_A=postgres://app@pooler:6432/app
        AIRFLOW_CONN_B=postgres://app@pooler:6432/app?__extra__={extra}
        AIRFLOW_CONN_C='{{"conn_type": "postgres", "extra": {{"prepare_threshold": null}}}}'
        AIRFLOW_CONN_D='{{"conn_type": "postgres"}}'
        """
    found = checker.findings({"a.py": "", ".env": text}, *NONE)
    assert found == ["AIR006 .env:1", "AIR006 .env:4"]
    assert checker.findings({}, *NONE, "--airflow", "2") == []
