"""auth_file -> secrets by user."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config import parse_userlist

USERLIST = """
; a comment
"marko" "asdf"  and anything after it "too"
  "q""uote" "a""b"
"empty" ""

"scram" "SCRAM-SHA-256$4096:salt$stored:server" ;
"""


def broken(text: str) -> tuple[dict[str, str], str, int]:
    """The users before the break, the message and its line."""
    users, (problem,) = parse_userlist(text, "u.txt")
    return users, problem.message, problem.line


def test_users_comments_quotes_and_trailing_words_are_read() -> None:
    assert parse_userlist(USERLIST, "u.txt") == (
        {
            "marko": "asdf",
            'q"uote': 'a"b',
            "empty": "",
            "scram": "SCRAM-SHA-256$4096:salt$stored:server",
        },
        (),
    )


def test_the_last_line_of_a_user_counts() -> None:
    assert parse_userlist('"a" "1"\n"a" "2"', "u")[0] == {"a": "2"}


@pytest.mark.parametrize(
    "line", ["c", '"c', '"c"', '"c" "', '"c" "d', "# c", "'c' 'd'", "\"c\" 'd'", '"c" "d\0"']
)
def test_a_broken_line_ends_the_reading_and_the_users_before_it_stay(line: str) -> None:
    assert broken('"a" "b"\n\n' + line) == ({"a": "b"}, "broken auth file", 3)


def test_a_secret_may_stand_on_the_next_line_as_there() -> None:
    assert parse_userlist('"a"\n"b"', "u")[0] == {"a": "b"}


def test_names_of_128_bytes_are_too_long() -> None:
    assert list(parse_userlist(f'"{"x" * 127}" "y"', "u")[0]) == ["x" * 127]
    assert broken(f'"{"ä" * 64}" "y"')[1] == "username too long in auth file"


def test_secrets_of_65531_bytes_are_too_long() -> None:
    assert parse_userlist(f'"x" "{"y" * 65530}"', "u")[0]["x"] == "y" * 65530
    assert broken(f'"x" "{"y" * 65531}"')[1] == "password too long in auth file"


@given(st.text() | st.text(alphabet='"a ;\n\0\\'))
def test_any_text_gives_users_and_at_most_one_problem(text: str) -> None:
    users, problems = parse_userlist(text, "u")
    assert len(problems) <= 1
    assert all(len(name) < 128 for name in users)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_what_is_written_by_the_rules_is_read_back(users: dict[str, str]) -> None:
    users = {k.replace("\0", ""): v.replace("\0", "") for k, v in users.items()}
    lines = [f"{quote(name)} {quote(secret)}" for name, secret in users.items()]
    assert parse_userlist("\n".join(lines), "u") == (users, ())


def quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("text", ['"' * 1_000_001, '"a" "' + "b" * 1_000_000, ";\n" * 500_000])
def test_a_megabyte_is_read_or_refused_at_once(text: str) -> None:
    users, _ = parse_userlist(text, "u")
    assert users == {}
