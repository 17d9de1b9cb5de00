"""What drivers send of their own accord, each as it was seen on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.admin.commands import find_statement
from pgmux.admin.drivers import ANSWERS, MAX_ANSWERS, find_answer, find_answers
from pgmux.wire import build
from pgmux.wire.parse import Column, parse_parameter_description, parse_row_description
from tests.unit.admin.pooler import FakePooler
from tests.unit.admin.talk import IN_BLOCK, READY, ask, messages, new_console, rows, tag, types

HSTORE = """SELECT t.oid, NULL
FROM pg_type t JOIN pg_namespace ns
    ON typnamespace = ns.oid
WHERE typname = 'hstore';
"""
RESET = "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"


@pytest.mark.parametrize(
    ("query", "answer", "ready"),
    [
        ("BEGIN", "BEGIN", IN_BLOCK),
        ("BEGIN;", "BEGIN", IN_BLOCK),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN", IN_BLOCK),
        ("begin isolation level read committed, read only;", "BEGIN", IN_BLOCK),
        ("START TRANSACTION", "BEGIN", IN_BLOCK),
        ("COMMIT;", "COMMIT", READY),
        ("end transaction", "COMMIT", READY),
        ("ROLLBACK WORK", "ROLLBACK", READY),
        ("abort", "ROLLBACK", READY),
        ('SAVEPOINT "_pg3_1"', "SAVEPOINT", READY),
        ("SAVEPOINT __asyncpg_savepoint_4__;", "SAVEPOINT", READY),
        ("RELEASE SAVEPOINT sa_savepoint_1", "RELEASE", READY),
        ('RELEASE "_pg3_1"', "RELEASE", READY),
        ("ROLLBACK TO sa_savepoint_1", "ROLLBACK", READY),
        ("SET TRANSACTION READ ONLY", "SET", READY),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET",
            READY,
        ),
        ("RESET ALL", "RESET", READY),
        ("SET SESSION AUTHORIZATION DEFAULT", "SET", READY),
        ("DISCARD ALL", "DISCARD ALL", READY),
        ("CLOSE ALL;", "CLOSE CURSOR ALL", READY),
        ("UNLISTEN *", "UNLISTEN", READY),
    ],
)
def test_what_is_to_change_nothing_is_answered_with_its_tag(
    query: str, answer: str, ready: bytes
) -> None:
    data = ask(query, is_admin=False).data
    assert (types(data), tag(data)) == ("CZ", answer)
    assert data.endswith(ready)


@pytest.mark.parametrize(
    ("query", "columns", "expected"),
    [
        ("SELECT 1", [Column("?column?", 23, 4, 0)], [("1",)]),
        (
            "select pg_catalog.version()",
            [Column("version", 25, -1, 0)],
            [("PostgreSQL 1.25.2/bouncer on pgmux 0.1 (compiled)",)],
        ),
        ("SELECT current_schema()", [Column("current_schema", 25, -1, 0)], [(None,)]),
        (
            "show transaction isolation level",
            [Column("transaction_isolation", 25, -1, 0)],
            [("read committed",)],
        ),
        ("show time zone", [Column("timezone", 25, -1, 0)], [("GMT",)]),
        (
            "SELECT pg_advisory_unlock_all()",
            [Column("pg_advisory_unlock_all", 2278, 4, 0)],
            [("",)],
        ),
        (HSTORE, [Column("oid", 26, 4, 0)], []),
    ],
)
def test_what_is_to_be_known_is_a_row(
    query: str, columns: list[Column], expected: list[tuple[str | None]]
) -> None:
    data = ask(query, is_admin=False).data
    described = parse_row_description(messages(data)[0][1])
    assert [(c.name, c.type_oid, c.typlen) for c in described] == [
        (c.name, c.type_oid, c.typlen) for c in columns
    ]
    assert rows(data) == expected


def test_select_version_with_and_without_its_brackets_are_two_questions() -> None:
    assert rows(ask("SELECT version").data)[0] == ("PgBouncer 1.25.2",)
    assert rows(ask("SELECT version()").data)[0][0].startswith("PostgreSQL ")  # type: ignore[union-attr]


def test_show_all_has_every_parameter_that_show_answers() -> None:
    shown = rows(ask("SHOW ALL").data)
    assert ("client_encoding", "UTF-8", "") in shown
    for name, setting, _ in shown:
        assert rows(ask(f"SHOW {name}").data) == [(setting,)]


@pytest.mark.parametrize("query", ["", " ", ";", " ; "])
def test_an_empty_query_has_an_empty_answer(query: str) -> None:
    assert types(ask(query).data) == "IZ"


def test_only_so_many_are_answered_in_one_query() -> None:
    assert types(ask(";".join(["begin"] * MAX_ANSWERS)).data) == "C" * MAX_ANSWERS + "Z"
    assert types(ask(";".join(["begin"] * (MAX_ANSWERS + 1))).data) == "EZ"


def test_an_empty_query_can_be_prepared() -> None:
    console = new_console()
    data = console.feed(
        build.build_parse("", ";")
        + build.build_describe(ord("S"), "")
        + build.build_bind("", "")
        + build.build_execute()
        + build.build_sync()
    ).data
    assert types(data) == "1tn2IZ"


def test_setting_the_time_zone_is_ignored_and_said_so() -> None:
    data = ask('set time zone "Etc/UTC"').data
    assert messages(data)[0] == ("N", b"SNOTICE\0C00000\0MSET ignored\0\0")
    assert tag(data) == "SET"


def test_a_savepoint_leaves_the_transaction_as_it_is() -> None:
    console = new_console()
    for query in ("BEGIN", "SAVEPOINT a", "ROLLBACK TO SAVEPOINT a", "RELEASE a"):
        assert console.feed(build.build_query(query)).data.endswith(IN_BLOCK)
    assert console.feed(build.build_query("COMMIT")).data.endswith(READY)


def test_a_type_is_looked_up_with_parameters_and_not_found() -> None:
    console = new_console()
    query = "SELECT oid, typarray FROM pg_catalog.pg_type WHERE typname = $1 AND oid <> $2"
    data = console.feed(
        build.build_parse("", query)
        + build.build_describe(ord("S"), "")
        + build.build_bind("", "", [b"hstore", b"0"])
        + build.build_execute()
        + build.build_sync()
    ).data
    assert types(data) == "1tT2CZ"
    assert parse_parameter_description(messages(data)[1][1]) == (25, 25)


# ---- several statements in one query


def test_what_asyncpg_sends_to_reset_a_connection_is_answered_statement_by_statement() -> None:
    data = ask(RESET).data
    assert types(data) == "TDCCCCZ"
    tags = [body.rstrip(b"\0").decode() for kind, body in messages(data) if kind == "C"]
    assert tags == ["SHOW", "CLOSE CURSOR ALL", "UNLISTEN", "RESET"]


@pytest.mark.parametrize("query", ["BEGIN; SHOW POOLS", "SHOW POOLS; SHOW STATS", "RELOAD; COMMIT"])
def test_commands_of_the_console_come_one_at_a_time(query: str) -> None:
    pooler = FakePooler()
    data = ask(query, pooler).data
    assert types(data) == "EZ" and pooler.calls == []
    assert f"invalid command '{query}'".encode() in data


# ---- the table


COMMANDS = (
    *("SHOW POOLS", "SELECT version", "SHOW DateStyle", "SET verbose = 1", "SET timezone TO 'x'"),
    *("RELOAD", "PAUSE", "PAUSE begin", "RESUME", "DISABLE a", "ENABLE a", "KILL", "KILL_CLIENT 1"),
    *("RECONNECT", "SUSPEND", "SHUTDOWN", "WAIT_CLOSE", "SHOW HELP", "SET standard = 'begin'"),
)


@pytest.mark.parametrize("query", COMMANDS)
def test_no_answer_of_the_table_hides_a_command(query: str) -> None:
    assert find_answer(query.encode()) is None


def test_the_table_says_who_sends_it() -> None:
    assert all(sent_by for _, sent_by, _ in ANSWERS)
    assert len({pattern for pattern, _, _ in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize(
    "query",
    [
        b" " * 200_000 + b"!",
        b"begin " + b"a " * 100_000 + b"!",
        b"begin" + b",a" * 100_000 + b"!",
        b"select " + b"from pg_type " * 20_000 + b";!",
        b"select " + b"from " * 50_000 + b"!",
        b"savepoint " + b'"' * 200_001,
        b"set time zone " + b" " * 200_000 + b";;",
        b";" * 200_000 + b"!",
    ],
)
def test_a_query_made_to_be_slow_is_looked_at_in_one_pass(query: bytes) -> None:
    # With a backtracking pattern each of these takes minutes, or for ever.
    assert find_answers(query) == []


@given(st.binary(max_size=80) | st.text("\"';= \nbeginsavepto", max_size=40).map(str.encode))
def test_any_bytes_are_answered_or_left_to_the_console(query: bytes) -> None:
    answer = find_answer(query)
    if answer is not None:
        assert find_statement(query, FakePooler(), is_admin=False) is not None
