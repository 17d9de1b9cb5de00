"""What the page may ask for, and what becomes of it."""

from __future__ import annotations

import json

import pytest

from pgmux.admin.parser import Command, parse_command
from pgmux.web.commands import BadCommand, read_command


@pytest.mark.parametrize(
    ("asked", "sql"),
    [
        ({"action": "pause"}, "PAUSE"),
        ({"action": "pause", "database": None}, "PAUSE"),
        ({"action": "pause", "database": "shop"}, "PAUSE shop"),
        ({"action": "resume", "database": "Shop floor"}, 'RESUME "Shop floor"'),
        ({"action": "reconnect", "database": 'a"; KILL x'}, 'RECONNECT "a""; KILL x"'),
        ({"action": "reload"}, "RELOAD"),
        ({"action": "kill_client", "client_id": 17}, "KILL_CLIENT 17"),
    ],
)
def test_a_command_is_told_to_the_console(asked: object, sql: str) -> None:
    assert read_command(asked).sql == sql


@pytest.mark.parametrize(
    "asked",
    [
        *(None, [], "pause", 1, {}, {"action": None}, {"action": ["pause"]}, {"action": "kill"}),
        *({"action": "PAUSE"}, {"action": "shutdown"}, {"action": "set", "key": "x"}),
        {"action": "reload", "database": "shop"},
        {"action": "pause", "sql": "KILL"},
        {"action": "pause", "database": ""},
        {"action": "pause", "database": 7},
        {"action": "pause", "database": "a\0b"},
        {"action": "pause", "database": json.loads('"half a character: \\ud800"')},
        {"action": "pause", "database": "x" * 129},
        {"action": "kill_client"},
        *({"action": "kill_client", "client_id": i} for i in ("17", -1, 1.5, True, 2**31, [1])),
    ],
)
def test_anything_else_is_refused(asked: object) -> None:
    with pytest.raises(BadCommand):
        read_command(asked)


def test_a_refusal_repeats_nothing_unprintable_and_no_more_than_it_needs() -> None:
    with pytest.raises(BadCommand) as error:
        read_command({"action": "reload", "\x1b[31m" + "x" * 1000: 1})
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200
    json.dumps(str(error.value))


NAMES = [
    "shop",
    "Shop",
    'a"; KILL x',
    '"',
    '""',
    ";",
    "a b",
    "d'x",
    "ü",
    "\n",
    "\\",
    "--",
    "/*",
    "x" * 63,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_databases_name_is_one_word_of_the_consoles_grammar(name: str) -> None:
    sql = read_command({"action": "pause", "database": name}).sql
    assert parse_command(sql.encode()) == Command("pause", name)
