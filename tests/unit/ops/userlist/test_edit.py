"""A userlist's text with other secrets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config import parse_userlist
from pgmux.ops.userlist.edit import UserlistError, edit_userlist, read_users

TEXT = """\
; who may come in
"ada" "one"   and anything after it
  "b""ob" "t""wo"

; the last of a name counts
"ada" "three" ; really
"""


def edit(text: str, **set_: str) -> str:
    return edit_userlist(text, "users.txt", set_)


def test_a_new_secret_changes_its_line_and_nothing_else() -> None:
    assert edit(TEXT, ada='fo"ur') == TEXT.replace('"three"', '"fo""ur"')


def test_of_several_lines_of_a_name_the_last_one_gets_the_secret() -> None:
    assert read_users(edit(TEXT, ada="new"), "u")["ada"] == "new"
    assert '"ada" "one"' in edit(TEXT, ada="new")


def test_a_secret_that_is_there_already_leaves_the_text_alone() -> None:
    assert edit_userlist(TEXT, "u", {"ada": "three", 'b"ob': 't"wo'}) == TEXT


def test_a_new_user_comes_at_the_end() -> None:
    assert edit_userlist(TEXT, "u", {'c "d"': "x"}) == TEXT + '"c ""d""" "x"\n'


def test_all_lines_of_a_removed_user_go_and_nothing_else_does() -> None:
    kept = [line for line in TEXT.splitlines(keepends=True) if not line.startswith('"ada"')]
    assert edit_userlist(TEXT, "u", remove=["ada", "nobody"]) == "".join(kept)


def test_a_secret_on_the_next_line_goes_with_its_user() -> None:
    assert edit_userlist('; a\n"ada"\n  "x" y\n; b\n', "u", remove=["ada"]) == "; a\n; b\n"


def test_who_is_set_and_removed_is_set() -> None:
    assert edit_userlist('"a" "1"\n', "u", {"a": "2"}, remove=["a"]) == '"a" "2"\n'


def test_a_last_line_without_newline_is_ended_before_another_one_follows() -> None:
    assert edit('"a" "1"', b="2") == '"a" "1"\n"b" "2"\n'
    assert edit("; a comment", b="2") == '; a comment\n"b" "2"\n'
    assert edit('"a" "1"', a="2") == '"a" "2"'


def test_newlines_are_as_the_file_has_them() -> None:
    assert edit('"a" "1"\r\n', a="2", b="3") == '"a" "2"\r\n"b" "3"\r\n'
    assert edit_userlist('"a" "1"\r\n"b" "2"\r\n', "u", remove=["a"]) == '"b" "2"\r\n'


def test_bytes_that_are_no_utf8_stay() -> None:
    text = b'"a\xe4" "p\xff" ; \xfc\n'.decode("utf-8", "surrogateescape")
    assert edit(text, b="1").startswith(text)


@pytest.mark.parametrize("line", ['"c', "c d", '"c" "d'])
def test_a_broken_line_is_an_error_that_says_where_and_shows_no_secret(line: str) -> None:
    with pytest.raises(UserlistError, match=re.escape("users.txt:2: ")) as caught:
        edit_userlist(f'"a" "hidden"\n{line}\n"e" "hidden"\n', "users.txt", {"a": "2"})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "secret", "why"),
    [
        ("", "x", "needs a name"),
        ("x" * 128, "x", "more than 127 bytes"),
        ('"' * 64, "x", "more than 127 bytes"),
        ("a", "x" * 65531, "more than 65530 bytes"),
        ("a", "\0", "NUL"),
        ("a", "b\nc", "newline"),
    ],
)
def test_what_no_pooler_would_read_is_refused(user: str, secret: str, why: str) -> None:
    with pytest.raises(UserlistError, match=why):
        edit_userlist("", "u", {user: secret})


names = st.text(st.characters(exclude_characters="\0\n", codec="utf-8"), min_size=1, max_size=20)


@given(st.dictionaries(names, names), st.dictionaries(names, names), st.sets(names))
def test_what_is_written_is_what_a_pooler_reads(
    old: dict[str, str], new: dict[str, str], gone: set[str]
) -> None:
    gone |= set(list(old)[::2])
    text = edit_userlist(edit_userlist("", "u", old), "u", new, gone)
    expected = {name: secret for name, secret in old.items() if name not in gone} | new
    assert parse_userlist(text, "u") == (expected, ())
