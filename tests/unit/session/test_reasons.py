"""Reasons: every text of our own is known, none is taken over from anybody else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgmux
from pgmux.session.reasons import CLOSE_REQUEST, KNOWN, find_reason

SOURCES = Path(pgmux.__file__).parent
LAYERS = ("wire", "auth", "pool", "session", "net", "daemon")
# What takes a text that ends a connection or is told to a client, and as which argument.
CALLS = {
    "PoolerError": 0,
    "AuthenticationFailed": 0,
    "ServerLoginFailed": 0,
    "Failure": 0,
    "ProtocolViolation": 1,
    "close_client": 1,
    "close_server": 1,
    "drop": 1,
    "drop_all": 1,
    "retire": 2,
    "on_done": 0,
    "close": 0,
}
NAMES = re.compile(r"reason\Z|violation\Z|.*(REASON|FAILED\Z|LOST\Z|KILLED\Z)")  # of variables
# Where a variable of such a name is for the log alone, or a text is one of ours by its parts.
DETAILS = (
    *("reasons.py", "lookups.py", "login_method.py", "external.py", "scram.py"),
    *("server_auth.py", "tls_reason.py", "_tls_cy.py"),
)
UNKNOWN = "somebody else's"


def literals(args: Sequence[ast.expr], index: int) -> Iterator[str]:
    """The texts that may be that argument; what stands for a value in one is "X"."""
    for node in (node for arg in args[index : index + 1] for node in ast.walk(arg)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def texts_of(node: ast.AST) -> Iterator[str]:
    """The texts of one node that end a connection, or are told to a client."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CALLS:
            yield from literals(node.args, CALLS[name])
        case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)]):
            if NAMES.match(name):
                yield from literals([node.value], 0)
        case ast.Yield(value=ast.Tuple(elts=[_, _] as pair)):
            yield from literals(pair, 1)


def own_texts() -> Iterator[str]:
    for layer in LAYERS:
        for path in (SOURCES / layer).glob("*.py"):
            if path.name not in DETAILS:
                for node in ast.walk(ast.parse(path.read_text())):
                    yield from texts_of(node)


NOT_REASONS = {"", "client", "server", "X query failed", "SET failed: X"}


@pytest.mark.parametrize("text", sorted(set(own_texts()) - NOT_REASONS))
def test_every_text_of_our_own_is_a_known_reason(text: str) -> None:
    assert find_reason(text, UNKNOWN) != UNKNOWN


def test_no_reason_is_known_that_nobody_gives() -> None:
    sources = "".join(path.read_text() for path in SOURCES.rglob("*.py"))
    gone = {text for text in KNOWN if f'"{text}"' not in sources and f"'{text}'" not in sources}
    assert gone == set()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no such database: ../../etc\n", "no such database"),
        ('database "x" is disabled" is disabled', "database is disabled"),
        ("bad packet header: '00ff'", "bad packet header"),
        (
            "server login has been failing, cached error: secret\nsauce (server_login_retry)",
            "server login has been failing (server_login_retry)",
        ),
        ('login failed: FATAL: role "x" may not', "login failed"),
        (CLOSE_REQUEST, CLOSE_REQUEST),
    ],
)
def test_names_and_values_are_taken_out(text: str, reason: str) -> None:
    assert find_reason(text, UNKNOWN) == reason


@given(st.text())
def test_nobodys_text_is_taken_over(text: str) -> None:
    found = find_reason(text, UNKNOWN)
    assert found == UNKNOWN or found in KNOWN or text not in found
