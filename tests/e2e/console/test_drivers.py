"""Drivers read the console as they read PostgreSQL: nothing switched off, nothing worked around."""

from __future__ import annotations

import asyncio
from contextlib import closing
from decimal import Decimal
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import create_async_engine

from tests.fixtures.pooler import MakePooler, Pooler

INVALID = "invalid command"


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(settings={"auth_type": "scram-sha-256"})


@pytest.fixture(scope="module")
def dsn(shared: Pooler) -> str:
    return shared.dsn("pgbouncer")


# ---- asyncpg: extended protocol, binary results, a reset at each release


def test_asyncpg_fetches(dsn: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        (pool,) = await connection.fetch("show pools")
        assert (pool["database"], pool["cl_active"], pool["pool_mode"]) == (
            "pgbouncer",
            1,
            "statement",
        )
        stats = await connection.fetchrow("SHOW STATS")
        assert stats is not None and isinstance(stats["total_query_count"], Decimal)
        assert await connection.fetchval("SHOW VERSION") == "PgBouncer 1.25.2"
        assert await connection.fetchval("SELECT 1") == 1
        assert await connection.fetch("SHOW DNS_HOSTS") == []
        await connection.close()

    asyncio.run(run())


def test_asyncpgs_pool_resets_its_connections(dsn: str) -> None:
    async def run() -> list[int]:
        async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
            pids = []
            for _ in range(3):
                async with pool.acquire() as connection:
                    assert await connection.fetch("SHOW LISTS")
                    pids.append(connection.get_server_pid())
        return pids

    assert len(set(asyncio.run(run()))) == 1  # none was thrown away


def test_asyncpg_in_nested_transactions_with_a_cursor(dsn: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        async with connection.transaction(isolation="serializable", readonly=True):
            keys = [row["key"] async for row in connection.cursor("SHOW CONFIG", prefetch=10)]
            assert "listen_port" in keys
            async with connection.transaction():
                assert await connection.fetch("SHOW STATE")
        with pytest.raises(asyncpg.PostgresError, match=INVALID):
            async with connection.transaction():
                await connection.fetch("SELECT * FROM nothing")
        assert await connection.fetch("SHOW STATE")
        await connection.close()

    asyncio.run(run())


# ---- SQLAlchemy


@pytest.mark.parametrize("pre_ping", [False, True], ids=["", "pre_ping"])
@pytest.mark.parametrize("dialect", ["psycopg", "psycopg2"])
def test_sqlalchemy(dsn: str, dialect: str, pre_ping: bool) -> None:
    engine = sa.create_engine(
        dsn.replace("postgresql:", f"postgresql+{dialect}:"), pool_pre_ping=pre_ping
    )
    for _ in range(2):
        with engine.connect() as connection:
            (pool,) = connection.execute(sa.text("SHOW POOLS")).mappings()
            assert (pool["database"], pool["cl_active"]) == ("pgbouncer", 1)
    with engine.begin() as connection, connection.begin_nested():
        assert connection.scalar(sa.text("SHOW VERSION")) == "PgBouncer 1.25.2"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.execute(sa.text("SHOW CONFIG")).all()
        with pytest.raises(sa.exc.DBAPIError, match=INVALID):
            connection.execute(sa.text("SELECT nothing"))
        connection.execute(sa.text("RELOAD"))
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        assert connection.execute(sa.text("SHOW STATE")).all()
    engine.dispose()


def test_sqlalchemy_with_asyncpg(dsn: str) -> None:
    async def run() -> None:
        url = dsn.replace("postgresql:", "postgresql+asyncpg:")
        engine = create_async_engine(url, pool_pre_ping=True)
        for _ in range(2):
            async with engine.connect() as connection:
                (pool,) = (await connection.execute(sa.text("SHOW POOLS"))).mappings()
                assert (pool["database"], pool["cl_active"]) == ("pgbouncer", 1)
        async with engine.begin() as connection, connection.begin_nested():
            assert (await connection.scalar(sa.text("SHOW VERSION"))) == "PgBouncer 1.25.2"
        await engine.dispose()

    asyncio.run(run())


# ---- psycopg


def test_psycopg_in_transactions_and_prepared(dsn: str) -> None:
    with psycopg.connect(dsn, prepare_threshold=1) as connection:
        for _ in range(4):
            assert connection.execute("SHOW POOLS").fetchall()
        with connection.transaction(), connection.transaction():
            binary = connection.cursor(binary=True).execute("SHOW LISTS").fetchall()
            assert ("pools", 1) in binary
        with pytest.raises(psycopg.Error, match=INVALID):
            connection.execute("SELECT nothing")
        connection.rollback()
        assert connection.execute("SHOW STATE").fetchall()
        connection.commit()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        assert connection.execute("SHOW STATE").fetchall()


def test_psycopgs_pipeline(dsn: str) -> None:
    with (
        psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection,
        connection.pipeline() as pipeline,
    ):
        cursors = [connection.execute(f"SHOW {name}") for name in ("POOLS", "STATS", "CONFIG")]
        pipeline.sync()
        assert [len(cursor.fetchall()) > 0 for cursor in cursors] == [True] * 3
        assert connection.execute("SHOW DATABASES").fetchall()


def test_psycopg_streams_row_by_row(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = list(connection.cursor().stream("SHOW CONFIG"))
    assert len(rows) > 100


# ---- psycopg2


def test_psycopg2(dsn: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW POOLS")
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        assert rows[0][:2] == ("pgbouncer", "pgbouncer")
        connection.commit()
        connection.reset()
        connection.set_session(autocommit=True, isolation_level="SERIALIZABLE")
        connection.set_client_encoding("LATIN1")
        cursor.execute("SHOW STATE")
        assert cursor.fetchall()[0] == ("active", "yes")
