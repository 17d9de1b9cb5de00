"""Symptoms of PostgreSQL itself, each with one of its own: full, closed to the pooler, or dead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import Connect, value
from tests.e2e.symptoms.conftest import Seen, refused
from tests.fixtures.pooler import MakePooler, Pooler


@pytest.fixture(scope="module")
def small() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of 10 connections, of which 3 are the superuser's."""
    settings = {"superuser_reserved_connections": 3}
    with EmbeddedPostgres(max_connections=10, auth_method="trust", settings=settings) as server:
        server.psql("CREATE ROLE app LOGIN PASSWORD 'secret'")
        yield server


@pytest.fixture
def front(small: EmbeddedPostgres, pooler: MakePooler) -> Pooler:
    """Database `shop` of that PostgreSQL."""
    return pooler(
        databases={"shop": "dbname=postgres"},
        users={"app": "secret"},
        settings={"default_pool_size": 2},
        postgres=small,
    )


def crowd(dsn: str, count: int, name: str) -> ExitStack:
    """So many clients that each hold a transaction open."""
    stack = ExitStack()
    for _ in range(count):
        client = stack.enter_context(closing(psycopg.connect(dsn, application_name=name)))
        client.execute("SELECT 1")
        client.commit()
    return stack


@pytest.mark.symptom(
    "PostgreSQL: `sorry, too many clients already`, `remaining connection slots are reserved`"
)
def test_connections_past_the_pooler_fill_postgresql(
    symptom: Seen, small: EmbeddedPostgres, front: Pooler
) -> None:
    direct = f"postgresql://app@{small.host}:{small.port}/postgres"
    with crowd(direct, 7, "web"):
        symptom.seen(refused(direct))
        with crowd(small.dsn(), 2, "backup"):  # the superuser's
            symptom.seen(refused(front.dsn("shop", "app")))
            symptom.told(front)
            with crowd(small.dsn(), 1, "backup"):
                with pytest.raises(psycopg.OperationalError) as caught:
                    psycopg.connect(small.dsn())
                symptom.seen(caught.value)
    front.console("RECONNECT")
    with crowd(front.dsn("shop", "app"), 20, "web"):
        used = small.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'web'")
        assert int(used) <= 2


@pytest.mark.symptom("PostgreSQL: `no pg_hba.conf entry for host …`")
def test_a_pooler_whose_address_pg_hba_conf_lacks(
    symptom: Seen, small: EmbeddedPostgres, front: Pooler
) -> None:
    before = small.hba
    small.hba = ["local all all trust", "host all postgres all trust"]
    small.reload()
    symptom.seen(refused(front.dsn("shop", "app")))
    symptom.told(front)
    small.hba = before
    small.reload()
    front.console("RECONNECT")
    psycopg.connect(front.dsn("shop", "app")).close()


@pytest.mark.symptom("`server conn crashed?`")
def test_a_server_that_ends_without_a_word(
    symptom: Seen, small: EmbeddedPostgres, front: Pooler, connect: Connect
) -> None:
    client = connect(front, "shop", "app")
    value(client, "BEGIN")
    small.kill()
    symptom.seen(value(client, "SELECT 1") + front.log())
    small.start()
    front.console("RECONNECT")
    assert value(connect(front, "shop", "app"), "SELECT 'back'") == "back"
