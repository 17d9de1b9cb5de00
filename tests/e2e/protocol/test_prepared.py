"""Prepared statements of every driver, while the servers behind them change."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import psycopg2
import pytest
from psycopg import errors

from pgmux.wire import build
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, error_of, letters, values
from tests.fixtures.rotation import BACKEND, ROTATE, backend, open_servers
from tests.fixtures.waiting import wait_until

EXECUTE_AND_SYNC = build.build_execute() + build.build_sync()
SYNC = build.build_sync()


def prepare(name: str, query: str) -> bytes:
    return build.build_parse(name, query)


def run(name: str, *parameters: bytes | None) -> bytes:
    return build.build_bind("", name, parameters) + EXECUTE_AND_SYNC


def test_psycopg_runs_a_prepared_statement_on_every_server(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        pids = {connection.execute(BACKEND, prepare=True).fetchone() for _ in range(9)}
        answers = [connection.execute("SELECT %s", [i], prepare=True).fetchone() for i in range(9)]
    assert len(pids) == 3
    assert answers == [(i,) for i in range(9)]


def test_psycopg_binary_parameters_and_results_survive_the_rotation(
    rotating: Pooler, db: str
) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        cursor = connection.cursor(binary=True)
        for i in range(9):
            row = cursor.execute("SELECT %b::int8, %b::text", [i, "ü" * i], prepare=True).fetchone()
            assert row == (i, "ü" * i)


def test_psycopg_async_runs_a_prepared_statement_on_every_server(rotating: Pooler, db: str) -> None:
    async def talk() -> set[object]:
        connection = await psycopg.AsyncConnection.connect(rotating.dsn(db), autocommit=True)
        async with connection:
            return {
                await (await connection.execute(BACKEND, prepare=True)).fetchone() for _ in range(6)
            }

    assert len(asyncio.run(talk())) == 3


def test_psycopg_pipelines_prepared_statements(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        for _ in range(4):
            with connection.pipeline():
                cursors = [
                    connection.execute("SELECT %s::int + 1", [i], prepare=True) for i in range(20)
                ]
                got = [cursor.fetchone() for cursor in cursors]
            assert got == [(i + 1,) for i in range(20)]


def test_psycopg2_prepares_with_sql_inside_a_transaction(rotating: Pooler, db: str) -> None:
    connection = psycopg2.connect(rotating.dsn(db))
    for i in range(4):
        with connection, connection.cursor() as cursor:
            cursor.execute("PREPARE own AS SELECT $1::int + 1")
            cursor.execute("EXECUTE own(%s)", [i])
            assert cursor.fetchone() == (i + 1,)
            cursor.execute("DEALLOCATE own")
    connection.close()


def test_psycopg_closes_what_its_own_cache_evicts(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True, prepare_threshold=0) as connection:
        connection.prepared_max = 2
        for i in [*range(10), *range(10)]:
            assert connection.execute(f"SELECT {i} + %s::int", [1]).fetchone() == (i + 1,)


@pytest.mark.parametrize("cache_size", [100, 2, 0])
def test_asyncpg_fetches_with_and_without_its_statement_cache(
    rotating: Pooler, db: str, cache_size: int
) -> None:
    async def talk() -> None:
        connection = await asyncpg.connect(rotating.dsn(db), statement_cache_size=cache_size)
        pids = {await connection.fetchval(BACKEND) for _ in range(9)}
        assert len(pids) >= 2
        for i in range(9):
            assert await connection.fetchval(f"SELECT $1::int * {i % 4}", i) == i % 4 * i
        await connection.executemany("SELECT $1::int", [(i,) for i in range(100)])
        await connection.close()

    asyncio.run(talk())


def test_asyncpg_transactions_cursors_and_named_statements(rotating: Pooler, db: str) -> None:
    async def talk() -> None:
        connection = await asyncpg.connect(rotating.dsn(db))
        statement = await connection.prepare("SELECT generate_series(1, $1::int)")
        for _ in range(4):
            assert len(await statement.fetch(5)) == 5
            async with connection.transaction():
                cursor = statement.cursor(100, prefetch=7)
                assert [row[0] async for row in cursor] == list(range(1, 101))
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with connection.transaction():
                    await connection.fetchval("SELECT 1 / $1::int", 0)
        await connection.close()

    asyncio.run(talk())


def test_asyncpg_resets_its_connection(rotating: Pooler, db: str) -> None:
    async def talk() -> None:
        async with asyncpg.create_pool(rotating.dsn(db), min_size=2, max_size=4) as pool:
            for i in range(12):  # each release runs the pool's reset query
                assert await pool.fetchval("SELECT $1::int", i) == i

    asyncio.run(talk())


def test_two_clients_use_one_name_for_different_statements(rotating: Pooler, db: str) -> None:
    with RawClient(rotating).start(db) as first, RawClient(rotating).start(db) as second:
        first.exchange(prepare("s", "SELECT 'first'"), SYNC)
        second.exchange(prepare("s", "SELECT 'second'"), SYNC)
        for _ in range(4):
            assert values(first.exchange(run("s"))) == ["first"]
            assert values(second.exchange(run("s"))) == ["second"]


def test_one_statement_of_several_clients_is_parsed_once_on_each_server(
    rotating: Pooler, db: str
) -> None:
    clients = [RawClient(rotating).start(db) for _ in range(4)]
    for client in clients:
        client.exchange(prepare("s", "SELECT 41"), SYNC)
    for client in clients * 3:
        assert values(client.exchange(run("s"))) == ["41"]
    listed = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 41'"
    assert {clients[0].value(listed) for _ in range(3)} == {"1"}
    for client in clients:
        client.socket.close()


def test_a_failed_parse_leaves_its_name_free(raw: RawClient) -> None:
    for _ in range(3):
        failed = raw.exchange(prepare("s", "SELEC 1"), SYNC)
        assert letters(failed) == "EZ"
        assert error_of(failed).sqlstate == "42601"
    assert letters(raw.exchange(prepare("s", "SELECT 1"), SYNC)) == "1Z"
    assert [values(raw.exchange(run("s"))) for _ in range(3)] == [["1"]] * 3


def test_a_parse_skipped_after_an_error_leaves_its_name_free(raw: RawClient) -> None:
    broken = raw.exchange(prepare("", "SELEC 1"), prepare("s", "SELECT 1"), SYNC)
    assert letters(broken) == "EZ"
    assert letters(raw.exchange(prepare("s", "SELECT 2"), SYNC)) == "1Z"
    assert [values(raw.exchange(run("s"))) for _ in range(3)] == [["2"]] * 3


def test_a_name_already_taken_is_an_error_and_not_the_end(raw: RawClient) -> None:
    raw.exchange(prepare("s", "SELECT 1"), SYNC)
    for _ in range(4):
        again = raw.exchange(prepare("s", "SELECT 2"), SYNC)
        assert letters(again) == "EZ"
        assert error_of(again).sqlstate == "42P05"
        assert error_of(again).message == 'prepared statement "s" already exists'
        assert values(raw.exchange(run("s"))) == ["1"]


def test_an_unknown_name_is_an_error_and_not_the_end(raw: RawClient) -> None:
    for _ in range(4):
        unknown = raw.exchange(run("nobody"))
        assert letters(unknown) == "EZ"
        assert error_of(unknown).sqlstate == "26000"
        assert error_of(unknown).message == 'prepared statement "nobody" does not exist'
        described = raw.exchange(build.build_describe(ord("S"), "nobody"), SYNC)
        assert error_of(described).sqlstate == "26000"
        assert raw.value("SELECT 1") == "1"


def test_mistakes_abort_the_transaction_block_as_without_a_pooler(raw: RawClient) -> None:
    raw.exchange(prepare("s", "SELECT 1"), SYNC)
    for mistake, sqlstate in ((prepare("s", "SELECT 2") + SYNC, "42P05"), (run("no"), "26000")):
        raw.exchange(build.build_query("BEGIN"))
        failed = raw.exchange(mistake)
        assert error_of(failed).sqlstate == sqlstate
        assert failed[-1] == ("Z", b"E")
        assert error_of(raw.exchange(run("s"))).sqlstate == "25P02"
        assert raw.exchange(build.build_query("ROLLBACK"))[-1] == ("Z", b"I")
        assert values(raw.exchange(run("s"))) == ["1"]


def test_a_mistake_inside_a_pipeline_skips_up_to_the_next_sync(raw: RawClient) -> None:
    raw.exchange(prepare("s", "SELECT 1"), SYNC)
    bind = build.build_bind("", "s") + build.build_execute()
    raw.send(bind, prepare("s", "SELECT 2"), bind, prepare("t", "SELECT 3"), SYNC, run("s"))
    first, second = raw.read_until(), raw.read_until()
    assert letters(first) == "2DCEZ"
    assert error_of(first).sqlstate == "42P05"
    assert values(second) == ["1"]
    assert error_of(raw.exchange(run("t"))).sqlstate == "26000"


def test_a_closed_name_is_gone_and_free_again(raw: RawClient) -> None:
    for text in ("one", "two"):
        assert letters(raw.exchange(prepare("s", f"SELECT '{text}'"), SYNC)) == "1Z"
        assert values(raw.exchange(run("s"))) == [text]
        assert letters(raw.exchange(build.build_close(ord("S"), "s"), SYNC)) == "3Z"
        assert error_of(raw.exchange(run("s"))).sqlstate == "26000"
    assert letters(raw.exchange(build.build_close(ord("S"), "never"), SYNC)) == "3Z"


def test_closed_and_prepared_anew_inside_one_pipeline(raw: RawClient) -> None:
    raw.exchange(prepare("s", "SELECT 1"), SYNC)
    bind = build.build_bind("", "s") + build.build_execute()
    for i in range(2, 8):
        close = build.build_close(ord("S"), "s")
        answer = raw.exchange(bind, close, prepare("s", f"SELECT {i}"), bind, SYNC)
        assert letters(answer) == "2DC312DCZ"
        assert values(answer) == [str(i - 1), str(i)]


def test_a_close_that_an_error_skipped_has_not_happened(raw: RawClient) -> None:
    raw.exchange(prepare("s", "SELECT 1"), SYNC)
    answer = raw.exchange(prepare("", "SELEC"), build.build_close(ord("S"), "s"), SYNC)
    assert letters(answer) == "EZ"
    assert values(raw.exchange(run("s"))) == ["1"]


@pytest.mark.parametrize("command", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_deallocate_all_frees_all_names_of_the_client_and_of_nobody_else(
    rotating: Pooler, db: str, raw: RawClient, command: str
) -> None:
    with RawClient(rotating).start(db) as other:
        for client in (raw, other):
            client.exchange(prepare("s", "SELECT 1"), SYNC)
        raw.exchange(build.build_query(command))
        assert error_of(raw.exchange(run("s"))).sqlstate == "26000"
        assert letters(raw.exchange(prepare("s", "SELECT 2"), SYNC)) == "1Z"
        for _ in range(4):
            assert values(raw.exchange(run("s"))) == ["2"]
            assert values(other.exchange(run("s"))) == ["1"]


def test_psycopg_deallocates_all_and_goes_on(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True, prepare_threshold=0) as connection:
        for i in range(9):
            assert connection.execute("SELECT %s::int", [i]).fetchone() == (i,)
            if i % 3 == 2:
                connection.execute("DEALLOCATE ALL", prepare=False)
                connection._prepared.clear()


def test_a_failed_transaction_is_rolled_back_by_psycopg_and_statements_remain(
    rotating: Pooler, db: str
) -> None:
    with psycopg.connect(rotating.dsn(db), prepare_threshold=0) as connection:
        for _ in range(4):
            with pytest.raises(errors.DivisionByZero):
                connection.execute("SELECT 1 / %s::int", [0])
            connection.rollback()
            assert connection.execute("SELECT 1 / %s::int", [1]).fetchone() == (1,)
            connection.rollback()


def test_servers_keep_no_more_statements_than_max_prepared_statements(
    pooler: MakePooler,
) -> None:
    small = pooler(settings=ROTATE | {"max_prepared_statements": 5, "default_pool_size": 2})
    open_servers(small, "postgres", 2)
    listed = "SELECT count(*)::int FROM pg_prepared_statements WHERE name LIKE 'PGBOUNCER%'"
    with psycopg.connect(small.dsn(), autocommit=True) as connection:
        for i in [*range(30), *range(30)]:
            got = connection.execute(f"SELECT {i} + %s", [1], prepare=True).fetchone()
            assert got == (i + 1,)
        counts = [connection.execute(listed, prepare=False).fetchone() for _ in range(2)]
    assert counts == [(5,), (5,)]


def test_more_statements_in_one_pipeline_than_a_server_may_keep(pooler: MakePooler) -> None:
    small = pooler(settings=ROTATE | {"max_prepared_statements": 3, "default_pool_size": 2})
    with RawClient(small).start() as client:
        for _ in range(3):
            pipeline = [
                prepare(f"s{i}", f"SELECT {i}")
                + build.build_bind("", f"s{i}")
                + build.build_execute()
                for i in range(10)
            ]
            answer = client.exchange(*pipeline, SYNC)
            assert letters(answer) == "12DC" * 10 + "Z"
            assert values(answer) == [str(i) for i in range(10)]
            assert values(client.exchange(run("s0"))) == ["0"]
            client.exchange(*(build.build_close(ord("S"), f"s{i}") for i in range(10)), SYNC)


def test_an_eviction_that_an_error_skipped_is_undone(pooler: MakePooler) -> None:
    small = pooler(settings={"max_prepared_statements": 2, "default_pool_size": 1})
    with RawClient(small).start() as client:
        for name in ("a", "b"):
            client.exchange(prepare(name, f"SELECT '{name}'"), SYNC)
        failed = client.exchange(prepare("", "SELEC"), prepare("c", "SELECT 'c'"), SYNC)
        assert letters(failed) == "EZ"
        client.exchange(prepare("c", "SELECT 'c'"), SYNC)
        for name in ("a", "b", "c", "a"):
            assert values(client.exchange(run(name))) == [name]


def test_without_prepared_statement_support_names_reach_the_server_as_they_are(
    pooler: MakePooler,
) -> None:
    plain = pooler(settings={"max_prepared_statements": 0, "default_pool_size": 1})
    with RawClient(plain).start() as client:
        client.exchange(prepare("own", "SELECT 1"), SYNC)
        assert client.value("SELECT name FROM pg_prepared_statements") == "own"


def test_session_mode_leaves_names_alone_and_resets_them(pooler: MakePooler) -> None:
    session = pooler(settings={"pool_mode": "session", "default_pool_size": 1})
    for _ in range(2):
        with RawClient(session).start() as client:
            assert letters(client.exchange(prepare("own", "SELECT 1"), SYNC)) == "1Z"
            assert client.value("SELECT name FROM pg_prepared_statements") == "own"
            assert values(client.exchange(run("own"))) == ["1"]
            client.send(build.build_terminate())


def test_statement_mode_prepares_as_transaction_mode_does(pooler: MakePooler) -> None:
    statement = pooler(settings=ROTATE | {"pool_mode": "statement", "min_pool_size": 3})
    with psycopg.connect(statement.dsn(), autocommit=True) as connection:
        wait_until(lambda: len({backend(connection) for _ in range(6)}) == 3)
        for i in range(9):
            assert connection.execute("SELECT %s", [i], prepare=True).fetchone() == (i,)


def test_a_statement_larger_than_the_buffers_is_prepared_on_every_server(raw: RawClient) -> None:
    text = "x" * 3_000_000
    raw.exchange(prepare("s", f"SELECT length('{text}')"), SYNC)
    for _ in range(4):
        assert values(raw.exchange(run("s"))) == [str(len(text))]


def test_long_names_and_unusual_bytes_in_names(raw: RawClient) -> None:
    for name in ("n" * 100_000, "ü\x01\x7f", " ", "PGBOUNCER_1"):
        raw.exchange(prepare(name, f"SELECT {len(name)}"), SYNC)
        for _ in range(3):
            assert values(raw.exchange(run(name))) == [str(len(name))]


def test_everything_deallocated_in_the_middle_of_a_pipeline_harms_nobody_else(
    rotating: Pooler, db: str
) -> None:
    deallocate = build.build_query("DEALLOCATE ALL")
    for _ in range(6):
        with RawClient(rotating).start(db) as client:
            client.exchange(prepare("s", "SELECT 'old'"), SYNC)
            client.send(deallocate, prepare("s", "SELECT 'new'"), SYNC)
            # That the name is free again isn't known yet where the server was another.
            assert letters(client.read_until()) == "CZ"
            assert letters(client.read_until()) in ("1Z", "EZ")
    with RawClient(rotating).start(db) as client:
        for text in ("old", "new") * 4:
            assert letters(client.exchange(prepare(text, f"SELECT '{text}'"), SYNC)) == "1Z"
            assert values(client.exchange(run(text))) == [text]
            client.exchange(build.build_close(ord("S"), text), SYNC)
