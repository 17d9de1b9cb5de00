"""Tables and types that change under prepared statements: nobody keeps failing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import asyncpg
import psycopg
import pytest
from psycopg import errors

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build
from tests.fixtures.pooler import Pooler
from tests.fixtures.raw import Message, RawClient, error_of, letters, values

SYNC = build.build_sync()
QUERY = "SELECT * FROM t"
CHANGES = {
    "add column": "ALTER TABLE t ADD COLUMN b text DEFAULT 'new'",
    "alter type": "ALTER TABLE t ALTER COLUMN a TYPE text",
    "drop and create": "DROP TABLE t; CREATE TABLE t (a text, b int); INSERT INTO t VALUES ('1')",
    "in a block": "BEGIN; ALTER TABLE t ADD COLUMN b int; COMMIT",
    "in a function": "DO $$ BEGIN ALTER TABLE t ADD COLUMN b int; END $$",
}

Change = Callable[[str], None]


@pytest.fixture(params=["through pgmux", "at PostgreSQL"])
def change(
    request: pytest.FixtureRequest, rotating: Pooler, postgres: EmbeddedPostgres, db: str
) -> Iterator[Change]:
    """Runs SQL, by another client of the pooler or directly."""
    # Through the pooler, so that it has nothing prepared for the table of an earlier test.
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    server = rotating if request.param == "through pgmux" else postgres
    with psycopg.connect(server.dsn(db), autocommit=True) as connection:
        yield lambda sql: connection.execute(sql.encode()) and None


def prepare(client: RawClient, name: str = "s", query: str = QUERY) -> list[Message]:
    return client.exchange(build.build_parse(name, query), SYNC)


def run(client: RawClient, name: str = "s", *, describe: bool) -> list[Message]:
    described = build.build_describe(ord("P"), "") if describe else b""
    return client.exchange(
        build.build_bind("", name), described, build.build_execute(), build.build_sync()
    )


@pytest.fixture
def clients(rotating: Pooler, db: str) -> Iterator[list[RawClient]]:
    clients = [RawClient(rotating).start(db) for _ in range(4)]
    yield clients
    for client in clients:
        client.socket.close()


@pytest.mark.parametrize("kind", CHANGES)
def test_a_client_that_describes_what_it_runs_sees_the_new_table_at_once(
    change: Change, clients: list[RawClient], kind: str
) -> None:
    for client in clients:
        prepare(client)
        for _ in range(3):
            assert values(run(client, describe=True)) == ["1"]
    change(CHANGES[kind])
    for client in clients:
        for _ in range(4):
            answer = run(client, describe=True)
            assert letters(answer) == "2TDCZ"
            assert b"\0\x01a\0" in b"\0\x01" + answer[1][1][2:]
            assert values(answer) == ["1"]


@pytest.mark.parametrize("kind", CHANGES)
def test_a_client_that_prepares_anew_succeeds_at_once(
    change: Change, clients: list[RawClient], kind: str
) -> None:
    for client in clients:
        prepare(client)
        assert [values(run(client, describe=False)) for _ in range(3)] == [["1"]] * 3
    change(CHANGES[kind])
    for client in clients:
        failed = run(client, describe=False)
        if letters(failed) == "EZ":  # as without a pooler: it may have kept the old columns
            assert error_of(failed).sqlstate == "0A000"
        client.exchange(build.build_close(ord("S"), "s"), SYNC)
        assert letters(prepare(client)) == "1Z"
        for _ in range(4):
            assert letters(run(client, describe=False)) == "2DCZ"


@pytest.mark.parametrize("kind", CHANGES)
def test_a_new_client_succeeds_at_once(
    rotating: Pooler, db: str, change: Change, clients: list[RawClient], kind: str
) -> None:
    for client in clients:
        prepare(client)
        for _ in range(3):
            run(client, describe=True)
    change(CHANGES[kind])
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        for _ in range(6):
            row = connection.execute(QUERY, prepare=True).fetchone()
            assert row is not None and str(row[0]) == "1"


@pytest.mark.parametrize("kind", CHANGES)
def test_psycopg_never_notices(rotating: Pooler, db: str, change: Change, kind: str) -> None:
    with (
        psycopg.connect(rotating.dsn(db), autocommit=True) as first,
        psycopg.connect(rotating.dsn(db), autocommit=True) as second,
    ):
        for connection in (first, second) * 4:
            assert connection.execute(QUERY, prepare=True).fetchone() == (1,)
        change(CHANGES[kind])
        for connection in (first, second) * 4:
            row = connection.execute(QUERY, prepare=True).fetchone()
            assert row is not None and str(row[0]) == "1"


@pytest.mark.parametrize("kind", CHANGES)
def test_asyncpg_recovers_as_it_does_without_a_pooler(
    rotating: Pooler, db: str, change: Change, kind: str
) -> None:
    async def talk() -> None:
        connections = [await asyncpg.connect(rotating.dsn(db)) for _ in range(2)]
        for connection in connections * 4:
            assert await connection.fetchval(QUERY) == 1
        await asyncio.to_thread(change, CHANGES[kind])
        for connection in connections * 4:
            assert str(await connection.fetchval(QUERY)) == "1"
        for connection in connections:
            await connection.close()

    asyncio.run(talk())


def test_inside_a_transaction_the_error_is_told_and_the_next_one_succeeds(
    rotating: Pooler, db: str, change: Change
) -> None:
    with psycopg.connect(rotating.dsn(db)) as connection:
        for _ in range(4):
            connection.execute(QUERY, prepare=True)
            connection.commit()
        connection.execute("SELECT 1")
        change(CHANGES["add column"])
        with pytest.raises(errors.FeatureNotSupported):
            connection.execute(QUERY, prepare=True)
        connection.rollback()
        for _ in range(4):
            assert connection.execute(QUERY, prepare=True).fetchone() == (1, "new")
            connection.commit()


def test_the_client_that_changes_a_table_in_a_block_uses_it_there(
    rotating: Pooler, db: str
) -> None:
    with psycopg.connect(rotating.dsn(db)) as connection:
        for i in range(4):
            connection.execute(f"CREATE TABLE t{i} (a int)")
            assert connection.execute(f"SELECT * FROM t{i}", prepare=True).fetchall() == []
            connection.execute(f"ALTER TABLE t{i} ADD COLUMN b int")
            connection.rollback()
            with pytest.raises(errors.UndefinedTable):
                connection.execute(f"SELECT * FROM t{i}", prepare=True)
            connection.rollback()


def test_a_dropped_and_created_type(rotating: Pooler, db: str, change: Change) -> None:
    query = "SELECT %s::mood, 'sad'::mood"
    change("CREATE TYPE mood AS ENUM ('sad')")
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        for _ in range(6):
            assert connection.execute(query, ["sad"], prepare=True).fetchone() == ("sad", "sad")
        change("DROP TYPE mood; CREATE TYPE mood AS ENUM ('glad', 'sad')")
        for _ in range(6):
            assert connection.execute(query, ["glad"], prepare=True).fetchone() == ("glad", "sad")


def test_a_type_that_asyncpg_knew_and_that_is_another_now(
    rotating: Pooler, db: str, change: Change
) -> None:
    async def talk() -> None:
        connection = await asyncpg.connect(rotating.dsn(db))
        for _ in range(4):
            await connection.fetchval("SELECT $1::mood", "sad")
        await asyncio.to_thread(
            change, "DROP TYPE mood CASCADE; CREATE TYPE mood AS ENUM ('glad', 'sad')"
        )
        failures = 0
        for _ in range(6):
            try:
                assert await connection.fetchval("SELECT $1::mood", "glad") == "glad"
            except asyncpg.PostgresError:
                failures += 1
                await connection.reload_schema_state()
        assert failures <= 1
        await connection.close()

    change("CREATE TYPE mood AS ENUM ('sad')")
    asyncio.run(talk())


def test_a_function_replaced_by_another_result(rotating: Pooler, db: str, change: Change) -> None:
    change("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        for _ in range(4):
            assert connection.execute("SELECT f()", prepare=True).fetchone() == (1,)
        change("DROP FUNCTION f; CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT 'x'$$")
        for _ in range(4):
            assert connection.execute("SELECT f()", prepare=True).fetchone() == ("x",)


def test_a_statement_that_writes_is_run_once_by_its_retry(
    rotating: Pooler, db: str, change: Change
) -> None:
    query = "INSERT INTO t SELECT a + 1 FROM t WHERE a = (SELECT max(a) FROM t) RETURNING *"
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        for i in range(4):
            assert connection.execute(query, prepare=True).fetchone() == (i + 2,)
        change("ALTER TABLE t ADD COLUMN b int")
        for i in range(4, 8):
            assert connection.execute(query, prepare=True).fetchone() == (i + 2, None)
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (9,)


def test_a_second_batch_sent_before_the_first_is_answered_is_not_lost(
    change: Change, clients: list[RawClient]
) -> None:
    batch = (
        build.build_bind("", "s"),
        build.build_describe(ord("P"), ""),
        build.build_execute(),
        SYNC,
    )
    for client in clients:
        prepare(client, query="SELECT *, pg_sleep(0.001) FROM t")
        for _ in range(3):
            run(client, describe=True)
    change(CHANGES["add column"])
    for client in clients:
        for message in batch:  # each in a segment of its own
            client.send(message)
        client.send(*batch)
        first, second = client.read_until(), client.read_until()
        assert letters(first) in ("2TDCZ", "EZ")
        assert letters(second) in ("2TDCZ", "EZ")
        assert letters(run(client, describe=True)) == "2TDCZ"
