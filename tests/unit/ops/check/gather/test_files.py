"""Who can read a file with secrets, and whether git has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pgmux.config import load_config
from pgmux.config.model import Config
from pgmux.ops.check.facts.environment import EnvironmentFacts, WrittenSecret
from pgmux.ops.check.facts.files import FileFacts, FileKind
from pgmux.ops.check.gather import files


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """A configuration, whose userlist only its owner may read."""
    userlist = tmp_path / "userlist.txt"
    userlist.write_text('"app" "secret"\n"ops" "md5' + "0" * 32 + '"\n')
    userlist.chmod(0o600)
    path = tmp_path / "pgbouncer.ini"
    path.write_text(f"[databases]\na = password=x\n[pgbouncer]\nauth_file = {userlist}\n")
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    return path


def config_of(ini: Path) -> Config:
    return load_config(str(ini), lambda path: Path(path).read_text())


def look(ini: Path) -> dict[str, FileFacts]:
    found, unread = files.gather(str(ini), config_of(ini), None)
    assert unread == []
    return {each.kind: each for each in found}


def test_kinds_of_secrets_are_counted_and_none_is_kept(ini: Path) -> None:
    found = look(ini)
    assert "passwords as they are: 1, MD5 hashes" in found[FileKind.USERLIST].secrets
    assert found[FileKind.CONFIG].secrets == "password= of a"
    assert "secret" not in repr(found[FileKind.USERLIST]).replace("secrets", "")


def test_a_file_in_a_closed_directory_is_open_to_nobody(ini: Path) -> None:
    (ini.parent / "userlist.txt").chmod(0o644)
    ini.parent.chmod(0o700)
    assert not look(ini)[FileKind.USERLIST].is_open


def test_what_git_tracks_is_known_and_what_it_ignores_too(ini: Path) -> None:
    assert look(ini)[FileKind.USERLIST].is_committed is False
    for command in (["init", "-q"], ["add", "userlist.txt"]):
        subprocess.run(["git", "-C", str(ini.parent), *command], check=True)
    found = look(ini)
    assert found[FileKind.USERLIST].is_committed is True
    assert found[FileKind.CONFIG].is_committed is False


def test_a_repository_has_nothing_of_its_own_run(ini: Path) -> None:
    ran = ini.parent / "ran"
    program = ini.parent / "monitor"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    subprocess.run(["git", "-C", str(ini.parent), "init", "-q"], check=True)
    setting = ["config", "core.fsmonitor", str(program)]
    subprocess.run(["git", "-C", str(ini.parent), *setting], check=True)
    look(ini)
    assert not ran.exists()


def test_a_file_that_is_gone_is_said(ini: Path) -> None:
    config = config_of(ini)
    (ini.parent / "userlist.txt").unlink()
    _, unread = files.gather(str(ini), config, None)
    assert [each.reason for each in unread] == [
        f"{ini.parent}/userlist.txt: No such file or directory"
    ]


def test_variables_with_secrets_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=b\nDB_PASSWORD=x\n")
    told = EnvironmentFacts(secrets=(WrittenSecret(str(path), 2, "DB_PASSWORD"),))
    (found,), _ = files.gather("none.ini", None, told)
    assert (found.kind, found.secrets) == (FileKind.ENV, "DB_PASSWORD (line 2)")


def test_passwords_are_told_of_the_file_that_has_them_though_another_includes_it(ini: Path) -> None:
    included = ini.parent / "more.ini"
    included.write_text("[databases]\nb = host=x password=hush\nc = host=x\n")
    ini.write_text(ini.read_text().replace("a = password=x", f"a = host=x\n%include {included}"))
    found, _ = files.gather(str(ini), config_of(ini), None)
    said = {each.path: each.secrets for each in found if each.kind is FileKind.CONFIG}
    assert said == {str(ini): "", str(included): "password= of b"}
