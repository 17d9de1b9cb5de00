"""COPY in both directions and both protocols, also where it goes wrong."""

from __future__ import annotations

import asyncio
import io

import asyncpg
import psycopg
import psycopg2
import pytest
from psycopg import errors

from pgmux.wire import build
from tests.fixtures.pooler import Pooler
from tests.fixtures.raw import RawClient, error_of, letters
from tests.fixtures.rotation import backend
from tests.fixtures.waiting import wait_until

SYNC = build.build_sync()
COPY_IN = "COPY t FROM STDIN"
LATE = build.build_copy_data(b"9\n") + build.build_copy_done()


@pytest.fixture(autouse=True)
def table(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (i int)")


def extended(sql: str) -> bytes:
    return build.build_parse("", sql) + build.build_bind("", "") + build.build_execute()


def data(rows: range) -> bytes:
    return b"".join(build.build_copy_data(b"%d\n" % i) for i in rows)


def count(client: RawClient) -> str | None:
    return client.value("SELECT count(*) FROM t")


def is_at_baseline(pooler: Pooler, db: str) -> bool:
    """No server of the database's pool is linked, none is missing."""
    pool = next(row for row in pooler.console("SHOW POOLS") if row["database"] == db)
    return pool["sv_active"] == 0 and pool["sv_idle"] + pool["sv_used"] > 0


def test_psycopg_copies_in_and_out_on_every_server(rotating: Pooler, db: str) -> None:
    pids = set()
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        for i in range(4):
            with connection.cursor().copy(COPY_IN) as copy:
                for j in range(1000):
                    copy.write_row([i * 1000 + j])
            with connection.cursor().copy("COPY t TO STDOUT") as copy:
                assert len(list(copy.rows())) == (i + 1) * 1000
            pids |= {backend(connection), backend(connection)}
    assert len(pids) >= 2


def test_psycopg2_copies_in_and_out(rotating: Pooler, db: str) -> None:
    connection = psycopg2.connect(rotating.dsn(db))
    with connection, connection.cursor() as cursor:
        cursor.copy_expert(COPY_IN, io.StringIO("".join(f"{i}\n" for i in range(5000))))
        out = io.StringIO()
        cursor.copy_expert("COPY t TO STDOUT", out)
    connection.close()
    assert out.getvalue().count("\n") == 5000


def test_asyncpg_copies_in_and_out(rotating: Pooler, db: str) -> None:
    async def talk() -> None:
        connection = await asyncpg.connect(rotating.dsn(db))
        for i in range(1, 4):
            records = [(j,) for j in range(1000)]
            await connection.copy_records_to_table("t", records=records)
            out = io.BytesIO()
            await connection.copy_from_table("t", output=out)
            assert out.getvalue().count(b"\n") == 1000 * i
        with pytest.raises(asyncpg.BadCopyFileFormatError):
            await connection.copy_to_table("t", source=io.BytesIO(b"1\t2\n" * 100_000))
        assert await connection.fetchval("SELECT count(*) FROM t") == 3000
        await connection.close()

    asyncio.run(talk())


def test_copy_in_by_the_simple_protocol(raw: RawClient) -> None:
    for i in range(1, 4):
        raw.send(build.build_query(COPY_IN))
        assert raw.read()[0] == "G"
        assert letters(raw.exchange(data(range(10)), build.build_copy_done())) == "CZ"
        assert count(raw) == str(10 * i)


@pytest.mark.parametrize("early_sync", [b"", SYNC], ids=["", "libpq's early Sync"])
def test_copy_in_by_the_extended_protocol(raw: RawClient, early_sync: bytes) -> None:
    for i in range(1, 4):
        raw.send(extended(COPY_IN), early_sync or build.build_flush())
        assert letters(raw.read_until("G")) == "12G"
        assert letters(raw.exchange(data(range(10)), build.build_copy_done(), SYNC)) == "CZ"
        assert count(raw) == str(10 * i)


def test_copy_in_all_in_one_write(raw: RawClient) -> None:
    whole = (data(range(10)), build.build_copy_done())
    for i in range(1, 4):
        assert letters(raw.exchange(build.build_query(COPY_IN), *whole)) == "GCZ"
        assert letters(raw.exchange(extended(COPY_IN), *whole, SYNC)) == "12GCZ"
        assert count(raw) == str(20 * i)


def test_two_copies_in_one_query(raw: RawClient) -> None:
    whole = (data(range(3)), build.build_copy_done())
    answer = raw.exchange(build.build_query(f"{COPY_IN}; {COPY_IN}; SELECT 1"), *whole, *whole)
    assert letters(answer) == "GCGCTDCZ"
    assert count(raw) == "6"


def test_copy_out_by_both_protocols(raw: RawClient) -> None:
    sql = "COPY (SELECT generate_series(1, 100)) TO STDOUT"
    for _ in range(3):
        assert letters(raw.exchange(build.build_query(sql))) == "H" + "d" * 100 + "cCZ"
        assert letters(raw.exchange(extended(sql), SYNC)) == "12H" + "d" * 100 + "cCZ"


def test_the_client_fails_a_copy(raw: RawClient) -> None:
    for message in (build.build_query(COPY_IN), extended(COPY_IN) + build.build_flush()):
        raw.send(message)
        raw.read_until("G")
        sync = SYNC if message[:1] == b"P" else b""
        failed = raw.exchange(data(range(10)), build.build_copy_fail("changed my mind"), sync)
        assert letters(failed) == "EZ"
        assert error_of(failed).sqlstate == "57014"
        assert count(raw) == "0"


@pytest.mark.parametrize("in_block", [False, True])
def test_data_that_the_server_refuses(raw: RawClient, db: str, in_block: bool) -> None:
    for _ in range(3):
        if in_block:
            raw.exchange(build.build_query("BEGIN"))
        raw.send(build.build_query(COPY_IN))
        raw.read_until("G")
        failed = raw.exchange(build.build_copy_data(b"not a number\n"))
        assert error_of(failed).sqlstate == "22P02"
        assert failed[-1] == ("Z", b"E" if in_block else b"I")
        raw.send(LATE)  # nobody waits for that any more
        if in_block:
            assert error_of(raw.exchange(build.build_query("SELECT 1"))).sqlstate == "25P02"
            assert raw.exchange(build.build_query("ROLLBACK"))[-1] == ("Z", b"I")
        assert count(raw) == "0"


@pytest.mark.parametrize("in_block", [False, True])
def test_data_refused_while_the_rest_is_on_its_way(
    rotating: Pooler, raw: RawClient, db: str, in_block: bool
) -> None:
    for _ in range(3):
        if in_block:
            raw.exchange(build.build_query("BEGIN"))
        raw.send(build.build_query(COPY_IN))
        raw.read_until("G")
        bad = build.build_copy_data(b"bad\n")
        assert letters(raw.exchange(bad, data(range(10000)), build.build_copy_done())) == "EZ"
        if in_block:
            assert raw.exchange(build.build_query("ROLLBACK"))[-1] == ("Z", b"I")
        assert count(raw) == "0"
    wait_until(lambda: is_at_baseline(rotating, db))


def test_an_extended_copy_that_fails_is_over_with_its_sync(
    rotating: Pooler, raw: RawClient, db: str
) -> None:
    for early_sync in (b"", SYNC):
        raw.send(extended(COPY_IN), early_sync or build.build_flush())
        raw.read_until("G")
        raw.send(build.build_copy_data(b"bad\n"))
        assert letters(raw.read_until("E")) == "E"
        raw.send(data(range(1000)), build.build_copy_done())
        assert letters(raw.exchange(SYNC)) == "Z"
        assert count(raw) == "0"
    wait_until(lambda: is_at_baseline(rotating, db))


@pytest.mark.parametrize("early_sync", [False, True])
def test_a_copy_refused_by_a_trigger_before_its_first_row(
    rotating: Pooler, raw: RawClient, db: str, early_sync: bool
) -> None:
    raw.exchange(
        build.build_query(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'never'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON t EXECUTE FUNCTION refuse()"
        )
    )
    for _ in range(3):
        assert letters(raw.exchange(build.build_query(COPY_IN))) == "GEZ"
        raw.send(LATE)
        raw.send(extended(COPY_IN), SYNC if early_sync else build.build_flush())
        assert letters(raw.read_until("E")) == "12GE"
        if not early_sync:
            raw.send(LATE, SYNC)
        assert letters(raw.read_until()) == "Z"
        assert count(raw) == "0"
    wait_until(lambda: is_at_baseline(rotating, db))


def test_a_query_whose_copy_never_begins_has_its_data_ignored(raw: RawClient) -> None:
    for message, sync in (("COPY nothing FROM STDIN", b""), (f"SELECT 1/0; {COPY_IN}", b"")):
        failed = raw.exchange(
            build.build_query(message), data(range(5)), build.build_copy_done(), sync
        )
        assert letters(failed).endswith("EZ")
        assert count(raw) == "0"


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(
    rotating: Pooler, db: str
) -> None:
    for last in (b"", build.build_terminate(), build.build_copy_data(b"1\n")[:6]):
        with RawClient(rotating).start(db) as leaver:
            leaver.send(build.build_query(COPY_IN))
            leaver.read_until("G")
            leaver.send(data(range(100)), last)
    with RawClient(rotating).start(db) as client:
        assert [count(client) for _ in range(4)] == ["0"] * 4
    wait_until(lambda: is_at_baseline(rotating, db))


def test_a_client_that_leaves_a_copy_out_leaves_nothing_behind(rotating: Pooler, db: str) -> None:
    sql = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT"
    for _ in range(3):
        with RawClient(rotating).start(db) as leaver:
            leaver.send(build.build_query(sql))
            leaver.read_until("d")
    with RawClient(rotating).start(db) as client:
        for i in range(6):
            assert client.value(f"SELECT {i}") == str(i)
    wait_until(lambda: is_at_baseline(rotating, db))


def test_stray_copy_messages_are_ignored(raw: RawClient) -> None:
    assert letters(raw.exchange(build.build_copy_done(), SYNC)) == "Z"
    assert letters(raw.exchange(LATE, build.build_copy_fail("x"), SYNC)) == "Z"
    raw.exchange(build.build_query("BEGIN"))
    assert raw.exchange(LATE, SYNC) == [("Z", b"T")]
    assert raw.exchange(LATE, build.build_query("COMMIT"))[-1] == ("Z", b"I")
    assert len({raw.value("SELECT pg_backend_pid()") for _ in range(3)}) == 3


def test_psycopg_goes_on_after_a_copy_that_failed(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db)) as connection:
        for _ in range(3):
            refused = pytest.raises(errors.InvalidTextRepresentation)
            with refused, connection.cursor().copy(COPY_IN) as copy:
                copy.write("bad\n" * 100_000)
            connection.rollback()
            with pytest.raises(ZeroDivisionError), connection.cursor().copy(COPY_IN) as copy:
                copy.write("1\n")
                raise ZeroDivisionError
            connection.rollback()
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
            connection.rollback()
