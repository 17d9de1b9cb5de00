"""Five deployments from the field: their pgbouncer.ini as it stands, hosts and paths aside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import psycopg2
import pytest
from psycopg.rows import dict_row

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.deployments.conftest import INI_FILES, Deploy
from tests.fixtures.waiting import wait_until

DJANGO = (
    "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000 -c lock_timeout=10000"
)


def one(dsn: str, sql: str) -> Any:
    """The first value of one query on a connection of its own."""
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        row = connection.execute(sql.encode()).fetchone()
        assert row is not None
        return row[0]


def test_django_crm_has_its_timeouts_in_every_session(
    deploy: Deploy, server: EmbeddedPostgres
) -> None:
    # The file's userlist has an empty password, for a server that trusts localhost; ours doesn't.
    crm = deploy("django-crm", postgres=server.password)
    assert crm.warnings() == []
    timeouts = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")
    for _ in range(3):
        with closing(psycopg2.connect(crm.dsn("crm_db"), options=DJANGO)) as django:
            cursor = django.cursor()
            shown = []
            for name in timeouts:
                cursor.execute(f"SHOW {name}")
                shown.append(cursor.fetchone())
            assert shown == [("30s",), ("1min",), ("10s",)]
        assert one(crm.dsn("crm_db"), "SHOW statement_timeout") == "0"  # the same server
    (server_row,) = crm.show("SERVERS", "postgres")
    assert server_row["database"] == "crm_db"


def test_django_crm_takes_more_clients_than_the_server_has_connections(
    deploy: Deploy, server: EmbeddedPostgres
) -> None:
    crm = deploy("django-crm", postgres=server.password)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(closing(psycopg.connect(crm.dsn("crm_db"), autocommit=True)))
            for _ in range(250)  # max_connections of the run's PostgreSQL is 200
        ]
        for client in clients:
            client.pgconn.send_query(b"SELECT 1")
        for client in clients:
            result = client.pgconn.get_result()
            assert result is not None
            assert result.get_value(0, 0) == b"1"
    assert 1 <= len(crm.show("SERVERS", "postgres")) <= 40


def test_mt5_trading_with_a_pool_in_front_of_the_pool(
    deploy: Deploy, server: EmbeddedPostgres
) -> None:
    secret = "md5" + one(server.dsn(), "SELECT md5('secret' || 'trader')")
    trading = deploy("mt5-trading", trader=secret)
    assert trading.warnings() == []
    dsn = trading.dsn("mt5_trading", "trader", "secret")
    with ExitStack() as stack:
        # SQLAlchemy's QueuePool keeps its connections; here they take a server for a transaction
        tier = [
            stack.enter_context(closing(psycopg2.connect(dsn, application_name="mt5")))
            for _ in range(30)
        ]
        for connection in tier:
            cursor = connection.cursor()
            cursor.execute("SELECT current_user, current_setting('application_name')")
            assert cursor.fetchone() == ("trader", "mt5")
            connection.rollback()
    console = trading.dsn("pgbouncer", "trader", "secret")
    with closing(psycopg.connect(console, autocommit=True, row_factory=dict_row)) as admin:
        with closing(psycopg.connect(dsn)):  # min_pool_size needs a client
            wait_until(lambda: len(admin.execute(b"SHOW SERVERS").fetchall()) == 10)
        pool = next(
            row
            for row in admin.execute(b"SHOW DATABASES").fetchall()
            if row["name"] == "mt5_trading"
        )
        assert (pool["pool_size"], pool["min_pool_size"]) == (25, 10)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(trading.dsn("mt5_trading", "trader", "wrong"))


def test_profcomff_with_its_plaintext_userlist(deploy: Deploy) -> None:
    users = re.findall(r'"(\w+)" "(\w+)"', (INI_FILES / "profcomff.userlist.txt").read_text())
    assert users == [("admin", "password123"), ("user", "password")]
    profcomff = deploy("profcomff", **dict(users))
    assert profcomff.warnings() == []
    for user, password in users:
        assert one(profcomff.dsn("db", user), "SELECT current_user") == user
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(profcomff.dsn("db", user, password + "!"))
    with pytest.raises(psycopg.OperationalError, match="no such database: postgres"):
        psycopg.connect(profcomff.dsn("postgres", "admin"))


def test_timescale_airflow_with_scram_secrets_passed_through(
    deploy: Deploy, server: EmbeddedPostgres
) -> None:
    secret = server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'okx_admin'").strip()
    assert secret.startswith("SCRAM-SHA-256$")
    airflow = deploy("timescale-airflow", okx_admin=secret)
    assert airflow.warnings() == []
    dsn = airflow.dsn("okx_hft", "okx_admin", "secret")
    assert one(dsn, "SELECT current_user") == "okx_admin"
    assert one(dsn, "SELECT current_database()") == "okx_hft"
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(airflow.dsn("okx_hft", "okx_admin", "wrong"))


AUTH_SETUP = """
    CREATE SCHEMA pgbouncer;
    CREATE FUNCTION pgbouncer.user_lookup(in_name text, OUT usename text, OUT passwd text)
    RETURNS record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
    $$ SELECT usename, passwd FROM pg_shadow WHERE usename = in_name $$;
    REVOKE ALL ON FUNCTION pgbouncer.user_lookup(text) FROM public;
    GRANT USAGE ON SCHEMA pgbouncer TO pgbouncer_auth;
    GRANT EXECUTE ON FUNCTION pgbouncer.user_lookup(text) TO pgbouncer_auth;
