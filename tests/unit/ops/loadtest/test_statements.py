"""A file's statements are split where PostgreSQL's own psql would."""

from __future__ import annotations

import pytest

from pgmux.ops.loadtest.statements import (
    COMPLEX_QUERY,
    MOST_CHARACTERS,
    StatementError,
    read_query,
    split,
)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;\n", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT 'it''s;'", ["SELECT ';'", "SELECT 'it''s;'"]),
        (r"SELECT E'a\';b'; SELECT 'a\'; x", [r"SELECT E'a\';b'", r"SELECT 'a\'", "x"]),
        ('SELECT "a;""b"; x', ['SELECT "a;""b"', "x"]),
        ("DO $$ BEGIN; END $$; x", ["DO $$ BEGIN; END $$", "x"]),
        ("SELECT $a$ $$;$b$;$a$; x", ["SELECT $a$ $$;$b$;$a$", "x"]),
        ("SELECT a$b$c; x", ["SELECT a$b$c", "x"]),
        ("SELECT $é$;$é$; x", ["SELECT $é$;$é$", "x"]),
        ("-- a;\nSELECT 1; -- b;", ["SELECT 1"]),
        ("/* ; /* ; */ ; */ SELECT 1", ["SELECT 1"]),
        ("SELECT /* a;b */ 1; x", ["SELECT /* a;b */ 1", "x"]),
        (
            "CREATE RULE r AS ON INSERT TO t DO (x; y); z",
            ["CREATE RULE r AS ON INSERT TO t DO (x; y)", "z"],
        ),
        (
            "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END;"
            " SELECT 3; END; x",
            [
                "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2"
                " END; SELECT 3; END",
                "x",
            ],
        ),
        ("SELECT 1)); x", ["SELECT 1))", "x"]),
        (" ;; \n -- nothing\n ; /* at all */", []),
    ],
)
def test_a_text_is_split_at_its_statements_ends(text: str, statements: list[str]) -> None:
    assert split(text) == statements


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT 1;\nSELECT 'a", "line 2: ' is never closed"),
        ('SELECT "a', 'line 1: " is never closed'),
        ("\n\nDO $x$ $y$", r"line 3: \$x\$ is never closed"),
        ("/* /* */", r"line 1: /\* is never closed"),
        ("SELECT 1;\n\\set x 1", r"line 2: \\ begins a command of psql's"),
    ],
)
def test_what_is_no_sql_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(StatementError, match=f"f.sql, {said}"):
        read_query("f.sql", text)


def test_the_mark_of_utf_8_that_some_editors_write_is_no_sql() -> None:
    assert read_query("f.sql", "\ufeffSELECT 1;\r\n").statements == ("SELECT 1",)


@pytest.mark.parametrize("text", ["", " \n", "-- nothing\n;", "/* */"])
def test_a_file_without_a_statement_is_refused(text: str) -> None:
    with pytest.raises(StatementError, match=r"f\.sql has no statement"):
        read_query("f.sql", text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("BEGIN; SELECT 1; COMMIT", "BEGIN"),
        ("start transaction", "START"),
        ("SELECT 1; -- x\n end", "END"),
        ("rollback", "ROLLBACK"),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
    ],
)
def test_a_file_that_begins_or_ends_transactions_is_refused(text: str, word: str) -> None:
    with pytest.raises(StatementError, match=f"has {word}: several statements are one transaction"):
        read_query("f.sql", text)


@pytest.mark.parametrize("text", ["SAVEPOINT a; SELECT 1; ROLLBACK TO a", "PREPARE x AS SELECT 1"])
def test_what_stays_within_a_transaction_may_be_in_it(text: str) -> None:
    assert read_query("f.sql", text).is_own


def test_no_file_of_any_size_or_kind_is_taken() -> None:
    with pytest.raises(StatementError, match="1,000,000 characters"):
        read_query("f.sql", " " * (MOST_CHARACTERS + 1))
    with pytest.raises(StatementError, match="zero byte"):
        read_query("f.sql", "SELECT '\0'")


def test_the_complex_query_is_one_statement() -> None:
    assert split(COMPLEX_QUERY.statements[0]) == list(COMPLEX_QUERY.statements)
