"""docs/tuning.md: its settings exist, PostgreSQL takes its example, its order of timeouts holds."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg
import pytest

from pgmux.config import params
from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.documents import ROOT
from tests.fixtures.pooler import MakePooler

TEXT = (ROOT / "docs/tuning.md").read_text(encoding="utf-8")
POOLERS = params.SETTINGS.keys() | params.DATABASE_KEYS.keys() | params.PGMUX_SETTINGS.keys()
# libpq's, SQLAlchemy's and psycopg_pool's
APPLICATIONS = {
    *("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("pool_timeout", "pool_recycle", "timeout"),
}


@pytest.fixture(scope="module")
def server_settings(postgres: EmbeddedPostgres) -> set[str]:
    return set(postgres.psql("SELECT name FROM pg_settings").split())


def test_every_setting_exists(server_settings: set[str]) -> None:
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", TEXT))
    assert len(named) > 40
    assert named - POOLERS - server_settings - APPLICATIONS == set()


@pytest.mark.parametrize("name", re.findall(r"PostgreSQL's `(\w+)`", TEXT))
def test_what_is_called_postgresqls_is(name: str, server_settings: set[str]) -> None:
    assert name in server_settings


@pytest.mark.parametrize("name", re.findall(r"pooler's `(\w+)`", TEXT))
def test_what_is_called_the_poolers_is(name: str) -> None:
    assert name in params.SETTINGS


def test_defaults_in_brackets_are_the_defaults(postgres: EmbeddedPostgres) -> None:
    for name, value in re.findall(r"`(\w+)` \((\d+)[):]", TEXT):
        if name in params.SETTINGS:
            assert params.SETTINGS[name].default == value, name
        elif name not in APPLICATIONS:
            query = f"SELECT boot_val FROM pg_settings WHERE name = '{name}'"
            assert postgres.psql(query).strip() == value, name


def test_postgresql_takes_the_example(postgres: EmbeddedPostgres) -> None:
    (example,) = re.findall(r"^```conf\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    for line in example.splitlines():
        name, _, value = line.partition(" = ")
        postgres.psql(f"ALTER SYSTEM SET {name} = {value}")  # judged, not applied
        postgres.psql(f"ALTER SYSTEM RESET {name}")


def test_a_query_that_postgresql_ends_leaves_the_connection_and_one_that_the_pooler_ends_not(
    pooler: MakePooler,
) -> None:
    made = pooler(settings={"query_timeout": 0.4})
    patient = made.dsn(options="-c statement_timeout=100ms")
    with closing(psycopg.connect(patient, autocommit=True)) as client:
        with pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(5)")
        assert client.execute("SELECT 'still here'").fetchone() == ("still here",)
    with closing(psycopg.connect(made.dsn(), autocommit=True)) as client:
        with pytest.raises(psycopg.OperationalError, match="query timeout"):
            client.execute("SELECT pg_sleep(5)")
        assert client.closed


def test_a_role_s_timeout_is_there_after_reconnect_and_no_sooner(
    pooler: MakePooler, postgres: EmbeddedPostgres
) -> None:
    postgres.psql("CREATE ROLE tuned LOGIN PASSWORD 'secret'")
    made = pooler(users={"tuned": "secret"})
    with closing(psycopg.connect(made.dsn("postgres", "tuned"), autocommit=True)) as client:
        shown = [client.execute("SHOW statement_timeout").fetchone()]
        postgres.psql("ALTER ROLE tuned SET statement_timeout = '9s'")
        shown.append(client.execute("SHOW statement_timeout").fetchone())
        made.console("RECONNECT")
        shown.append(client.execute("SHOW statement_timeout").fetchone())
    assert shown == [("0",), ("0",), ("9s",)]
    made.close()
    postgres.psql("DROP ROLE tuned")
