"""The token of http_token_file: what it allows, and what a wrong one leads to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pgmux.daemon.token import MAX_FAILURES, PENALTY, Token
from pgmux.errors import PoolerError
from tests.unit.session.rig import FakeLog

ADMIN: Any = object()
SECRET = "correct-horse-battery-staple"


def token_file(directory: Path, text: str = SECRET + "\n", mode: int = 0o600) -> str:
    path = directory / "token"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


class Gate:
    """A token, its log and its clock."""

    def __init__(self, path: str) -> None:
        self.log = FakeLog()
        self.now = 0.0
        self.token = Token(self.log, lambda: self.now, ADMIN)
        self.token.use_file(path)

    def refusal(self, token: str) -> tuple[str, str]:
        with pytest.raises(PoolerError) as caught:
            self.token.elevate(token.encode())
        assert not caught.value.fatal
        return caught.value.sqlstate, caught.value.message


def test_the_right_token_acts_as_admin_and_another_as_nobody(tmp_path: Path) -> None:
    gate = Gate(token_file(tmp_path))
    assert gate.token.elevate(SECRET.encode()) is ADMIN
    assert gate.refusal("guess") == ("28P01", "wrong token")
    assert gate.refusal("") == ("28P01", "wrong token")
    assert gate.log.lines == ["wrong token at the web process"] * 2


def test_after_some_wrong_tokens_all_are_refused_for_a_while(tmp_path: Path) -> None:
    gate = Gate(token_file(tmp_path))
    for _ in range(MAX_FAILURES):
        assert gate.refusal("guess")[1] == "wrong token"
    assert gate.refusal(SECRET)[1] == "too many wrong tokens, try again later"
    gate.now += PENALTY
    assert gate.refusal("guess")[1] == "wrong token"
    assert gate.refusal(SECRET)[1] == "too many wrong tokens, try again later"
    gate.now += PENALTY
    assert gate.token.elevate(SECRET.encode()) is ADMIN
    assert gate.refusal("guess")[1] == "wrong token"  # counted from one again
    assert gate.token.elevate(SECRET.encode()) is ADMIN


def test_without_a_file_no_token_is_right(tmp_path: Path) -> None:
    assert Gate("").refusal("")[1] == "no token is accepted: http_token_file isn't set"
    missing = Gate(str(tmp_path / "missing"))
    assert (
        missing.refusal("")[1] == "no token is accepted: http_token_file can't be used, see the log"
    )
    assert "No such file" in missing.log.lines[0]


def test_a_file_that_became_bad_takes_its_token_along(tmp_path: Path) -> None:
    path = token_file(tmp_path)
    gate = Gate(path)
    os.chmod(path, 0o644)
    gate.token.use_file(path)
    assert gate.refusal(SECRET)[1].startswith("no token is accepted")
    assert gate.log.lines == [
        f"http_token_file {path}: others may read or write it (mode 0644): chmod 600;"
        " no token is accepted"
    ]
