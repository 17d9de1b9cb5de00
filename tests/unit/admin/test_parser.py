from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.admin.parser import Command, parse_command
from pgmux.errors import PoolerError


@pytest.mark.parametrize(
    "query",
    ["show pools", "SHOW POOLS;", " \t\r\nshow\n\tpools ; ", '"show" "pools"'],
)
def test_a_command_is_a_word_and_an_argument_in_any_writing(query: str) -> None:
    command = parse_command(query.encode())
    assert (command.word, command.argument.lower(), command.value) == ("show", "pools", None)


def test_a_quoted_argument_keeps_its_case_and_its_blanks() -> None:
    assert parse_command(b'PAUSE "My ""db"""') == Command("pause", 'My "db"')


def test_bytes_that_are_no_text_come_back_as_they_were() -> None:
    argument = parse_command(b'PAUSE "\xff\xe9"').argument
    assert argument.encode("utf-8", "surrogateescape") == b"\xff\xe9"


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("SET verbose = 1", "verbose", "1"),
        ("set verbose=1;", "verbose", "1"),
        ("SET verbose TO 1", "verbose", "1"),
        ("SET logfile = '/var/log/it''s'", "logfile", "/var/log/it's"),
        ('SET "logfile" = "a ""b"""', "logfile", 'a "b"'),
        ("SET server_reset_query = ''", "server_reset_query", ""),
        ("SET Verbose = One", "Verbose", "One"),
    ],
)
def test_set_takes_a_word_or_a_string(query: str, name: str, value: str) -> None:
    assert parse_command(query.encode()) == Command("set", name, value)


@pytest.mark.parametrize(
    "query",
    ["", ";", "show a b", "show a; show b", "show-a", 'show"a"', "set a = 1 2", 'show "a'],
)
def test_other_queries_are_invalid_commands(query: str) -> None:
    with pytest.raises(PoolerError, match=r"^invalid command '") as caught:
        parse_command(query.encode())
    assert str(caught.value) == f"invalid command '{query}', use SHOW HELP;"
    assert not caught.value.fatal


@pytest.mark.parametrize(
    ("fits", "too_long"),
    [
        ("a" * 15, "a" * 16),
        ("show " + "a" * 63, "show " + "a" * 64),
        ("set " + "a" * 63 + " = 1", "set " + "a" * 64 + " = 1"),
        ("set a = " + "b" * 255, "set a = " + "b" * 256),
        ('pause "' + "a" * 61 + '"', 'pause "' + "a" * 62 + '"'),
    ],
)
def test_the_limits_are_pgbouncers(fits: str, too_long: str) -> None:
    parse_command(fits.encode())
    with pytest.raises(PoolerError, match=r"^bad arguments$"):
        parse_command(too_long.encode())


def test_set_needs_a_name() -> None:
    with pytest.raises(PoolerError, match=r"^bad arguments$"):
        parse_command(b'set "" = 1')


def test_an_error_repeats_no_more_than_a_line_of_the_query() -> None:
    with pytest.raises(PoolerError) as caught:
        parse_command(b"!" * 1_000_000)
    assert len(str(caught.value)) < 1100


@pytest.mark.parametrize(
    "query",
    [
        b" " * 200_000,
        b"set " + b"to" * 100_000 + b"!",
        b'"' * 200_001,
        b"set a = " + b"'" * 200_001,
        b'show "' + b"a" * 200_000,
    ],
)
def test_a_query_made_to_be_slow_is_refused_in_one_pass(query: bytes) -> None:
    # With a backtracking pattern each of these takes minutes, or for ever.
    with pytest.raises(PoolerError):
        parse_command(query)


@given(st.binary(max_size=80) | st.text("\"';= \nshowtae", max_size=40).map(str.encode))
def test_any_bytes_are_a_command_or_a_pooler_error(query: bytes) -> None:
    try:
        command = parse_command(query)
    except PoolerError as error:
        assert not error.fatal
    else:
        assert len(command.word) <= 15 and len(command.argument) <= 63
