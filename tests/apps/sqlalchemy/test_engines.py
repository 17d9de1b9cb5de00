"""Engines made of the environment's settings, by every driver, through pgmux, PgBouncer and direct.

The poolers have two servers for two connections, which are made to change between them: what one
connection prepared is not where it runs next, and what another prepared is.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux_apps.sqlalchemy import get_db_connect_args, get_db_url, get_sqlalchemy_pool_config
from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.tools import require_pgbouncer
from tests.fixtures.waiting import wait_until

Environ = Mapping[str, str]
DRIVERS = ["psycopg", "psycopg2", "psycopg_async", "asyncpg"]
FRONTS = ["pgmux", "pgbouncer", "direct"]
ROLE = "role of @settings/é"
PASSWORD = "p@ss:w/o?r#d% &+=\\'\"[]{}<>|^`~$,;!*()%40äöü€"
QUERY = sa.text("SELECT CAST(:n AS int), 'fixed'")


@pytest.fixture(scope="module")
def pgmux(module_pooler: MakePooler) -> Pooler:
    """pgmux, with two servers."""
    return module_pooler(settings={"default_pool_size": 2})


@pytest.fixture(scope="module")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    """PgBouncer with two servers, and as all were before 1.21: prepared statements unknown."""
    with start_pgbouncer(postgres, default_pool_size=2) as process:
        yield process


def start_pgbouncer(postgres: EmbeddedPostgres, **settings: object) -> PoolerProcess:
    program = require_pgbouncer()
    version = subprocess.check_output([program, "-V"], text=True).split()[1]
    if tuple(map(int, version.split(".")[:2])) >= (1, 21):
        settings["max_prepared_statements"] = 0
    return PoolerProcess(
        port=find_free_port(),
        databases={"*": f"host={postgres.host} port={postgres.port}"},
        users={postgres.superuser: postgres.password},
        settings={"auth_type": "trust", "pool_mode": "transaction", **settings},
        command=(program,),
    )


@pytest.fixture(params=FRONTS)
def environ(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> dict[str, str]:
    """The variables of an application before each of them."""
    front = postgres if request.param == "direct" else request.getfixturevalue(request.param)
    return variables(front, postgres, USE_PGBOUNCER=str(front is not postgres))


def variables(
    front: PoolerProcess | EmbeddedPostgres, postgres: EmbeddedPostgres, **more: str
) -> dict[str, str]:
    return {
        "POSTGRES_HOST": front.host,
        "POSTGRES_PORT": str(front.port),
        "POSTGRES_USER": postgres.superuser,
        "POSTGRES_PASSWORD": postgres.password,
        "POSTGRES_DB": "postgres",
        **more,
    }


def arguments(environ: Environ, driver: str) -> dict[str, Any]:
    config = get_sqlalchemy_pool_config(environ, driver=driver)
    return {**config, "connect_args": get_db_connect_args(environ, driver=driver)}


@contextmanager
def sync_engine(environ: Environ, driver: str, **other: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(
        get_db_url(environ, driver=driver), **(arguments(environ, driver) | other)
    )
    try:
        yield engine
    finally:
        engine.dispose()


def with_engine(environ: Environ, driver: str, use: Callable[[sa.Connection, Any], None]) -> None:
    """Has `use` work on two connections of an engine, a sync or an async one."""
    if driver in ("psycopg", "psycopg2"):
        with sync_engine(environ, driver) as engine, engine.connect() as a, engine.connect() as b:
            use(a, b)
    else:
        asyncio.run(_with_async_engine(environ, driver, use))


async def _with_async_engine(
    environ: Environ, driver: str, use: Callable[[sa.Connection, Any], None]
) -> None:
    url = get_db_url(environ, driver=driver)
    engine: AsyncEngine = create_async_engine(url, **arguments(environ, driver))
    try:
        async with engine.connect() as a, engine.connect() as b:
            await a.run_sync(use, b.sync_connection)
    finally:
        await engine.dispose()


def change_servers(a: sa.Connection, b: sa.Connection) -> None:
    """Both use the same statement, often enough to be prepared, here and there."""
    for n in range(7):
        assert a.execute(QUERY, {"n": n}).one() == (n, "fixed")
        a.commit()
    assert b.execute(QUERY, {"n": 7}).one() == (7, "fixed")  # holds where a has been
    for n in range(3):
        assert a.execute(QUERY, {"n": n}).one() == (n, "fixed")
        a.commit()
    b.commit()
    a.execution_options(isolation_level="AUTOCOMMIT")
    for n in range(7):
        assert b.execute(QUERY, {"n": n}).one() == (n, "fixed")
        assert a.execute(QUERY, {"n": n}).one() == (n, "fixed")
        b.rollback()


@pytest.mark.parametrize("threshold", ["", "0", "off"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_an_engine_of_these_settings_works_wherever_its_connections_run(
    environ: dict[str, str], driver: str, threshold: str
) -> None:
    with_engine({**environ, "DB_PREPARE_THRESHOLD": threshold}, driver, change_servers)


@pytest.mark.parametrize("threshold", ["always", "1", "5"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_statements_may_be_prepared_where_the_pooler_knows_them(
    pgmux: Pooler, postgres: EmbeddedPostgres, driver: str, threshold: str
) -> None:
    environ = variables(pgmux, postgres, DB_PREPARE_THRESHOLD=threshold)
    with_engine(environ, driver, change_servers)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_nullpool_chosen_by_a_variable_works(environ: dict[str, str], driver: str) -> None:
    environ["DB_POOL_CLASS"] = "NullPool"
    with_engine(environ, driver, change_servers)
    with sync_engine(environ, driver) as engine:
        assert isinstance(engine.pool, NullPool)


# What goes wrong without: on one server, where both connections' statements meet


def take_turns(a: sa.Connection, b: sa.Connection) -> None:
    """Both use some statements: psycopg numbers those that it prepares, each connection its own."""
    for connection in (a, b):
        for n in range(10):
            assert connection.scalar(sa.text(f"SELECT {n} + CAST(:n AS int)"), {"n": 1}) == n + 1
        connection.commit()


def test_psycopgs_own_zero_prepares_and_fails_behind_pgbouncer_where_ours_does_not(
    postgres: EmbeddedPostgres,
) -> None:
    with start_pgbouncer(postgres, default_pool_size=1) as narrow:
        environ = variables(narrow, postgres, DB_PREPARE_THRESHOLD="0")
        as_written = {"prepare_threshold": int(environ["DB_PREPARE_THRESHOLD"])}
        with (
            pytest.raises(sa.exc.ProgrammingError, match=r'statement "_pg3_\d" already exists'),
            sync_engine(environ, "psycopg", connect_args=as_written) as engine,
            engine.connect() as a,
            engine.connect() as b,
        ):
            take_turns(a, b)
        with_engine(environ, "psycopg", take_turns)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_the_drivers_own_defaults_fail_behind_pgbouncer_where_ours_do_not(
    pgbouncer: PoolerProcess, postgres: EmbeddedPostgres, driver: str
) -> None:
    environ = variables(pgbouncer, postgres)
    with_engine(environ, driver, change_servers)
    with pytest.raises(sa.exc.DBAPIError, match="prepared statement"):
        with_engine({**environ, "USE_PGBOUNCER": "no"}, driver, change_servers)


def test_sqlalchemys_own_cache_must_be_off_too_with_asyncpg(
    pgbouncer: PoolerProcess, postgres: EmbeddedPostgres
) -> None:
    environ = variables(pgbouncer, postgres)
    query = sa.text("SELECT n FROM test_engines")

    def alter(a: sa.Connection, b: Any) -> None:
        a.execute(query)
        a.commit()
        postgres.psql("ALTER TABLE test_engines ALTER n TYPE bigint USING 5000000000")
        assert a.scalar(query) == 5_000_000_000
        a.commit()

    async def with_asyncpgs_alone() -> None:
        engine = create_async_engine(
            get_db_url(environ, driver="asyncpg"), connect_args={"statement_cache_size": 0}
        )
        try:
            async with engine.connect() as a:
                await a.run_sync(alter, None)
        finally:
            await engine.dispose()

    create = "CREATE TABLE test_engines AS SELECT 1 AS n"
    try:
        postgres.psql(create)
        with_engine(environ, "asyncpg", alter)
        postgres.psql(f"DROP TABLE test_engines; {create}")
        with pytest.raises(BufferError, match="trailing 4 bytes"):
            asyncio.run(with_asyncpgs_alone())
    finally:
        postgres.psql("DROP TABLE IF EXISTS test_engines")


# Every way to get there


@pytest.fixture(scope="module")
def strict(module_pooler: MakePooler, postgres: EmbeddedPostgres) -> Iterator[Pooler]:
    """pgmux that asks for the password of ROLE."""
    role = sql.Identifier(ROLE)
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(PASSWORD))
        )
        yield module_pooler(settings={"auth_type": "scram-sha-256"}, users={ROLE: PASSWORD})
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_password_of_every_character_logs_in(
    strict: Pooler, postgres: EmbeddedPostgres, driver: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    place = f"{strict.host}:{strict.port}/postgres"
    user, password = quote(ROLE, safe=""), quote(PASSWORD, safe="")
    parts = variables(strict, postgres, POSTGRES_USER=ROLE, POSTGRES_PASSWORD=PASSWORD)
    for environ in (
        parts,
        {**parts, "POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": str(file)},
        {"DATABASE_URL": f"postgres://{user}:{password}@{place}"},
        {"DATABASE_URL": f"postgres://{user}@{place}", "POSTGRES_PASSWORD": PASSWORD},
    ):
        with_engine(environ, driver, be_the_role)


def be_the_role(a: sa.Connection, b: sa.Connection) -> None:
    for connection in (a, b):
        assert connection.scalar(sa.text("SELECT current_user")) == ROLE


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_unix_socket_and_several_hosts_are_reached(
    pgmux: Pooler, postgres: EmbeddedPostgres, driver: str
) -> None:
    directory, port = pgmux.socket_dir, pgmux.port
    nobody = find_free_port()
    places = (
        f"%2F{quote(str(directory)[1:], safe='')}:{port}/postgres",
        f"/postgres?host={directory}&port={port}",
        f"127.0.0.1:{nobody},127.0.0.1:{port}/postgres",
        f"/postgres?host=127.0.0.1:{nobody}&host=127.0.0.1:{port}&application_name=x",
    )
    for place in places:
        environ = {"DATABASE_URL": f"postgresql://postgres@{place}", "DB_CONNECT_TIMEOUT": "5"}
        with_engine(environ, driver, take_turns)
    environ = variables(pgmux, postgres, POSTGRES_HOST=str(directory))
    with_engine(environ, driver, take_turns)


@pytest.fixture(scope="module")
def encrypted(module_pooler: MakePooler, authority: Authority) -> Pooler:
    """pgmux that wants TLS."""
    certificate = authority.issue("localhost")
    return module_pooler(
        settings={
            "client_tls_sslmode": "require",
            "client_tls_key_file": certificate.key_file,
            "client_tls_cert_file": certificate.cert_file,
        }
    )


@pytest.mark.parametrize("driver", DRIVERS)
def test_tls_and_startup_parameters_are_every_drivers(
    encrypted: Pooler, authority: Authority, driver: str
) -> None:
    query = f"sslmode=verify-full&sslrootcert={authority.ca_file}&application_name=the%20shop"
    url = f"postgresql://postgres@localhost:{encrypted.port}/postgres"
    seen: list[str] = []

    def look(a: sa.Connection, b: sa.Connection) -> None:
        seen.extend(
            row["application_name"] for row in encrypted.console("SHOW CLIENTS") if row["tls"]
        )
        assert a.scalar(sa.text("SHOW application_name")) == "the shop"

    with_engine({"DATABASE_URL": f"{url}?{query}"}, driver, look)
    assert "the shop" in seen
    with pytest.raises((sa.exc.DBAPIError, OSError)):
        other = Path(authority.ca_file).with_name("none.pem")
        with_engine(
            {"DATABASE_URL": f"{url}?sslmode=verify-full&sslrootcert={other}"}, driver, take_turns
        )


def test_a_pool_holds_no_more_than_its_sizes(pgmux: Pooler, postgres: EmbeddedPostgres) -> None:
    environ = variables(pgmux, postgres, DB_POOL_SIZE="1", DB_MAX_OVERFLOW="1", DB_POOL_TIMEOUT="0")
    with (
        sync_engine(environ, "psycopg") as engine,
        engine.connect(),
        engine.connect(),
        pytest.raises(sa.exc.TimeoutError, match="QueuePool limit of size 1 overflow 1"),
    ):
        engine.connect()


def test_the_connection_that_came_back_last_goes_out_first(
    pgmux: Pooler, postgres: EmbeddedPostgres
) -> None:
    def connection_of(engine: sa.Engine) -> object:
        with engine.connect() as connection:
            return connection.connection.dbapi_connection

    with sync_engine(variables(pgmux, postgres), "psycopg") as engine:
        with engine.connect(), engine.connect(), engine.connect():
            pass
        assert engine.pool.checkedin() == 3  # type: ignore[attr-defined]
        assert len({id(connection_of(engine)) for _ in range(6)}) == 1


def test_the_functions_import_neither_a_driver_nor_pgmux() -> None:
    code = (
        "import sys; from pgmux_apps.sqlalchemy import get_db_url; "
        "print(get_db_url({'DATABASE_URL': 'postgres://db/x'})); "
        "print(sorted({'pgmux', 'psycopg', 'psycopg2', 'asyncpg'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "postgresql+psycopg://db/x\n[]\n"


@pytest.fixture(scope="module")
def impatient(module_pooler: MakePooler) -> Pooler:
    """pgmux that ends idle clients soon."""
    return module_pooler(settings={"client_idle_timeout": 0.2})


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_connection_that_the_pooler_ended_is_replaced_before_it_is_used(
    impatient: Pooler, postgres: EmbeddedPostgres, driver: str
) -> None:
    environ = variables(impatient, postgres)

    def clients() -> list[dict[str, Any]]:
        shown = impatient.console("SHOW CLIENTS")
        return [row for row in shown if row["database"] != "pgbouncer"]

    def be_idle(a: sa.Connection, b: sa.Connection) -> None:
        a.close()
        b.close()
        wait_until(lambda: not clients())
        with a.engine.connect() as again:
            assert again.scalar(sa.text("SELECT 1")) == 1

    with_engine(environ, driver, be_idle)
    with pytest.raises(sa.exc.DBAPIError):
        with_engine({**environ, "DB_POOL_PRE_PING": "no"}, driver, be_idle)
