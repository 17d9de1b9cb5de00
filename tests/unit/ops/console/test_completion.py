"""What Tab offers, learned from SHOW HELP."""

from __future__ import annotations

import pytest

from pgmux.admin.show import HELP
from pgmux.ops.console.completion import Kind, find_completions, parse_help

OLD_HELP = "\n\tSHOW HELP|POOLS|FDS\n\tSET key = arg\n\tPAUSE [<db>]\n\tKILL <db>\n\tSUSPEND"
NAMES = {Kind.DATABASE: ["app", "my-db", 'q"q', "pgbouncer"], Kind.SETTING: ["pool_mode", "user"]}


def complete(text: str, help_: str = HELP) -> list[str]:
    return find_completions(text, parse_help(help_), NAMES.__getitem__)[1]


def test_commands_are_those_of_the_consoles_help() -> None:
    assert complete("") == list(parse_help(HELP).arguments)
    assert "KILL_CLIENT" in complete("")
    assert complete("", OLD_HELP) == ["SHOW", "SET", "PAUSE", "KILL", "SUSPEND"]


def test_a_command_is_offered_in_the_case_of_what_is_typed() -> None:
    assert complete("re") == ["reload", "resume", "reconnect"]
    assert complete("RECO") == ["RECONNECT"]
    assert complete("show poo") == ["pools"]
    assert complete("SHOW Lis") == ["lists"]
    assert complete("SHOW ST")[:2] == ["STATE", "STATS"]


def test_our_own_commands_are_offered_to_who_begins_one() -> None:
    assert complete("qu") == ["quit"]
    assert complete("\\") == ["\\q", "\\x", "\\?"]


def test_arguments_are_those_of_the_help_too() -> None:
    assert complete("SHUTDOWN ") == ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"]
    assert complete("SHOW ", OLD_HELP) == ["HELP", "POOLS", "FDS"]
    assert complete("RELOAD ") == []
    assert complete("KILL_CLIENT ") == []
    assert complete("NONSENSE ") == []


@pytest.mark.parametrize("command", ["PAUSE", "resume", "KILL", "disable", "WAIT_CLOSE"])
def test_databases_are_offered_as_the_grammar_takes_them(command: str) -> None:
    assert complete(f"{command} ") == ["app", '"my-db"', '"q""q"']
    assert complete(f"{command} my") == ['"my-db"']
    assert complete(f'{command} "my') == ['"my-db"']


def test_settings_are_offered_to_set_and_nothing_behind_them() -> None:
    assert complete("SET po") == ["pool_mode"]
    assert complete("SET pool_mode = ") == []


def test_what_is_replaced_is_the_word_before_the_cursor() -> None:
    grammar = parse_help(HELP)
    assert find_completions(" show poo", grammar, NAMES.__getitem__)[0] == 3
    assert find_completions("sho", grammar, NAMES.__getitem__)[0] == 3


def test_names_are_asked_for_only_where_they_are_wanted() -> None:
    def refuse(kind: Kind) -> list[str]:
        raise AssertionError(kind)

    for text in ("", "SHOW ", "SHUTDOWN W"):
        assert find_completions(text, parse_help(HELP), refuse)[1]
