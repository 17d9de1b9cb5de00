"""Files are written whole or not at all, and nothing is overwritten unasked."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pgmux.ops.files import SECRET, FileError, NewFile, change_file, exclusively, write_files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_files([NewFile(str(tmp_path / "userlist.txt"), '"a" "b"\n', SECRET)])
    assert (tmp_path / "userlist.txt").read_text() == '"a" "b"\n'
    assert mode_of(tmp_path / "userlist.txt") == 0o600


def test_where_one_file_is_there_none_is_written(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")
    with pytest.raises(FileError, match=r"already there, and not overwritten: .*/b\Z"):
        write_files([NewFile(str(tmp_path / name), "new") for name in "abc"])
    assert sorted(os.listdir(tmp_path)) == ["b"]
    assert (tmp_path / "b").read_text() == "old"


def test_where_one_file_cannot_be_written_none_is(tmp_path: Path) -> None:
    files = [NewFile(str(tmp_path / name), "new") for name in ("a", "missing/b")]
    with pytest.raises(FileError, match=r"cannot write .*missing.*No such file"):
        write_files(files)
    assert os.listdir(tmp_path) == []


def test_a_changed_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    change_file(str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert mode_of(tmp_path / "real") == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another's link")
def test_a_link_that_somebody_else_has_put_where_everybody_may_write_is_not_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    link = tmp_path / "tmp" / "userlist.txt"
    link.symlink_to(tmp_path / "theirs")
    os.lchown(link, 65534, 65534)
    with pytest.raises(FileError, match="a symbolic link that somebody else has put there"):
        change_file(str(link), "new")
    assert not (tmp_path / "theirs").exists()
    os.lchown(link, 0, 0)
    change_file(str(link), "new")
    assert (tmp_path / "theirs").read_text() == "new"


def test_bytes_that_are_no_text_are_kept(tmp_path: Path) -> None:
    change_file(str(tmp_path / "a"), "caf\udce9\r\n")
    assert (tmp_path / "a").read_bytes() == b"caf\xe9\r\n"


def test_a_place_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileError, match=r"cannot write .*/a: not a regular file"):
        change_file(str(tmp_path / "a"), "new")


def test_two_commands_that_edit_a_file_do_it_one_after_the_other(tmp_path: Path) -> None:
    with (
        exclusively(str(tmp_path / "a")),
        pytest.raises(FileError, match="another command is changing"),
        exclusively(str(tmp_path / "b"), timeout=0),
    ):
        pass
    with exclusively(str(tmp_path / "a"), timeout=0):
        pass
    assert os.listdir(tmp_path) == []


def test_files_of_two_directories_are_kept_for_one_command_together(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with exclusively(str(tmp_path / "a" / "x"), str(tmp_path / "b" / "x")):
        for name in "ab":
            with (
                pytest.raises(FileError, match=rf"changing files in .*/{name}: try again"),
                exclusively(str(tmp_path / name / "y"), timeout=0),
            ):
                pass


def test_where_a_file_is_mounted_by_itself_all_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-v ./userlist.txt:/etc/userlist.txt` of Docker: nothing can take its place."""
    for name in ("old", "mounted"):
        (tmp_path / name).write_bytes(b"caf\xe9")
        (tmp_path / name).chmod(0o640)
    move = os.replace

    def replace(source: str, target: str) -> None:
        if target.endswith("/mounted"):
            raise OSError(errno.EBUSY, "Device or resource busy", source, target)
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    files = [NewFile(str(tmp_path / name), "new", SECRET) for name in ("old", "none", "mounted")]
    with pytest.raises(FileError, match=r"\Acannot write \S+/mounted: it is mounted by itself"):
        write_files(files, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["mounted", "old"]
    assert (tmp_path / "old").read_bytes() == b"caf\xe9"
    assert mode_of(tmp_path / "old") == 0o640
