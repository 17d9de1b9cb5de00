"""Statements in the log have no literals, whatever they look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.session.literals import hide_literals

SECRET = "hunter2"
LONG = 10_000


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT 1", "SELECT ?"),
        ("SELECT 'it''s', E'it\\'s', U&'\\0441', b'1', X'ff', n'x'", "SELECT ?, ?, ?, ?, ?, ?"),
        ("SELECT 'a' \n 'b'", "SELECT ? ?"),
        ("SELECT $$it's$$, $a$ $$ $b$ $a$", "SELECT ?, ?"),
        (
            "SELECT 1.5, .5, 1., 1e10, 1.5e-10, 0xFF, 1_000, -7",
            "SELECT ?, ?, ?, ?, ?, ?, ?, -?",
        ),
        ("SELECT a$b$c, x1, $1, $22::int", "SELECT a$b$c, x1, $1, $22::int"),
        ('SELECT "it\'s ""a"" 1", "t1".c', 'SELECT "it\'s ""a"" 1", "t1".c'),
        ("SELECT/* it's /* 'n' */ested */a--'\n,b -- c", "SELECT a ,b"),
        ("  SELECT\n\ta\r\n ;", "SELECT a ;"),
        ("SELECT date '2026-11-20', nameE'x'", "SELECT date ?, nameE?"),
        ("SELECT größe FROM Ünïcode", "SELECT größe FROM Ünïcode"),
        ("SET app.token = hunter2", "SET app.token = ?"),
        ("set search_path to a, \"b\", 'c'; SELECT a = b", "set search_path to ?; SELECT a = b"),
        ("SET LOCAL statement_timeout TO 500", "SET LOCAL statement_timeout TO ?"),
        ("ALTER ROLE bob PASSWORD 'x'", "ALTER ROLE bob PASSWORD ?"),
        ("ALTER DATABASE app SET x TO on", "ALTER DATABASE app SET x TO ?"),
        ("", ""),
    ],
)
def test_the_shape_of_a_statement_stays(sql: str, shown: str) -> None:
    assert hide_literals(sql, LONG) == shown


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'hunter2",
        "SELECT E'hunter2\\'",
        "SELECT $x$hunter2",
        "SELECT $x$hunter2$x",
        'SELECT "hunter2',
        "SELECT 'a\\', ' hunter2 '",
        "SELECT E'a'\n'\\' hunter2 '",
        "SELECT /* hunter2",
        "SELECT 1/* /* */ hunter2",
        "SELECT a--hunter2",
        "SELECT 1E'\\'hunter2'",
        "SELECT éE'\\' hunter2 '",
        "SELECT \udce9E'\\' hunter2 '",
        "SELECT E'\udc83\\', 'hunter2'",  # SJIS: 83 5c is a character
        "SELECT E'\udc83\\\\', hunter2'",
        "SELECT E'\u4e2d\\', 'hunter2'",  # GBK: e4 b8, ad 5c are two
    ],
)
def test_what_is_not_certain_is_hidden(sql: str) -> None:
    assert SECRET not in hide_literals(sql, LONG)


def test_it_is_not_longer_than_asked_for() -> None:
    assert (
        hide_literals("SELECT " + "column, " * 1000, 50)
        == ("SELECT " + "column, " * 1000)[:50] + "…"
    )
    assert len(hide_literals("x" * 10_000, 1000)) == 1001


TAGS = st.sampled_from(["$$", "$a$", "$_1$", "$é$"])
BLANKS = st.sampled_from([" ", "\n", "/* ' */ ", "--'\n", "\t", "/*/*'*/\"*/ "])
LITERALS = st.one_of(
    st.tuples(
        st.sampled_from(["'", "N'", "b'", "x'", "U&'"]),
        st.text("a '\"$-*/;;\n\u00e9", max_size=5).map(lambda text: text.replace("'", "''")),
        st.just(SECRET + "'"),
    ).map("".join),
    st.tuples(
        st.sampled_from(["e'", "E'"]),
        st.text("a'\\\n$\"", max_size=5).map(lambda text: text.replace("\\", "\\\\")),
        st.just(SECRET + "'"),
    ).map(lambda parts: parts[0] + parts[1].replace("'", "\\'") + parts[2]),
    TAGS.map(lambda tag: f"{tag} it's \" $ {SECRET} {tag}"),
    st.just(f"/* {SECRET} ' /* */ {SECRET} */ "),
    st.just(f"-- {SECRET} ' \" $$ \n"),
)
OTHERS = st.sampled_from(
    [
        *("SELECT", "FROM t", "a.b", '"it\'s"', '"a""b"', "$1", "::", "+", "(", ")", ",", ";"),
        *("42", "1.5e-3", "a$b$", "nameE", "SET x TO", "=", "||", "größe", "\udce9", "-", "/", "*"),
    ]
)
STATEMENTS = st.lists(st.one_of(LITERALS, OTHERS), max_size=12).flatmap(
    lambda parts: st.lists(BLANKS, min_size=len(parts), max_size=len(parts)).map(
        lambda blanks: "".join(a + b for a, b in zip(parts, blanks, strict=True))
    )
)


@given(STATEMENTS, st.integers(0, 400))
def test_no_literal_is_shown_wherever_the_statement_is_cut(sql: str, end: int) -> None:
    assert SECRET not in hide_literals(sql, LONG)
    assert SECRET not in hide_literals(sql[:end], LONG)


@given(st.text("aE1$'\"\\/*-. \n;=é\udce9U&", max_size=40))
def test_whatever_comes_what_is_shown_has_no_string(sql: str) -> None:
    shown = hide_literals(sql, LONG)
    outside = "".join(shown.split('"')[::2])
    assert "'" not in outside


@given(st.text(max_size=200), st.integers(1, 100))
def test_any_text_has_a_shape(sql: str, max_len: int) -> None:
    assert len(hide_literals(sql, max_len)) <= max_len + 1