"""


@pytest.fixture
def auth_setup(server: EmbeddedPostgres) -> Iterator[None]:
    """The deployment's auth_setup.sql, and the user of one of its services."""
    server.psql("CREATE ROLE pgbouncer_auth LOGIN PASSWORD 'hex'")
    server.psql("CREATE ROLE dashboard LOGIN PASSWORD 'dash'")
    server.psql(AUTH_SETUP, "tracksolid_db")
    yield
    server.psql("DROP SCHEMA pgbouncer CASCADE", "tracksolid_db")
    server.psql("DROP ROLE pgbouncer_auth")
    server.psql("DROP ROLE dashboard")


@pytest.mark.usefixtures("auth_setup")
def test_timescale_stack_with_its_session_alias(deploy: Deploy) -> None:
    stack = deploy("timescale-stack", pgbouncer_auth="hex")
    assert stack.warnings() == []
    dsn, session_dsn = (
        stack.dsn(database, "dashboard", "dash")
        for database in ("tracksolid_db", "tracksolid_db_session")
    )
    assert one(dsn, "SELECT current_user") == "dashboard"
    assert one(dsn, "SELECT current_database()") == "tracksolid_db"
    with closing(psycopg.connect(session_dsn, autocommit=True)) as session:
        session.execute("CREATE TEMP TABLE mine AS SELECT 1")
        assert session.execute("SELECT count(*) FROM mine").fetchone() == (1,)
    with closing(psycopg.connect(dsn, options="-c statement_timeout=5s")) as client:
        assert client.execute("SHOW statement_timeout").fetchone() == ("5s",)
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        psycopg.connect(stack.dsn("tracksolid_db", "dashboard", "wrong"))
    assert stack.show("POOLS", "pgbouncer_auth")


@pytest.mark.usefixtures("auth_setup")
def test_timescale_stack_with_the_scram_secret_that_its_readme_copies(
    deploy: Deploy, server: EmbeddedPostgres
) -> None:
    secret = server.psql("SELECT passwd FROM pg_shadow WHERE usename = 'pgbouncer_auth'").strip()
    stack = deploy("timescale-stack", pgbouncer_auth=secret)
    dsn = stack.dsn("tracksolid_db_session", "dashboard", "dash")
    # A SCRAM secret proves nothing to the server, as with PgBouncer ...
    with pytest.raises(psycopg.OperationalError, match="wrong password type"):
        psycopg.connect(dsn)
    said = next(line for line in stack.log().splitlines() if "did not provide SCRAM keys" in line)
    assert " ERROR S-0x" in said
    # ... until auth_user has logged in itself, to any database.
    own = stack.dsn("tracksolid_db", "pgbouncer_auth", "hex")
    assert one(own, "SELECT current_user") == "pgbouncer_auth"
    wait_until(lambda: _gets_in(dsn))


def _gets_in(dsn: str) -> bool:
    try:
        return bool(one(dsn, "SELECT current_user") == "dashboard")
    except psycopg.OperationalError:
        return False  # server_login_retry
