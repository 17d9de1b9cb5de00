"""How results look: on a terminal, in a pipe, as JSON and CSV."""

from __future__ import annotations

import json
from io import StringIO

from rich.console import Console

from pgmux.ops.console.output import (
    Format,
    Style,
    printable,
    render_rich,
    render_text,
)
from pgmux.ops.console.result import Column, Result

TEXT, INT4, NUMERIC = 25, 23, 1700
RESULT = Result(
    "SHOW",
    [Column("name", TEXT), Column("port", INT4), Column("host", TEXT)],
    [("app", "5432", "db1"), ("b", "7", None), ("", None, "x\x1b[2J\n")],
)
WIDE = Result("SHOW", [Column(f"column_{i}", INT4) for i in range(17)], [("1",) * 17] * 2)


def on_terminal(result: Result, width: int = 80, style: Style | None = None) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(render_rich(result, style or Style(), console))
    return console.export_text()


def test_a_pipe_gets_psqls_table() -> None:
    assert render_text(RESULT, Style()) == (
        " name | port |     host     \n"
        "------+------+--------------\n"
        " app  | 5432 | db1\n"
        " b    |    7 | \n"
        "      |      | x\\x1B[2J\\x0A\n"
        "(3 rows)\n"
    )


def test_a_pipe_gets_psqls_expanded_table_where_that_is_asked_for() -> None:
    style = Style(expanded=True)
    assert render_text(Result("SHOW", [Column("a_longer_name", INT4)], [("1",)]), style) == (
        "-[ RECORD 1 ]-+--\na_longer_name | 1\n"
    )
    assert render_text(Result("SHOW", [Column("a", INT4)]), style) == "(0 rows)\n"


def test_a_pipe_gets_the_same_table_whatever_its_width() -> None:
    assert render_text(WIDE, Style()).startswith(" column_0 | column_1 |")


def test_json_has_numbers_null_and_text() -> None:
    assert json.loads(render_text(RESULT, Style(Format.JSON))) == [
        {"name": "app", "port": 5432, "host": "db1"},
        {"name": "b", "port": 7, "host": None},
        {"name": "", "port": None, "host": "x\x1b[2J\n"},
    ]


def test_numerics_are_numbers_of_any_size() -> None:
    column = Column("total", NUMERIC)
    texts = ("18446744073709551616", "0.25", "what")
    assert [column.value(text) for text in texts] == [18446744073709551616, 0.25, "what"]


def test_csv_has_a_header_and_quotes_where_needed() -> None:
    text = render_text(RESULT, Style(Format.CSV))
    assert text == 'name,port,host\napp,5432,db1\nb,7,\n,,"x\x1b[2J\n"'


def test_a_command_prints_its_tag_and_nothing_as_data() -> None:
    tag = Result("RELOAD")
    assert [render_text(tag, Style(each)) for each in Format] == ["RELOAD", "", ""]


def test_a_terminal_gets_a_table_with_numbers_to_the_right_and_null_named() -> None:
    lines = [line.split() for line in on_terminal(RESULT).splitlines()]
    assert lines[0] == ["name", "port", "host"]
    assert ["app", "5432", "db1"] in lines
    assert ["b", "7", "NULL"] in lines
    assert any("    7   NULL" in line for line in on_terminal(RESULT).splitlines())


def test_a_table_wider_than_the_terminal_is_expanded() -> None:
    narrow = on_terminal(WIDE)
    assert "--- 2 ---" in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert "--- 2 ---" not in on_terminal(WIDE, width=300)
    assert "--- 2 ---" not in on_terminal(RESULT)


def test_expanded_can_be_asked_for() -> None:
    assert "--- 3 ---" in on_terminal(RESULT, style=Style(expanded=True))


def test_no_value_is_cut_on_a_very_narrow_terminal() -> None:
    long = Result("SHOW", [Column("v", TEXT)], [("0123456789" * 3,)])
    assert "".join(on_terminal(long, width=20).split()).count("0123456789") == 3


def test_what_clients_say_moves_no_cursor() -> None:
    assert printable("a\x1b[31m\x07\u202eü日\x9b") == "a\\x1B[31m\\x07\\u202Eü日\\x9B"
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\x0D"
    assert "\x1b[2J" not in on_terminal(RESULT)
