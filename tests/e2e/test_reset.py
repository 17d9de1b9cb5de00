"""RESET and DISCARD ALL return to the client's own startup values, and concern no other client."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fixtures.pooler import MakePooler, Pooler

STARTUP = "-c TimeZone=Asia/Tokyo -c statement_timeout=1234"


@pytest.fixture(scope="module", params=["transaction", "session"])
def one_server(module_pooler: MakePooler, request: pytest.FixtureRequest) -> Pooler:
    settings = {
        "pool_mode": request.param,
        "default_pool_size": 1,
        "server_reset_query": "",
    }
    return module_pooler(settings=settings)


@pytest.fixture
def client(one_server: Pooler) -> Iterator[psycopg.Connection]:
    with psycopg.connect(one_server.dsn(options=STARTUP), autocommit=True) as connection:
        yield connection


def show(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute(f"SHOW {name}".encode()).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("command", ["RESET ALL", "DISCARD ALL"])
def test_reset_goes_back_to_what_the_client_began_with(
    client: psycopg.Connection, command: str
) -> None:
    client.execute("SET TimeZone = 'UTC'")
    client.execute("SET statement_timeout = 5000")
    client.execute(command.encode())
    assert client.info.parameter_status("TimeZone") == "Asia/Tokyo"
    assert show(client, "TimeZone") == "Asia/Tokyo"
    assert show(client, "statement_timeout") == "1234ms"


def test_reset_within_a_transaction_does_so_too(client: psycopg.Connection) -> None:
    with client.transaction():
        client.execute("SET TimeZone = 'UTC'")
        client.execute("RESET TimeZone")
        assert show(client, "TimeZone") == "Asia/Tokyo"
    assert show(client, "TimeZone") == "Asia/Tokyo"


def test_set_after_another_clients_reset_still_counts(one_server: Pooler) -> None:
    with psycopg.connect(one_server.dsn(), autocommit=True) as first:
        first.execute("SET TimeZone = 'Asia/Tokyo'")
        first.execute("RESET ALL")
    with psycopg.connect(one_server.dsn(), autocommit=True) as second:
        second.execute("SET TimeZone = 'Europe/Paris'")
        assert second.info.parameter_status("TimeZone") == "Europe/Paris"
        assert show(second, "TimeZone") == "Europe/Paris"


def test_the_server_is_kept_after_a_reset(client: psycopg.Connection) -> None:
    (before,) = client.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    client.execute("SET TimeZone = 'UTC'")
    client.execute("RESET ALL")
    (after,) = client.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    assert after == before
