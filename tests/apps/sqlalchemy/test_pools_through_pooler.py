"""Engines of every driver, measured, with a real PostgreSQL behind the real pooler."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux_apps.sqlalchemy import check_pool_health, plugin
from tests.apps.sqlalchemy.rig import Scrape, somebody_waits, waiters
from tests.fixtures.pooler import MakePooler, Pooler

SYNC = ["psycopg", "psycopg2"]
ASYNC = ["psycopg", "asyncpg"]


@pytest.fixture(scope="module")
def through(module_pooler: MakePooler) -> Pooler:
    return module_pooler(databases={"shop": "dbname=postgres"})


@pytest.fixture(autouse=True)
def plugin_is_found(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.impls, "pgmux", lambda: plugin.PgmuxPlugin)
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)


def url_of(pooler: Pooler, driver: str, **query: object) -> str:
    """The application's URL, with `?plugin=pgmux` as all that is new."""
    dsn = pooler.dsn("shop", plugin="pgmux", **query)
    return dsn.replace("postgresql://", f"postgresql+{driver}://", 1)


@contextmanager
def engine_of(pooler: Pooler, driver: str, **arguments: Any) -> Iterator[Engine]:
    engine = create_engine(url_of(pooler, driver), **arguments)
    yield engine
    engine.dispose()


@asynccontextmanager
async def async_engine_of(
    pooler: Pooler, driver: str, query: dict[str, object] | None = None, **arguments: Any
) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url_of(pooler, driver, **(query or {})), **arguments)
    yield engine
    await engine.dispose()


async def until(condition: Callable[[], bool]) -> None:
    """As wait_until, and lets the loop run."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def run(coroutine: Awaitable[None]) -> None:
    async def main() -> None:
        await coroutine

    asyncio.run(main())


@pytest.mark.parametrize("driver", SYNC)
def test_threads_work_wait_and_are_counted(through: Pooler, driver: str, scrape: Scrape) -> None:
    with engine_of(through, driver, pool_size=1, max_overflow=1) as engine:
        with engine.begin() as first:
            assert first.scalar(text("SELECT 1")) == 1
            assert scrape["utilization_ratio"] == 0.5
            second = engine.connect()
            with somebody_waits(engine, 3):
                assert scrape["waiters"] == 3
                assert scrape["overflow"] == 1
                second.close()
        assert scrape["checked_out"] == scrape["waiters"] == 0
        assert scrape["checkouts_total"] == scrape["checkins_total"] == 5
        assert scrape["connects_total"] >= 2  # type: ignore[operator]


@pytest.mark.parametrize("driver", SYNC)
def test_connections_that_the_pooler_has_closed_are_invalidations(
    through: Pooler, driver: str, scrape: Scrape
) -> None:
    with engine_of(through, driver, pool_pre_ping=True) as engine:
        with engine.connect() as one, engine.connect() as other:
            one.execute(text("SELECT 1"))
            other.execute(text("SELECT 1"))
        through.console("KILL shop")
        through.console("RESUME shop")
        with engine.connect() as again:
            again.execute(text("SELECT 1"))
        assert scrape["invalidations_total"] == 1
        assert scrape["connects_total"] == 3
        assert scrape["checkouts_total"] == scrape["checkins_total"] == 3
        assert check_pool_health(engine)["status"] == "healthy"


@pytest.mark.parametrize("driver", SYNC)
def test_a_login_that_fails_is_the_pools_error_without_the_password(
    pooler: MakePooler, postgres: EmbeddedPostgres, driver: str
) -> None:
    secret = "hunter2-wrong"
    front = pooler(settings={"auth_type": "scram-sha-256"})
    url = f"postgresql+{driver}://postgres:{secret}@{front.host}:{front.port}/postgres"
    engine = create_engine(f"{url}?plugin=pgmux&pool_name=api")
    with pytest.raises(OperationalError):
        engine.connect()
    health = check_pool_health(engine)
    assert health["status"] == "error"
    assert "SASL authentication failed" in health["error"]
    assert secret not in json.dumps(health)
    assert health["checked_out"] == 0


@pytest.mark.parametrize("driver", ASYNC)
def test_tasks_work_wait_and_are_counted(through: Pooler, driver: str, scrape: Scrape) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1

    async def main() -> None:
        async with async_engine_of(through, driver, pool_size=1, max_overflow=0) as engine:
            async with engine.connect():
                assert scrape["utilization_ratio"] == 1
                tasks = [asyncio.create_task(work(engine)) for _ in range(3)]
                await until(lambda: scrape["waiters"] == 3)
                assert waiters(engine) == 3
                tasks.pop().cancel()
                await until(lambda: scrape["waiters"] == 2)
            await asyncio.gather(*tasks)
            assert scrape["checked_out"] == scrape["waiters"] == 0
            assert scrape["checkouts_total"] == scrape["checkins_total"] == 3
            assert scrape["connects_total"] == 1

    run(main())


@pytest.mark.parametrize("driver", ASYNC)
def test_a_task_that_gets_none_in_time_is_a_timeout(
    through: Pooler, driver: str, scrape: Scrape
) -> None:
    async def main() -> None:
        async with async_engine_of(
            through, driver, pool_size=1, max_overflow=0, pool_timeout=0.01
        ) as engine:
            async with engine.connect():
                with pytest.raises(PoolTimeoutError):
                    await engine.connect()
            assert scrape["timeouts_total"] == 1
            assert scrape["waiters"] == 0
            assert check_pool_health(engine)["status"] == "critical"

    run(main())


@pytest.mark.parametrize("driver", ASYNC)
def test_a_task_that_holds_a_connection_is_named_by_its_own_line(
    through: Pooler, driver: str
) -> None:
    async def main() -> None:
        async with async_engine_of(through, driver, {"leak_seconds": 1e-6}) as engine:
            async with AsyncSession(engine) as session:
                await session.execute(text("SELECT 1"))
                line = _line() - 1
                (held,) = check_pool_health(engine)["held_too_long"]
            assert held["taken_at"] == f"{__file__}:{line}"
            assert held["function"].endswith("main")
            assert held["task"] == "report"

    async def named() -> None:
        await asyncio.create_task(main(), name="report")

    run(named())


def _line() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


@pytest.mark.parametrize("driver", ASYNC)
def test_an_async_connection_that_is_forgotten_is_no_longer_held(
    through: Pooler, driver: str, scrape: Scrape
) -> None:
    async def main() -> None:
        async with async_engine_of(through, driver) as engine:
            connection = await engine.connect()
            assert scrape["checked_out"] == 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SQLAlchemy's own, about just this
                del connection
                gc.collect()
            assert scrape["checked_out"] == 0
            assert scrape["checkins_total"] == 1

    run(main())
