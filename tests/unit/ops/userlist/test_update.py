"""What becomes of each user's line in a userlist."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pgmux.auth.secrets import SecretKind
from pgmux.ops.userlist.roles import Role, Wanted, choose, unknown_to_postgres
from pgmux.ops.userlist.secrets import make_secret
from pgmux.ops.userlist.update import Status, update_of

SCRAM = make_secret("a", "pw", SecretKind.SCRAM)
OTHER = make_secret("a", "pw", SecretKind.SCRAM)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "userlist.txt"


def status(file: Path, secret: str, password: str | None = None) -> Status:
    typed = None if password is None else {"a": password}
    (line,) = update_of(str(file), {"a": secret}, typed).lines
    return line.status


def test_a_new_file_is_for_its_owner_alone(file: Path) -> None:
    update = update_of(str(file), {"a": "x"})
    assert update.is_new
    assert update.write()
    assert file.read_text() == '"a" "x"\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(("mode", "then"), [(0o644, 0o640), (0o640, 0o640), (0o777, 0o660)])
def test_a_file_that_is_there_loses_what_others_may(file: Path, mode: int, then: int) -> None:
    file.write_text('"a" "x"\n')
    file.chmod(mode)
    assert update_of(str(file), {"a": "x"}).write() == (mode != then)
    assert stat.S_IMODE(file.stat().st_mode) == then


def test_the_password_in_clear_of_a_verifier_stays(file: Path) -> None:
    file.write_text('"a" "pw"\n')
    assert status(file, SCRAM) is Status.SAME
    file.write_text('"a" "wrong"\n')
    assert status(file, SCRAM) is Status.CHANGED


def test_a_verifier_takes_the_place_of_a_right_password_where_that_is_asked_for(
    file: Path,
) -> None:
    file.write_text('"a" "pw" ; the first\n')
    assert update_of(str(file), {"a": SCRAM}, keep_plain=False).write()
    assert file.read_text() == f'"a" "{SCRAM}" ; the first\n'


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root's file")
def test_where_only_root_could_read_it_then_it_says_so(file: Path) -> None:
    file.write_text('"a" "x"\n')
    file.chmod(0o644)
    assert "now only root can" in update_of(str(file), {"a": "y"}).warning
    file.chmod(0o640)
    assert update_of(str(file), {"a": "y"}).warning == ""
    os.chown(file, 0, 65534)
    file.chmod(0o644)
    assert update_of(str(file), {"a": "y"}).warning == ""


def test_another_verifier_of_postgresql_counts_even_if_the_password_is_the_same(
    file: Path,
) -> None:
    file.write_text(f'"a" "{OTHER}"\n')
    assert status(file, SCRAM) is Status.CHANGED


def test_a_typed_password_makes_no_new_salt_for_itself(file: Path) -> None:
    file.write_text(f'"a" "{OTHER}"\n')
    assert status(file, SCRAM, "pw") is Status.SAME
    assert status(file, "pw", "pw") is Status.CHANGED


def test_a_name_that_no_pooler_reads_is_left_out_and_the_others_are_not() -> None:
    roles = [Role("good", "x"), Role("bad\nname", "x")]
    secrets, (left,) = choose(roles, Wanted(everybody=True))
    assert list(secrets) == ["good"]
    assert (left.user, "newline" in left.why) == ("bad\nname", True)


def test_patterns_are_of_login_roles_and_say_nothing_of_others() -> None:
    roles = [Role("app_1", "x"), Role("app_group", "x", can_login=False), Role("ada", "x")]
    assert choose(roles, Wanted(patterns=("app_*",))) == ({"app_1": "x"}, [])


def test_who_stands_there_and_cannot_log_in_to_postgresql_is_told() -> None:
    roles = [Role("ada", "x"), Role("late", "x", is_expired=True)]
    told = unknown_to_postgres(["ada", "late", "admin"], roles)
    assert [each.user for each in told] == ["late", "admin"]


def test_a_userlist_that_cannot_be_written_is_an_error_before_anything_else(
    tmp_path: Path,
) -> None:
    update = update_of(str(tmp_path / "u"), {"a": "x"})
    (tmp_path / "u").write_text("made meanwhile")
    with pytest.raises(Exception, match="already there"):
        update.write()
    assert os.listdir(tmp_path) == ["u"]
