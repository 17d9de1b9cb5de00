"""One run of auth_query: what is sent, and what any answer comes to."""

from __future__ import annotations

import pytest

from pgmux.auth.secrets import SecretKind
from pgmux.session.auth_query import (
    MAX_MESSAGE_LEN,
    MAX_ROWS,
    AuthQueryAnswer,
    AuthQueryFailed,
    Found,
    build_auth_query,
)
from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader
from pgmux.wire.parse import Column

Row = tuple[bytes | None, ...]

SCRAM = (
    b"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$"
    b"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=:YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI="
)
DONE = build.build_command_complete("SELECT 1") + build.build_ready_for_query()


def described(columns: int) -> bytes:
    names = [Column(f"c{i}", 25, -1) for i in range(columns)]
    return (
        build.build_parse_complete()
        + build.build_bind_complete()
        + build.build_row_description(names)
    )


def rows(*found: Row) -> bytes:
    return described(2) + b"".join(build.build_data_row(row) for row in found) + DONE


def read(data: bytes) -> Found | None:
    answer = AuthQueryAnswer()
    answer.feed(data)
    assert answer.is_complete
    return answer.result()


def refusal(data: bytes) -> str:
    with pytest.raises(AuthQueryFailed) as caught:
        read(data)
    return str(caught.value)


def test_the_user_is_a_bound_value_in_one_batch_that_ends_with_one_sync() -> None:
    hostile = "x' OR true --"
    batch = build_auth_query("SELECT a, b FROM f($1)", hostile)
    messages = list(MessageReader(10_000, "client").feed(batch))
    assert "".join(chr(kind) for kind, _ in messages) == "PBDES"
    assert parse.parse_parse(messages[0][1]).query == b"SELECT a, b FROM f($1)"
    assert parse.parse_bind(messages[1][1]).parameters == (hostile.encode(),)
    assert parse.parse_execute(messages[3][1]).max_rows == MAX_ROWS


def test_a_user_whose_name_is_not_utf_8_is_sent_as_it_came() -> None:
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    messages = list(MessageReader(10_000, "client").feed(build_auth_query("q", name)))
    assert parse.parse_bind(messages[1][1]).parameters == (b"\xff\xfe",)


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        (b"pencil", SecretKind.PLAINTEXT),
        (b"md5" + b"0" * 32, SecretKind.MD5),
        (SCRAM, SecretKind.SCRAM),
    ],
)
def test_a_row_is_a_user_and_a_secret_of_any_kind(secret: bytes, kind: SecretKind) -> None:
    found = read(rows((b"bob", secret)))
    assert found is not None
    assert (found.user, found.secret.kind, found.secret.text) == ("bob", kind, secret)


def test_an_answer_cut_anywhere_is_the_same() -> None:
    whole = rows((b"bob", SCRAM))
    for at in range(len(whole)):
        answer = AuthQueryAnswer()
        answer.feed(whole[:at])
        assert not answer.is_complete
        answer.feed(whole[at:])
        assert answer.result() == read(whole)


def test_no_row_is_no_such_user() -> None:
    assert read(rows()) is None


def test_a_row_of_nulls_is_no_such_user() -> None:
    assert read(rows((None, None))) is None
    found = read(rows((b"bob", b"x"), (None, None)))
    assert found is not None
    assert found.user == "bob"


@pytest.mark.parametrize("secret", [None, b""])
def test_a_user_without_a_secret_is_known_and_has_none_that_matches(secret: bytes | None) -> None:
    found = read(rows((b"bob", secret)))
    assert found is not None
    assert found.secret.is_empty


def test_of_several_rows_the_last_counts() -> None:
    answer = AuthQueryAnswer()
    answer.feed(rows((b"bob", b"one"), (b"eve", b"two")))
    found = answer.result()
    assert found is not None
    assert (found.user, found.secret.text, answer.row_count) == ("eve", b"two", 2)


def test_a_secret_is_never_in_a_repr() -> None:
    assert "pencil" not in repr(read(rows((b"bob", b"pencil"))))


@pytest.mark.parametrize("columns", [1, 3])
def test_other_than_two_columns_are_refused_with_rows_and_without(columns: int) -> None:
    expected = f"expected 2 columns from auth_query, not {columns}"
    row = build.build_data_row((b"bob",) * columns)
    assert refusal(described(columns) + DONE) == expected
    assert refusal(described(columns) + row + DONE) == expected


def test_a_statement_without_a_result_is_refused() -> None:
    start = build.build_parse_complete() + build.build_bind_complete()
    text = refusal(start + build.build_no_data() + DONE)
    assert text == "expected 2 columns from auth_query, not 0"


def test_a_secret_of_nobody_is_refused() -> None:
    assert refusal(rows((None, b"x"))) == "auth_query response contained null user name"


@pytest.mark.parametrize("row", [(b"u" * 128, b"x"), (b"", b"x"), (b"bob", b"x" * 2048)])
def test_names_and_secrets_are_bounded_and_not_told(row: Row) -> None:
    text = refusal(rows(row))
    assert text.startswith("auth_query returned a user name of ")
    assert "uu" not in text
    assert "xx" not in text


def test_the_servers_error_is_told() -> None:
    error = build.build_error_response("ERROR", "42501", "permission denied for table pg_authid")
    text = refusal(error + build.build_ready_for_query())
    assert text == "S: error in auth_query: ERROR: permission denied for table pg_authid"


def test_more_rows_than_are_asked_for_are_refused() -> None:
    row = build.build_data_row((b"bob", b"x"))
    suspended = bytes((codes.PORTAL_SUSPENDED, 0, 0, 0, 4))
    data = described(2) + row * MAX_ROWS + suspended + build.build_ready_for_query()
    assert refusal(data) == f"auth_query returned {MAX_ROWS} rows or more"


def test_notices_and_parameters_among_the_answer_are_passed_over() -> None:
    notice = build.build_notice_response("NOTICE", "00000", "hello")
    found = read(notice + build.build_parameter_status("TimeZone", "UTC") + rows((b"bob", b"x")))
    assert found is not None


def test_a_row_larger_than_any_secret_is_not_waited_for() -> None:
    answer = AuthQueryAnswer()
    head = bytes((codes.DATA_ROW,)) + MAX_MESSAGE_LEN.to_bytes(4, "big")
    with pytest.raises(AuthQueryFailed, match="can't be read"):
        answer.feed(described(2) + head)


def test_a_copy_is_no_answer() -> None:
    answer = AuthQueryAnswer()
    with pytest.raises(AuthQueryFailed, match="unexpected response from auth_query"):
        answer.feed(bytes((codes.COPY_OUT_RESPONSE, 0, 0, 0, 7, 0, 0, 0)))
