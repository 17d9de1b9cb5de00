"""Which userlist is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgmux.ops.userlist.edit import UserlistError
from pgmux.ops.userlist.place import UserlistPlace, find_userlist


@pytest.fixture(autouse=True)
def ini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pgbouncer.ini"
    path.write_text("[databases]\n[pgbouncer]\nauth_file = secrets/users\n")
    return path


def test_it_is_auth_file_of_the_configuration() -> None:
    found = UserlistPlace("secrets/users", "pgbouncer.ini", True)
    assert find_userlist(None, None) == found
    assert find_userlist("./secrets/users", "pgbouncer.ini").is_of_config


def test_another_file_has_nothing_to_do_with_a_configuration_that_nobody_named() -> None:
    assert find_userlist("elsewhere", None) == UserlistPlace("elsewhere", None, False)
    assert not find_userlist("elsewhere", "pgbouncer.ini").is_of_config


def test_without_auth_file_it_is_in_the_current_directory(ini: Path) -> None:
    ini.write_text("[pgbouncer]\n")
    assert find_userlist(None, str(ini)) == UserlistPlace("userlist.txt", str(ini), False)


def test_a_configuration_that_cannot_be_read_is_an_error_unless_another_file_is_named() -> None:
    with pytest.raises(UserlistError, match=r"missing\.ini.*--output"):
        find_userlist(None, "missing.ini")
    assert find_userlist("u", "missing.ini").file == "u"
