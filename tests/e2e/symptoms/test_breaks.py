"""Symptoms of connections that end: troubleshooting.md, "Connections that break"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux_apps.sqlalchemy import setup_sqlalchemy_pool_metrics
from tests.e2e.pools.clients import Connect, pid, value, wait_for_log
from tests.e2e.symptoms.conftest import Seen, Shop
from tests.fixtures.pooler import Pooler


def engine_of(pooler: Pooler, **settings: Any) -> sa.Engine:
    url = pooler.dsn("shop", "app").replace("postgresql://", "postgresql+psycopg://")
    return sa.create_engine(url, pool_size=1, **settings)


def use_again_after(engine: sa.Engine, event: Callable[[], object]) -> int:
    """A connection of the engine's pool is used, and again behind the event."""
    ask = sa.text("SELECT 1")
    with engine.connect() as connection:
        connection.execute(ask)
    event()
    with engine.connect() as connection:
        return int(connection.execute(ask).scalar_one())


@pytest.mark.symptom("libpq: `server closed the connection unexpectedly`")
def test_a_pooler_that_was_restarted(symptom: Seen, shop: Shop) -> None:
    pooler = shop()

    def restart() -> None:
        port = pooler.port
        pooler.close()
        pooler.port = port
        pooler.start()

    careless, careful = engine_of(pooler), engine_of(pooler, pool_pre_ping=True)
    with pytest.raises(sa.exc.OperationalError) as caught:
        use_again_after(careless, restart)
    symptom.seen(caught.value)
    assert use_again_after(careful, restart) == 1
    for engine in (careless, careful):
        engine.dispose()


@pytest.mark.symptom("`client_idle_timeout`")
def test_a_pooled_connection_that_was_idle_for_too_long(symptom: Seen, shop: Shop) -> None:
    pooler = shop(client_idle_timeout=0.1)
    count = iter(range(1, 9))

    def wait() -> None:
        wait_for_log(pooler, "closing because: client_idle_timeout", next(count))

    engine = engine_of(pooler)
    with pytest.raises(sa.exc.OperationalError) as caught:
        use_again_after(engine, wait)
    symptom.seen(caught.value)
    assert use_again_after(engine_of(pooler, pool_pre_ping=True), wait) == 1
    pooler.console("SET client_idle_timeout = '0'")
    assert use_again_after(engine, lambda: None) == 1
    engine.dispose()


@pytest.mark.symptom("PostgreSQL: `terminating connection due to administrator command`")
def test_a_backend_that_somebody_terminates(
    symptom: Seen, shop: Shop, connect: Connect, postgres: EmbeddedPostgres
) -> None:
    pooler = shop()
    client = connect(pooler, "shop", "app")
    value(client, "BEGIN")
    postgres.psql(f"SELECT pg_terminate_backend({pid(client)}, 5000)")
    symptom.seen(value(client, "SELECT 1"))
    idle = connect(pooler, "shop", "app")  # between transactions nobody notices
    postgres.psql(f"SELECT pg_terminate_backend({pid(idle)}, 5000)")
    assert value(idle, "SELECT 'served'") == "served"


@pytest.mark.symptom("`client disconnect while server was not ready`")
def test_a_client_that_leaves_in_a_transaction(symptom: Seen, shop: Shop, connect: Connect) -> None:
    pooler = shop()
    for last in ("", "COMMIT"):
        count = pooler.log().count("while server was not ready")
        client = connect(pooler, "shop", "app")
        value(client, "BEGIN")
        if last:
            value(client, last)
        client.close()
        if last:
            assert pooler.log().count("while server was not ready") == count
        else:
            wait_for_log(pooler, "while server was not ready", count + 1)
            symptom.seen(pooler.log())


@pytest.mark.symptom("SQLAlchemy: `sqlalchemy_pool_invalidations_total` rises")
def test_connections_that_a_pool_throws_away(symptom: Seen, shop: Shop) -> None:
    pooler = shop(client_idle_timeout=0.1)
    registry = CollectorRegistry()
    engine = engine_of(pooler)
    setup_sqlalchemy_pool_metrics(engine, "default", registry=registry)
    with pytest.raises(sa.exc.OperationalError):
        use_again_after(engine, lambda: wait_for_log(pooler, "because: client_idle_timeout"))
    metrics = generate_latest(registry).decode()
    symptom.seen(metrics)
    (line,) = re.findall("sqlalchemy_pool_invalidations_total{.*", metrics)
    assert line.endswith(" 1.0")
    pooler.console("SET client_idle_timeout = '0'")
    for _ in range(3):
        assert use_again_after(engine, lambda: None) == 1
    assert line in generate_latest(registry).decode()
    engine.dispose()
