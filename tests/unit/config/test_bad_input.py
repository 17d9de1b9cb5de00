"""Whatever the files hold, loading them gives a configuration or ConfigError, soon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config import Config, load_config
from pgmux.config.params import DATABASE_KEYS, PEER_KEYS, SETTINGS, USER_KEYS
from pgmux.config.problems import MAX_PROBLEMS
from pgmux.errors import ConfigError
from tests.unit.config.helpers import load, problems_of, reader

MAIN = "[pgbouncer]\n"
PIECES = st.sampled_from(
    [
        "[pgbouncer]",
        "[databases]",
        "[users]",
        "[peers]",
        "[",
        "]",
        "=",
        "'",
        "''",
        ";",
        "#",
        "*",
        "host=",
        "port=",
        "1",
        "d",
        "pool_mode",
        "session",
        "ä",
        "\0",
        "\x85",
        "\u2028",
        "\n",
        "\t",
        "\r",
        " ",
        "%include a",
        "%include b",
    ]
)


@given(st.lists(PIECES).map("".join), st.lists(PIECES).map("".join))
def test_any_pieces_of_configuration_give_a_config_or_config_error(a: str, b: str) -> None:
    try:
        config = load_config("a", reader({"a": a, "b": b}), "b")
    except ConfigError as error:
        assert all(problem.file in ("a", "b") for problem in error.problems)
        return
    assert isinstance(config, Config)


@given(st.text())
def test_any_text_gives_a_config_or_config_error(text: str) -> None:
    for whole in (text, MAIN + text, MAIN + "[databases]\nd = " + text):
        try:
            load(whole)
        except ConfigError as error:
            assert error.problems


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("pgbouncer", SETTINGS),
        ("databases", DATABASE_KEYS),
        ("users", USER_KEYS),
        ("peers", PEER_KEYS),
    ],
)
def test_every_name_with_a_letter_too_many_is_unknown_and_recognised(
    section: str, names: dict[str, object]
) -> None:
    for name in names:
        line = f"{name}x = 1" if section == "pgbouncer" else f"1 = {name}x=1"
        (problem,) = problems_of(f"{MAIN}[{section}]\n{line}")
        assert problem.startswith("a.ini:3: un")
        assert f'did you mean "{name}"?' in problem


@pytest.mark.parametrize("name", SETTINGS)
def test_a_file_cut_in_any_setting_s_line_gives_a_config_or_config_error(name: str) -> None:
    line = f"{name} = {SETTINGS[name].default or 1}"
    for end in range(len(line) + 1):
        try:
            load(MAIN + line[:end])
        except ConfigError as error:
            assert error.problems[0].line == 2


def test_a_nul_byte_is_refused_at_its_line() -> None:
    assert problems_of(MAIN + "verbose = 1\nlog\0file = x\nsyntax") == [
        "a.ini:3: syntax error in configuration (a.ini:3), stopping loading (write key = value)",
        "a.ini:3: NUL byte in configuration (is this a text file?)",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "x" * 1_000_000,
        "x" * 1_000_000 + "= 1",
        "'" + "x" * 1_000_000,
        "query_timeout = " + "1" * 1_000_000,
        "logfile = " + "x " * 500_000 + "\0",
        "[" + "x" * 1_000_000,
        "[" + "x" * 1_000_000 + "]",
        "%include " + "x" * 1_000_000,
        "[databases]\nd = " + "x=1 " * 250_000,
        "[databases]\nd = connect_query='" + "''" * 500_000,
        "[databases]\nd = " + " " * 1_000_000 + "x",
        "'" * 1_000_000,
        "=" * 1_000_000,
        "'\n" * 500_000,
        "x\n" * 500_000,
    ],
    ids=range(15),
)
def test_a_megabyte_is_refused_at_once_and_in_few_words(line: str) -> None:
    found = problems_of(MAIN + line)
    assert len(found) <= MAX_PROBLEMS + 1
    assert all(len(problem) < 1000 for problem in found)


def test_a_megabyte_of_a_text_is_read() -> None:
    assert len(load(MAIN + "logfile = " + "x" * 1_000_000).settings.logfile) == 1_000_000


def test_after_a_hundred_problems_no_more_are_looked_for() -> None:
    found = problems_of(MAIN + "x = 1\n" * 200)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "a.ini:101: too many problems, stopping loading"
