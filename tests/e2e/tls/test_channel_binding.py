"""SCRAM-SHA-256-PLUS from libpq to the pooler, and from there to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import MakePooler, Pooler


@pytest.fixture(scope="module")
def scram_postgres() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(auth_method="scram-sha-256") as server:
        server.psql("create role bob login password 'secret'")
        yield server


@pytest.fixture(scope="module")
def bound(
    module_pooler: MakePooler, scram_postgres: EmbeddedPostgres, client_tls: dict[str, object]
) -> Pooler:
    """A pooler that knows bob's SCRAM secret alone, and passes his keys through."""
    secret = scram_postgres.psql("select rolpassword from pg_authid where rolname = 'bob'").strip()
    return module_pooler(
        postgres=scram_postgres,
        settings={"auth_type": "scram-sha-256", **client_tls},
        users={"bob": secret},
    )


def whoami(pooler: Pooler, **parameters: str) -> object:
    with psycopg.connect(pooler.dsn(user="bob", password="secret", **parameters)) as connection:
        row = connection.execute("select current_user").fetchone()
    return row and row[0]


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
def test_a_client_logs_in_with_tls_whatever_it_thinks_of_channel_binding(
    bound: Pooler, mode: str
) -> None:
    assert whoami(bound, sslmode="require", channel_binding=mode) == "bob"


def test_a_client_without_tls_can_not_be_bound(bound: Pooler) -> None:
    assert whoami(bound, sslmode="disable") == "bob"
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        whoami(bound, sslmode="disable", channel_binding="require")


def test_a_wrong_password_is_wrong_with_channel_binding_too(bound: Pooler) -> None:
    dsn = bound.dsn(user="bob", password="wrong", sslmode="require", channel_binding="require")
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        psycopg.connect(dsn)


def test_the_binding_is_to_the_certificate_after_a_reload(
    bound: Pooler, authority: Authority
) -> None:
    certificate = authority.issue("localhost", "127.0.0.1")
    bound.settings |= {
        "client_tls_cert_file": certificate.cert_file,
        "client_tls_key_file": certificate.key_file,
    }
    with psycopg.connect(bound.dsn(user="bob", password="secret", sslmode="require")) as before:
        # the console's user has no SCRAM secret here: a signal reloads, too
        bound.write_configuration()
        bound.console("RELOAD")
        assert whoami(bound, sslmode="require", channel_binding="require") == "bob"
        assert before.execute("select 1").fetchone() == (1,)
