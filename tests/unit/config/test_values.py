"""One value's text -> value: C's rules."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config.params import DATABASE_KEYS, SETTINGS, USER_KEYS, Param
from pgmux.config.values import (
    atoi,
    format_value,
    parse_int,
    parse_port,
    parse_seconds,
    parse_uint,
    parse_value,
)

EVERY_PARAM = [*SETTINGS.values(), *DATABASE_KEYS.values(), *USER_KEYS.values()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("+7", 7),
        (" 7", 7),
        ("-1", -1),
        ("0777", 511),
        ("0x10", 16),
        ("0", 0),
        ("4294967396", 100),
        ("2147483648", -2147483648),
        ("99999999999999999999999", -1),
        ("-99999999999999999999999", 0),
    ],
)
def test_an_integer_is_read_as_strtol_reads_it(text: str, value: int) -> None:
    assert parse_int(text) == value


@pytest.mark.parametrize("text", ["", "1 ", "1s", "08", "0x", "1.0", "yes", "--1", "٣", "1_000"])
def test_what_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an integer is expected"):
        parse_int(text)


@pytest.mark.parametrize(
    ("text", "value"), [("-1", 4294967295), ("4294967296", 0), ("9" * 30, 4294967295)]
)
def test_an_unsigned_integer_is_read_as_strtoul_reads_it(text: str, value: int) -> None:
    assert parse_uint(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("+2", 2.0),
        ("0x10", 16.0),
        ("0.0000019", 0.000001),
    ],
)
def test_seconds_are_read_as_strtod_reads_them_and_cut_to_microseconds(
    text: str, value: float
) -> None:
    assert parse_seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "1s", "1 ", ".", "e3", "nan", "inf", "1e999", "1e14", "1_0"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="seconds are expected, 0 or more"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", (12, True)), ("12MB", (12, False)), ("x", (0, False)), ("0x10", (0, False))],
)
def test_a_key_s_number_is_what_its_text_begins_with(text: str, value: tuple[int, bool]) -> None:
    assert atoi(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "65536", "http", "9" * 50])
def test_a_port_outside_1_to_65535_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a port from 1 to 65535"):
        parse_port(text)


def test_a_list_of_names_is_split_at_commas_and_blanks() -> None:
    assert parse_value(SETTINGS["admin_users"], " a,b  c,,\td,") == ("a", "b", "c", "d")
    assert parse_value(SETTINGS["admin_users"], "") == ()


def test_a_list_of_addresses_is_split_at_commas_only() -> None:
    assert parse_value(SETTINGS["listen_addr"], "a b, c,,") == ("a b", "c")


def test_a_choice_is_read_in_any_case() -> None:
    assert parse_value(SETTINGS["auth_type"], "SCRAM-sha-256") == "scram-sha-256"


def test_a_size_below_zero_and_a_limit_of_zero_are_not_set() -> None:
    assert parse_value(DATABASE_KEYS["pool_size"], "0") == 0
    assert parse_value(DATABASE_KEYS["pool_size"], "-1") is None
    assert parse_value(DATABASE_KEYS["max_db_connections"], "0") is None
    assert parse_value(DATABASE_KEYS["server_lifetime"], "0") is None
    assert parse_value(USER_KEYS["query_wait_timeout"], "0") == 0.0


@given(st.sampled_from(EVERY_PARAM), st.text() | st.from_regex(r"[-+ 0-9a-fxX.eE]*"))
def test_no_text_raises_anything_but_ValueError(param: Param, text: str) -> None:
    with suppress(ValueError):
        format_value(param, parse_value(param, text))


@pytest.mark.parametrize("param", EVERY_PARAM, ids=lambda param: param.name)
def test_a_megabyte_is_read_or_refused_at_once(param: Param) -> None:
    for text in ("9" * 1_000_000, "0" * 1_000_000 + "1", "," * 1_000_000, " " * 1_000_000):
        with suppress(ValueError):
            format_value(param, parse_value(param, text))
