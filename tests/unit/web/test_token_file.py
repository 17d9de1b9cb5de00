"""Which file is taken for a token."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgmux.web.token_file import MAX_LEN, MIN_LEN, TokenFileError, is_token, read_token

TOKEN = b"0123456789abcdef"


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_file_of_one_line_is_a_token_without_its_line_end(tmp_path: Path) -> None:
    assert read_token(write(tmp_path / "t", TOKEN + b"\n")) == TOKEN


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602, 0o620, 0o777])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "t", TOKEN, mode)
    with pytest.raises(TokenFileError, match=rf"mode 0{mode:o}.*chmod 600 {path}"):
        read_token(path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n", b"short", TOKEN[: MIN_LEN - 1], b"x" * (MAX_LEN + 1)),
        *(TOKEN + b"\n" + TOKEN, TOKEN + b" " + TOKEN, TOKEN + b"\xff", TOKEN + "ü".encode()),
    ],
)
def test_what_is_no_single_line_of_some_length_is_refused_and_not_repeated(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(TokenFileError, match="one line") as error:
        read_token(write(tmp_path / "t", content))
    assert TOKEN.decode() not in str(error.value)


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name, why in (("absent", "No such file"), ("fifo", "no regular file"), (".", "directory")):
        with pytest.raises(TokenFileError, match=why):
            read_token(tmp_path / name)


def test_only_the_same_token_is_right() -> None:
    assert is_token(TOKEN, TOKEN)
    assert not any(is_token(wrong, TOKEN) for wrong in (b"", TOKEN[:-1], TOKEN + b"x", b"\xff"))
