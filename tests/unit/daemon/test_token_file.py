"""Which files are taken for a token, by the pooler and by a web process run by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgmux.daemon.token_file import MAX_LEN, MIN_LEN, TokenFileError, read_token

TOKEN = b"0123456789abcdef"


def write(path: Path, content: bytes = TOKEN, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_one_line_is_a_token_without_its_line_end(tmp_path: Path, mode: int) -> None:
    assert read_token(write(tmp_path / "t", TOKEN + b"\n", mode)) == TOKEN


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602, 0o620, 0o777])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "t", TOKEN, mode)
    with pytest.raises(TokenFileError, match=rf"^{path}: others may .*mode 0{mode:o}.*chmod 600"):
        read_token(path)


def test_somebody_elses_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if os.stat(path).st_uid == 0:
        assert read_token(path) == TOKEN  # root's is as good as ours
        os.chown(path, 4712, -1)
    with pytest.raises(TokenFileError, match="belongs to uid"):
        read_token(path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n", b"short", TOKEN[: MIN_LEN - 1], b"x" * (MAX_LEN + 1)),
        *(TOKEN + b"\n" + TOKEN, TOKEN + b" " + TOKEN, TOKEN + b"\xff", TOKEN + "ü".encode()),
        TOKEN + b"\0",
    ],
)
def test_what_is_no_single_word_of_some_length_is_refused_and_not_repeated(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(TokenFileError, match="one line") as error:
        read_token(write(tmp_path / "t", content))
    assert TOKEN.decode() not in str(error.value)


def test_a_file_that_is_not_there_or_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name, why in (
        ("absent", "No such file"),
        ("fifo", "no regular file"),
        (".", "directory|regular"),
    ):
        with pytest.raises(TokenFileError, match=why):
            read_token(tmp_path / name)
