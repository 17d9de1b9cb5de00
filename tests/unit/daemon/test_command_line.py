"""The command line is PgBouncer's, down to getopt_long's messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.daemon.command_line import USAGE, Action, Options, UsageError, parse_command_line


def test_a_file_alone_is_run_in_the_foreground() -> None:
    assert parse_command_line(["pgbouncer.ini"]) == Options(config_file="pgbouncer.ini")


def test_every_option_has_a_short_and_a_long_form() -> None:
    short = parse_command_line(["-d", "-q", "-v", "-u", "nobody", "a.ini"])
    long = parse_command_line(["--daemon", "--quiet", "--verbose", "--user=nobody", "a.ini"])
    assert short == long
    assert short == Options(daemon=True, quiet=True, verbose=1, user="nobody", config_file="a.ini")


def test_options_may_follow_the_file() -> None:
    assert parse_command_line(["a.ini", "-d"]) == Options(daemon=True, config_file="a.ini")


def test_v_counts() -> None:
    assert parse_command_line(["-v", "-v", "a.ini"]).verbose == 2
    assert parse_command_line(["-vvv", "a.ini"]).verbose == 3


@pytest.mark.parametrize(
    "words", [["-unobody"], ["-u", "nobody"], ["-qunobody"], ["--user", "nobody"], ["--us=nobody"]]
)
def test_a_user_may_be_written_in_each_of_getopts_ways(words: list[str]) -> None:
    assert parse_command_line([*words, "a.ini"]).user == "nobody"


def test_an_empty_user_is_not_the_same_as_none() -> None:
    assert parse_command_line(["-u", "", "a.ini"]).user == ""
    assert parse_command_line(["--user=", "a.ini"]).user == ""
    assert parse_command_line(["a.ini"]).user is None


def test_a_long_option_may_be_abbreviated_while_it_is_unique() -> None:
    assert parse_command_line(["--da", "a.ini"]).daemon


def test_what_follows_two_dashes_is_a_file() -> None:
    assert parse_command_line(["--", "-d"]).config_file == "-d"


def test_a_second_file_is_pgmux_ini() -> None:
    options = parse_command_line(["a.ini", "b.ini"])
    assert (options.config_file, options.pgmux_file) == ("a.ini", "b.ini")


def test_version_and_help_act_before_a_later_mistake_is_seen() -> None:
    assert parse_command_line(["-V", "--zork"]).action is Action.VERSION
    assert parse_command_line(["-qh", "--zork"]).action is Action.HELP
    with pytest.raises(UsageError):
        parse_command_line(["--zork", "-V"])


def test_check_is_an_action() -> None:
    assert parse_command_line(["--check", "a.ini"]).action is Action.CHECK


@pytest.mark.parametrize("words", [["-R", "a.ini"], ["--reboot", "-d", "a.ini"], ["-R"]])
def test_reboot_is_known_as_gone(words: list[str]) -> None:
    assert parse_command_line(words).action is Action.REBOOT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no configuration file specified"),
        (["-d"], "no configuration file specified"),
        (["a", "b", "c"], "no configuration file specified"),
        (["--zork", "a"], "unrecognized option '--zork'"),
        (["--zork=1", "a"], "unrecognized option '--zork=1'"),
        (["-x", "a"], "invalid option -- 'x'"),
        (["-dx", "a"], "invalid option -- 'x'"),
        (["-u"], "option requires an argument -- 'u'"),
        (["a", "--user"], "option '--user' requires an argument"),
        (["--quiet=3", "a"], "option '--quiet' doesn't allow an argument"),
        (["--qui=3", "a"], "option '--quiet' doesn't allow an argument"),
        (["--ver"], "option '--ver' is ambiguous; possibilities: '--verbose' '--version'"),
    ],
)
def test_a_mistake_is_worded_as_getopt_words_it(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_command_line(words)
    assert str(caught.value) == message


def test_the_help_names_every_option() -> None:
    text = USAGE.format(prog="pgbouncer")
    for option in ("-d", "-q", "-R", "-u", "-v", "-V", "-h", "--check"):
        assert f"{option}, " in text or f"{option} " in text


@given(st.lists(st.one_of(st.text(), st.text("-qvVhRud=", max_size=5)), max_size=6))
def test_any_words_are_understood_or_refused(words: list[str]) -> None:
    try:
        options = parse_command_line(words)
    except UsageError as error:
        assert str(error)
    else:
        if options.action in (Action.RUN, Action.CHECK):
            assert options.config_file in words
