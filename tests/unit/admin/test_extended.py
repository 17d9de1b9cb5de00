from __future__ import annotations

import pytest

from pgmux.admin.console import Console
from pgmux.admin.extended import MAX_PORTALS, MAX_STATEMENTS
from pgmux.wire import build
from pgmux.wire.parse import parse_data_row, parse_error_response, parse_row_description
from tests.unit.admin.pooler import FakePooler
from tests.unit.admin.talk import messages, new_console, rows, tag, types

PORTAL, STATEMENT = ord("P"), ord("S")
SYNC = build.build_sync()


def parse(name: str, query: str) -> bytes:
    return build.build_parse(name, query)


def errors(data: bytes) -> list[tuple[str, str]]:
    """SQLSTATE and message of every ErrorResponse; none of them is fatal."""
    found = [parse_error_response(body) for kind, body in messages(data) if kind == "E"]
    assert {error.severity for error in found} <= {"ERROR"}
    return [(error.sqlstate, error.message) for error in found]


def run(*parts: bytes, console: Console | None = None) -> bytes:
    return (console or new_console()).feed(b"".join(parts)).data


def test_a_query_is_prepared_described_and_executed() -> None:
    data = run(
        parse("s", "SHOW STATE"),
        build.build_describe(STATEMENT, "s"),
        build.build_bind("", "s"),
        build.build_execute(),
        SYNC,
    )
    assert types(data) == "1tT2DDDCZ"
    assert rows(data)[0] == ("active", "yes")
    assert tag(data) == "SHOW"


def test_results_are_binary_where_asked() -> None:
    data = run(
        parse("", "SHOW LISTS"),
        build.build_bind("", "", result_formats=[0, 1]),
        build.build_describe(PORTAL, ""),
        build.build_execute("", 1),
        SYNC,
    )
    found = messages(data)
    assert [column.format for column in parse_row_description(found[2][1])] == [0, 1]
    assert parse_data_row(found[3][1]) == (b"databases", b"\0\0\0\1")


def test_one_format_code_is_for_all_columns() -> None:
    data = run(
        parse("", "SHOW STATS"), build.build_bind("", "", result_formats=[1]), build.build_execute()
    )
    values = parse_data_row(messages(data)[2][1])
    assert values[:2] == (b"app", b"\0\1\0\0\0\0\0\0\0\x0a")


def test_a_command_has_no_columns_and_runs_when_it_is_executed() -> None:
    pooler = FakePooler()
    console = new_console(pooler)
    data = run(
        parse("s", "RELOAD"),
        build.build_describe(STATEMENT, "s"),
        build.build_bind("p", "s"),
        build.build_describe(PORTAL, "p"),
        console=console,
    )
    assert types(data) == "1tn2n" and pooler.calls == []
    data = run(build.build_execute("p"), SYNC, console=console)
    assert tag(data) == "RELOAD" and pooler.calls == [("reload",)]


def test_after_an_error_all_is_skipped_until_sync() -> None:
    console = new_console()
    data = run(
        parse("", "nothing"),
        build.build_bind("", ""),
        build.build_execute(),
        build.build_query("SHOW VERSION"),
        SYNC,
        console=console,
    )
    assert types(data) == "EZ"
    assert errors(data) == [("08P01", "invalid command 'nothing', use SHOW HELP;")]
    assert types(run(build.build_query("SHOW VERSION"), console=console)) == "TDCZ"


def test_a_client_may_leave_while_all_is_skipped() -> None:
    console = new_console()
    console.feed(parse("", "nothing"))
    assert console.feed(build.build_terminate()).reason == "client close request"


def test_an_execution_refused_is_an_error_like_any_other() -> None:
    console = new_console(is_admin=False)
    data = run(parse("", "RELOAD"), build.build_bind("", ""), build.build_execute(), SYNC,
               console=console)  # fmt: skip
    assert types(data) == "12EZ"
    assert errors(data) == [("08P01", "admin access needed")]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (build.build_bind("", "x"), ("26000", 'prepared statement "x" does not exist')),
        (build.build_describe(STATEMENT, "x"), ("26000", 'prepared statement "x" does not exist')),
        (build.build_describe(PORTAL, "x"), ("34000", 'portal "x" does not exist')),
        (build.build_execute("x"), ("34000", 'portal "x" does not exist')),
        (parse("s", "SHOW LISTS"), ("42P05", 'prepared statement "s" already exists')),
        (build.build_bind("p", "s"), ("42P03", 'cursor "p" already exists')),
        (
            build.build_bind("", "s", [b"1"]),
            ("08P01", 'bind message supplies 1 parameters, but prepared statement "s" requires 0'),
        ),
        (
            build.build_bind("", "s", result_formats=[0, 0, 0]),
            ("08P01", "bind message has 3 result formats but query has 2 columns"),
        ),
        (
            build.build_bind("", "s", result_formats=[2]),
            ("08P01", "unsupported format code: 2"),
        ),
    ],
)
def test_a_mistake_is_an_error_in_postgresqls_words(message: bytes, error: tuple[str, str]) -> None:
    console = new_console()
    run(parse("s", "SHOW STATE"), build.build_bind("p", "s"), console=console)
    assert errors(run(message, SYNC, console=console)) == [error]


