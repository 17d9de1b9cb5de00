"""How input becomes commands, and which of them hold secrets."""

from __future__ import annotations

import pytest

from pgmux.ops.console.statements import hide_secret, is_last, may_hold_secret, split_statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ; ;\n;", []),
        ("SHOW POOLS", ["SHOW POOLS"]),
        (" show pools ; show stats;", ["show pools", "show stats"]),
        ("show pools\nshow stats\n", ["show pools", "show stats"]),
        ("set a = 'x;''y'; reload", ["set a = 'x;''y'", "reload"]),
        ('pause "a;b"; resume "a;b"', ['pause "a;b"', 'resume "a;b"']),
        ("set a = 'x;\nreload", ["set a = 'x;", "reload"]),
    ],
)
def test_semicolons_and_line_ends_separate_commands_outside_of_quotes(
    text: str, statements: list[str]
) -> None:
    assert split_statements(text) == statements


@pytest.mark.parametrize("text", ["SHUTDOWN", " shutdown ", '"shutdown"'])
def test_the_plain_shutdown_is_the_last_command(text: str) -> None:
    assert is_last(text)
    assert not is_last(f"{text} WAIT_FOR_CLIENTS")


@pytest.mark.parametrize(
    ("statement", "answer", "shown"),
    [
        ("SET query_timeout=5", "SET query_timeout=5", "SET query_timeout=5"),
        ("SET auth_ldap_options='x y'", "SET auth_ldap_options=x y", "SET auth_ldap_options=…"),
        ("set password to 'it''s'", "SET password=it's", "SET password=…"),
        ("set password = 'a' b", "invalid command 'set password = 'a' b'", "invalid comm…"),
        ("set password=", "bad arguments", "bad arguments"),
    ],
)
def test_an_answer_does_not_repeat_a_secret(statement: str, answer: str, shown: str) -> None:
    hidden = hide_secret(statement, answer)
    assert hidden.startswith(shown.rstrip("…"))
    assert hidden.endswith("…") == shown.endswith("…")
    if may_hold_secret(statement):
        assert not any(secret in hidden for secret in ("x y", "it's", "'a' b"))
