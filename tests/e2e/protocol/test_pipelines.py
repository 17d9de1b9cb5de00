"""Many requests on their way at once: order, errors, Flush, and whose answer is whose."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg import errors

from pgmux.wire import build
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, error_of, letters, values
from tests.fixtures.rotation import backend

SYNC = build.build_sync()


def query(sql: str, *parameters: bytes) -> bytes:
    """Parse, Bind, Describe and Execute of an unnamed statement, without Sync."""
    return (
        build.build_parse("", sql)
        + build.build_bind("", "", parameters)
        + build.build_describe(ord("P"), "")
        + build.build_execute()
    )


def test_every_sync_of_a_pipeline_is_answered_in_order(raw: RawClient) -> None:
    raw.send(*(query(f"SELECT {i}") + SYNC for i in range(50)))
    for i in range(50):
        answer = raw.read_until()
        assert letters(answer) == "12TDCZ"
        assert values(answer) == [str(i)]


def test_simple_queries_sent_at_once_are_answered_in_order(raw: RawClient) -> None:
    raw.send(*(build.build_query(f"SELECT {i}; SELECT {i} + 1") for i in range(50)))
    for i in range(50):
        assert values(raw.read_until()) == [str(i), str(i + 1)]


def test_transactions_sent_at_once_keep_to_one_server_each(raw: RawClient) -> None:
    steps = ("BEGIN", "SELECT pg_backend_pid()", "SELECT pg_backend_pid()", "COMMIT")
    raw.send(*(build.build_query(step) for _ in range(20) for step in steps))
    for _ in range(20):
        pids = [values(raw.read_until()) for _ in steps]
        assert pids[1] == pids[2] != []


def test_flush_brings_answers_before_sync(raw: RawClient) -> None:
    raw.send(query("SELECT 1"), build.build_flush())
    assert letters(raw.read_until("C")) == "12TDC"
    raw.send(query("SELECT 2"), build.build_flush())
    assert letters(raw.read_until("C")) == "12TDC"
    assert raw.exchange(SYNC) == [("Z", b"I")]


def test_flush_after_a_statement_that_the_server_has_already(raw: RawClient) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):  # from the fourth on, no server is asked
        raw.send(build.build_parse(name, "SELECT 1"), build.build_flush())
        assert raw.read()[0] == "1"
        raw.send(build.build_describe(ord("S"), name), build.build_flush())
        assert [raw.read()[0], raw.read()[0]] == ["t", "T"]
        assert raw.exchange(SYNC) == [("Z", b"I")]


def test_a_lone_sync_is_answered(raw: RawClient) -> None:
    for _ in range(3):
        assert raw.exchange(SYNC) == [("Z", b"I")]
    raw.send(SYNC * 1000)
    assert [raw.read() for _ in range(1000)] == [("Z", b"I")] * 1000


def test_an_error_anywhere_skips_to_the_next_sync_and_no_further(raw: RawClient) -> None:
    count = 6
    for broken in range(count):
        sql = ["SELECT 1" if i != broken else "SELECT 1/(SELECT 0)" for i in range(count)]
        raw.send(*map(query, sql), SYNC, query("SELECT 'next'"), SYNC)
        failed, after = raw.read_until(), raw.read_until()
        assert letters(failed) == "12TDC" * broken + "12TEZ"
        assert error_of(failed).sqlstate == "22012"
        assert values(after) == ["next"]


def test_an_error_is_answered_before_the_sync_is_sent(raw: RawClient) -> None:
    raw.send(query("SELECT 1/(SELECT 0)"), build.build_flush())
    assert letters(raw.read_until("E")) == "12TE"
    raw.send(query("SELECT 1"), query("SELECT 2"))
    assert letters(raw.exchange(SYNC)) == "Z"
    assert raw.value("SELECT 3") == "3"


def test_a_pipeline_of_64_k_binds_is_answered_whole(raw: RawClient) -> None:
    count = 65536
    raw.exchange(build.build_parse("s", "SELECT $1::text"), SYNC)
    executed = [
        build.build_bind("", "s", [b"%d" % i]) + build.build_execute() for i in range(count)
    ]
    sender = threading.Thread(target=raw.send, args=(*executed, SYNC))
    sender.start()
    answer = raw.read_until()
    sender.join()
    assert letters(answer) == "2DC" * count + "Z"
    assert values(answer) == [str(i) for i in range(count)]
    assert raw.value("SELECT 1") == "1"


def test_portals_are_executed_in_pieces(raw: RawClient) -> None:
    raw.send(
        build.build_parse("", "SELECT generate_series(1, 5)"),
        build.build_bind("p", ""),
        build.build_execute("p", 2),
        build.build_execute("p", 2),
        build.build_execute("p", 2),
        build.build_close(ord("P"), "p"),
        SYNC,
    )
    answer = raw.read_until()
    assert letters(answer) == "12DDsDDsDC3Z"
    assert values(answer) == list("12345")


def test_an_empty_query_is_answered(raw: RawClient) -> None:
    assert letters(raw.exchange(build.build_query(""))) == "IZ"
    assert letters(raw.exchange(query(""), SYNC)) == "12nIZ"


def test_a_function_call_is_answered(raw: RawClient) -> None:
    function = raw.value("SELECT 'int4pl'::regproc::oid")
    assert function is not None
    for i in range(4):
        arguments = [b"%d" % i, b"5"]
        answer = raw.exchange(build.build_function_call(int(function), arguments))
        assert answer == [
            ("V", (len(str(i + 5))).to_bytes(4, "big") + b"%d" % (i + 5)),
            ("Z", b"I"),
        ]
    failed = raw.exchange(build.build_function_call(1, []))
    assert failed[0][0] == "E"
    assert failed[-1] == ("Z", b"I")
    assert raw.value("SELECT 1") == "1"


def test_messages_that_arrive_byte_by_byte(raw: RawClient) -> None:
    for byte in build.build_parse("s", "SELECT $1::int") + SYNC:
        raw.send(bytes([byte]))
    assert letters(raw.read_until()) == "1Z"
    for byte in build.build_bind("", "s", [b"7"]) + build.build_execute() + SYNC:
        raw.send(bytes([byte]))
    assert values(raw.read_until()) == ["7"]


def test_half_a_query_holds_its_client_and_nobody_else(rotating: Pooler, db: str) -> None:
    message = build.build_query("SELECT 1")
    with RawClient(rotating).start(db) as slow, RawClient(rotating).start(db) as other:
        slow.send(message[:9])
        for _ in range(6):
            assert other.value("SELECT 2") == "2"
        slow.send(message[9:])
        assert values(slow.read_until()) == ["1"]


def test_psycopg_pipeline_with_an_error_in_its_middle(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        assert len({backend(connection) for _ in range(3)}) == 3
        for _ in range(3):
            with pytest.raises(errors.DivisionByZero), connection.pipeline():
                connection.execute("SELECT 1", prepare=True)
                connection.execute("SELECT 1 / %s::int", [0], prepare=True)
                connection.execute("SELECT 2", prepare=True)
            assert connection.execute("SELECT 3", prepare=True).fetchone() == (3,)


def test_psycopg_pipelines_whole_transactions(rotating: Pooler, db: str) -> None:
    with psycopg.connect(rotating.dsn(db), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (i int)")
        for i in range(5):
            with connection.pipeline(), connection.transaction():
                for j in range(20):
                    connection.execute("INSERT INTO t VALUES (%s)", [i * 20 + j])
        assert connection.execute("SELECT count(*), sum(i) FROM t").fetchone() == (100, 4950)


def test_implicit_transactions_of_a_pipeline_are_rolled_back(raw: RawClient) -> None:
    raw.exchange(build.build_query("CREATE TABLE t (i int)"))
    failed = raw.exchange(
        query("INSERT INTO t VALUES (1)"), query("INSERT INTO t VALUES (1/0)"), SYNC
    )
    assert failed[-1] == ("Z", b"I")
    assert [raw.value("SELECT count(*) FROM t") for _ in range(3)] == ["0"] * 3


def test_statement_mode_refuses_a_transaction_block(pooler: MakePooler) -> None:
    statement = pooler(settings={"pool_mode": "statement"})
    with RawClient(statement).start() as client:
        assert client.value("SELECT 1") == "1"
        refused = client.exchange(build.build_query("BEGIN"))
        assert error_of(refused).message == (
            "transaction blocks not allowed in statement pooling mode"
        )
        assert refused[-1][0] == ""
    with RawClient(statement).start() as client:
        assert client.value("SELECT 2") == "2"


def test_statement_mode_serves_a_pipeline_with_several_syncs(pooler: MakePooler) -> None:
    statement = pooler(settings={"pool_mode": "statement", "default_pool_size": 2})
    with RawClient(statement).start() as client:
        client.send(*(query(f"SELECT {i}") + SYNC for i in range(20)))
        assert [values(client.read_until()) for _ in range(20)] == [[str(i)] for i in range(20)]


def test_notices_and_notifications_reach_the_client(raw: RawClient) -> None:
    answer = raw.exchange(build.build_query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$"))
    assert [kind for kind, _ in answer] == ["N", "C", "Z"]
    answer = raw.exchange(build.build_query("LISTEN c; NOTIFY c, 'x'"))
    assert letters(answer) == "CCAZ"
