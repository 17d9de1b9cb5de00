"""The core of the protocol on every PostgreSQL that is installed here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from pgmux.ops.installation import SERVER_TOOLS, candidate_bindirs, find_bindir
from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.rotation import ROTATE, backend, open_servers

INSTALLED = {
    bindir.resolve(): None
    for bindir in (find_bindir(), *candidate_bindirs())
    if all((bindir / tool).is_file() for tool in SERVER_TOOLS)
}


@pytest.fixture(scope="module", params=INSTALLED, ids=str)
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    bindir: Path = request.param
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGMUX_PG_BINDIR", str(bindir))
        with EmbeddedPostgres(auth_method="scram-sha-256") as server:
            yield server


@pytest.fixture(scope="module")
def rotating(module_pooler: MakePooler, server: EmbeddedPostgres) -> Pooler:
    pooler = module_pooler(postgres=server, settings=ROTATE | {"auth_type": "scram-sha-256"})
    open_servers(pooler, "postgres")
    return pooler


def test_prepared_statements_and_ddl(rotating: Pooler) -> None:
    with psycopg.connect(rotating.dsn(), autocommit=True) as connection:
        assert len({backend(connection) for _ in range(3)}) == 3
        connection.execute("CREATE TABLE prepared (a int); INSERT INTO prepared VALUES (1)")
        for _ in range(6):
            assert connection.execute("SELECT * FROM prepared", prepare=True).fetchone() == (1,)
        connection.execute("ALTER TABLE prepared ADD COLUMN b int")
        for _ in range(6):
            row = connection.execute("SELECT * FROM prepared", prepare=True).fetchone()
            assert row == (1, None)


def test_pipelines_and_copy(rotating: Pooler) -> None:
    with psycopg.connect(rotating.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE copied (a int)")
        with connection.cursor().copy("COPY copied FROM STDIN") as copy:
            for i in range(100):
                copy.write_row([i])
        with connection.pipeline():
            cursors = [
                connection.execute("SELECT a FROM copied WHERE a = %s", [i], prepare=True)
                for i in range(100)
            ]
            assert [cursor.fetchone() for cursor in cursors] == [(i,) for i in range(100)]


def test_startup_parameters_follow_their_client(rotating: Pooler) -> None:
    options = "-c statement_timeout=5s -c search_path=a,b -c default_transaction_read_only=on"
    with (
        psycopg.connect(rotating.dsn(options=options), autocommit=True) as own,
        psycopg.connect(rotating.dsn(), autocommit=True) as other,
    ):
        for _ in range(4):
            assert own.execute("SHOW statement_timeout").fetchone() == ("5s",)
            assert own.execute("SHOW search_path").fetchone() == ("a,b",)
            assert own.execute("SHOW transaction_read_only").fetchone() == ("on",)
            assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
            assert other.execute("SHOW transaction_read_only").fetchone() == ("off",)


def test_a_running_query_is_cancelled(rotating: Pooler) -> None:
    with psycopg.connect(rotating.dsn(), autocommit=True) as connection:
        timer = threading.Timer(0.05, connection.cancel_safe)
        timer.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")
        timer.join()
