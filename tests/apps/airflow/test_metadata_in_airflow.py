"""Airflow's own connections through pgmux: migrations in transaction mode, prepared statements."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.airflow import Airflow
from tests.fixtures.pooler import MakePooler, Pooler

pytestmark = pytest.mark.frameworks

EARLIER = {2: "2.10.0", 3: "3.1.0"}


def test_the_metadata_database_migrates_through_a_transaction_pool_and_leaves_no_lock(
    airflow: Airflow, postgres: EmbeddedPostgres
) -> None:
    version = "SELECT version_num FROM alembic_version"
    newest = postgres.psql(version, dbname=airflow.database)
    airflow.run("airflow", "db", "downgrade", "--to-version", EARLIER[airflow.version], "--yes")
    assert postgres.psql(version, dbname=airflow.database) != newest
    airflow.run("airflow", "db", "migrate")
    assert postgres.psql(version, dbname=airflow.database) == newest
    # Airflow's own are of the session, taken and given back in one transaction
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert postgres.psql(locks, dbname=airflow.database) == "0"
    assert airflow.front.console("SHOW POOLS")[0]["cl_active"] == 0


@pytest.fixture
def untracked(pooler: MakePooler, postgres: EmbeddedPostgres) -> Pooler:
    """A pooler that tracks no prepared statements; each transaction gets another server."""
    front = pooler(
        settings={
            "max_prepared_statements": 0,
            "default_pool_size": 2,
            "server_round_robin": 1,
        }
    )
    open_two_servers(front, "postgres")
    return front


def open_two_servers(front: Pooler, database: str) -> None:
    """Two transactions at once; from then on they take turns."""
    dsn = front.dsn(database)
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        one.execute("SELECT 1")
        other.execute("SELECT 1")


HOOK = """
    import json
    from airflow.providers.postgres.hooks.postgres import PostgresHook, USE_PSYCOPG3
    hook = PostgresHook("warehouse")
    try:
        connection = hook.get_conn()
        for page in range(20):
            with connection.cursor() as cursor:
                cursor.execute("SELECT %s::int", (page,))
            connection.commit()
        said = ""
    except Exception as error:
        said = str(error).splitlines()[0]
    print(json.dumps([USE_PSYCOPG3, said]))
"""


def test_a_hook_of_psycopg_3_needs_a_null_where_the_pooler_tracks_no_statements(
    airflow: Airflow, untracked: Pooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "postgres",
        "host": untracked.host,
        "port": untracked.port,
        "login": "postgres",
        "password": untracked.server.password,
        "schema": "postgres",
    }
    for extra in ({}, {"prepare_threshold": None}):
        value = json.dumps(connection | {"extra": extra})
        monkeypatch.setitem(airflow.variables, "AIRFLOW_CONN_WAREHOUSE", value)
        is_psycopg3, said = airflow.python(HOOK)
        assert is_psycopg3 is (airflow.version == 3)
        if is_psycopg3 and not extra:
            assert "prepared statement" in said
        else:
            assert said == ""


ASYNC_ENGINE = """
    import asyncio, json
    import airflow.settings
    from sqlalchemy import text

    async def main():
        try:
            async with airflow.settings.async_engine.connect() as connection:
                for page in range(5):
                    await connection.execute(text("SELECT count(*) FROM dag"))
                    await connection.commit()
            return ""
        except Exception as error:
            return str(error).splitlines()[0]
        finally:
            await airflow.settings.async_engine.dispose()

    print(json.dumps(asyncio.run(main())))
"""

ARGUMENTS = """
connect_args_async = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
"""


def test_airflow_3s_async_engine_needs_no_caches_where_the_pooler_tracks_no_statements(
    airflow: Airflow, untracked: Pooler
) -> None:
    if airflow.version == 2:
        pytest.skip("Airflow 2 has none")
    settings = {
        "database__sql_alchemy_conn": untracked.dsn(airflow.database).replace(
            "postgresql:", "postgresql+psycopg2:"
        )
    }
    open_two_servers(untracked, airflow.database)
    assert "prepared statement" in airflow.python(ASYNC_ENGINE, **settings)
    (airflow.home / "config").mkdir(exist_ok=True)
    (airflow.home / "config/airflow_local_settings.py").write_text(ARGUMENTS)
    settings["database__sql_alchemy_connect_args_async"] = (
        "airflow_local_settings.connect_args_async"
    )
    assert airflow.python(ASYNC_ENGINE, **settings) == ""