def test_the_unnamed_statement_and_portal_are_replaced() -> None:
    data = run(
        parse("", "SHOW STATE"),
        parse("", "SHOW VERSION"),
        build.build_bind("", ""),
        build.build_bind("", ""),
        build.build_execute(),
        SYNC,
    )
    assert types(data) == "1122DCZ"


def test_a_simple_query_forgets_the_unnamed_statement() -> None:
    console = new_console()
    run(parse("", "SHOW STATE"), SYNC, build.build_query("SHOW VERSION"), console=console)
    assert errors(run(build.build_bind("", ""), SYNC, console=console))[0][0] == "26000"


def test_close_forgets_and_does_not_mind_that_there_is_nothing() -> None:
    console = new_console()
    data = run(
        parse("s", "SHOW STATE"),
        build.build_bind("p", "s"),
        build.build_close(PORTAL, "p"),
        build.build_close(STATEMENT, "s"),
        build.build_close(STATEMENT, "s"),
        console=console,
    )
    assert types(data) == "12333"
    assert errors(run(build.build_execute("p"), SYNC, console=console))[0][0] == "34000"
    assert errors(run(build.build_bind("", "s"), SYNC, console=console))[0][0] == "26000"


def test_rows_may_be_fetched_in_portions() -> None:
    data = run(
        parse("", "SHOW STATE"),
        build.build_bind("", ""),
        build.build_execute("", 2),
        build.build_execute("", 1),
        build.build_execute("", 5),
        SYNC,
    )
    # Like PostgreSQL, a portion that is full is suspended even where nothing is left.
    assert types(data) == "12" + "DDs" + "Ds" + "C" + "Z"


def test_a_portal_ends_with_its_transaction() -> None:
    start = (parse("s", "SHOW STATE"), build.build_bind("p", "s"), build.build_execute("p", 1))
    console = new_console()
    run(*start, SYNC, console=console)
    assert errors(run(build.build_execute("p"), SYNC, console=console))[0][0] == "34000"

    console = new_console()
    run(build.build_query("BEGIN"), *start, SYNC, console=console)
    assert types(run(build.build_execute("p"), SYNC, console=console)) == "DDCZ"
    run(build.build_query("COMMIT"), console=console)
    assert errors(run(build.build_execute("p"), SYNC, console=console))[0][0] == "34000"


def test_flush_needs_no_answer() -> None:
    assert types(run(parse("", "SHOW STATE"), build.build_flush())) == "1"


def test_statements_and_portals_are_bounded() -> None:
    console = new_console()
    for number in range(MAX_STATEMENTS):
        run(parse(f"s{number}", "SHOW STATE"), console=console)
    data = run(parse("one more", "SHOW STATE"), SYNC, console=console)
    assert "no more than 256 prepared statements" in errors(data)[0][1]
    assert types(run(parse("", "SHOW STATE"), SYNC, console=console)) == "EZ"
    run(build.build_query("BEGIN"), console=console)
    for number in range(MAX_PORTALS):
        run(build.build_bind(f"p{number}", "s1"), console=console)
    data = run(build.build_bind("one more", "s1"), SYNC, console=console)
    assert "no more than 16 portals" in errors(data)[0][1]


def test_deallocate_forgets_one_or_all() -> None:
    console = new_console()
    run(parse("a", "SHOW STATE"), parse('"B"', "SHOW STATE"), SYNC, console=console)
    assert tag(run(build.build_query("DEALLOCATE a"), console=console)) == "DEALLOCATE"
    data = run(build.build_query("DEALLOCATE a"), console=console)
    assert errors(data) == [("26000", 'prepared statement "a" does not exist')]
    assert tag(run(build.build_query("deallocate ALL;"), console=console)) == "DEALLOCATE ALL"
    assert errors(run(build.build_bind("", '"B"'), SYNC, console=console))[0][0] == "26000"
