"""What `pgmux user` and `pgmux database` make of the files, and what they refuse."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgmux.cli.main import commands
from pgmux.errors import ConfigError
from pgmux.ops.entries.change import Refused, carry_out
from pgmux.ops.entries.database import add_database, remove_database, trials_of
from pgmux.ops.entries.deployment import Deployment
from pgmux.ops.entries.user import NewUser, add_user, plain_passwords, remove_user, trial_of
from pgmux.ops.ini_edit import EditError

INI = """\
[databases]
shop = host=db port=5433
[users]
ann = pool_size=1
[pgbouncer]
auth_type = {auth_type}
auth_file = {directory}/userlist.txt
admin_users = ann,bob
"""
USERLIST = '"ann" "hush"\n"bob" "md5abcdefabcdefabcdefabcdefabcdefab"\n'
Make = Callable[..., Deployment]


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.delenv("PGMUX_CONFIG", raising=False)

    def make(more: str = "", pgmux: str | None = None, auth_type: str = "md5") -> Deployment:
        ini = tmp_path / "pgbouncer.ini"
        ini.write_text(INI.format(directory=tmp_path, auth_type=auth_type) + more)
        (tmp_path / "userlist.txt").write_text(USERLIST)
        if pgmux is not None:
            (tmp_path / "pgmux.ini").write_text(pgmux)
        return Deployment(str(ini))

    return make


def text_of(deployment: Deployment) -> str:
    return deployment.texts.read(deployment.path)


def test_a_database_is_where_the_others_are_unless_told(deployment: Make) -> None:
    made = deployment()
    change = add_database(made, "stock", {"pool_size": "3"})
    assert "\nstock = host=db port=5433 pool_size=3\n" in text_of(made)
    assert "host and port as of the other databases: db" in change.outcome.notes
    with pytest.raises(Refused, match="name its --host: the others are at several places"):
        add_database(deployment("[databases]\nfar = host=else\n"), "stock", {})


@pytest.mark.parametrize("name", ["pgbouncer", "", "x" * 64])
def test_a_name_that_no_database_can_have_is_refused(deployment: Make, name: str) -> None:
    with pytest.raises(Refused, match="can't be called"):
        add_database(deployment(), name, {})


def test_changing_a_database_keeps_its_other_keys(deployment: Make) -> None:
    made = deployment("[databases]\nsafe = host=db password='two words' pool_size=1\n")
    with pytest.raises(Refused, match=r"there already, at .*pgbouncer.ini:10 \(--replace"):
        add_database(made, "safe", {"pool_size": "2"})
    add_database(made, "safe", {"pool_size": "2"}, replace=True)
    assert "safe = host=db password='two words' pool_size=2\n" in text_of(made)


def test_a_forced_user_without_a_password_is_warned_of(deployment: Make) -> None:
    change = add_database(deployment(), "stock", {"user": "app"})
    assert "pgmux user add app --plain" in change.outcome.warnings[0]


def test_a_database_leaves_pgmux_ini_too(deployment: Make) -> None:
    made = deployment(pgmux="; own\n[databases]\nshop = session_link=query\n")
    remove_database(made, "shop")
    assert made.pgmux_path is not None
    assert made.texts.read(made.pgmux_path) == "; own\n[databases]\n"


def test_a_database_that_lookups_need_stays_unless_forced(deployment: Make) -> None:
    made = deployment("auth_dbname = shop\nauth_user = ann\n")
    with pytest.raises(Refused, match="the setting auth_dbname"):
        remove_database(made, "shop")
    with pytest.raises(Refused, match="there is no database nothing"):
        remove_database(made, "nothing")
    remove_database(made, "shop", force=True)
    assert "shop" not in text_of(made).partition("[users]")[0]


def test_what_would_be_refused_is_said_with_its_place(deployment: Make) -> None:
    made = deployment()
    with pytest.raises(ConfigError, match=r"pgbouncer.ini:3: invalid pool mode: fast"):
        add_database(made, "stock", {"pool_mode": "fast"})


def test_a_user_gets_a_line_an_entry_and_a_place_among_the_admins(deployment: Make) -> None:
    made = deployment()
    new = NewUser("eve", 'a "secret"', {"pool_size": "2"}, is_admin=True, may_look=True)
    add_user(made, new)
    assert "ann = pool_size=1\neve = pool_size=2\n" in text_of(made)
    assert "admin_users = ann,bob,eve\nstats_users = eve\n" in text_of(made)
    assert made.texts.read(made.auth_file) == USERLIST + '"eve" "a ""secret"""\n'
    with pytest.raises(Refused, match="there already"):
        add_user(made, NewUser("ann", "x", {}))


def test_a_name_that_a_list_cannot_hold_is_no_admin(deployment: Make) -> None:
    with pytest.raises(ValueError, match="a list by commas"):
        add_user(deployment(), NewUser("two words", "x", {}, is_admin=True))


def test_a_user_who_is_removed_is_nowhere(deployment: Make) -> None:
    made = deployment()
    remove_user(made, "ann")
    assert "[users]\n[pgbouncer]" in text_of(made)
    assert "admin_users = bob\n" in text_of(made)
    assert "ann" not in made.texts.read(made.auth_file)


@pytest.mark.parametrize(
    ("more", "name", "oneself", "reason"),
    [
        ("admin_users = ann\n", "ann", "", "ann is the last of admin_users"),
        ("", "bob", "bob", "you are bob at the console"),
        ("[databases]\nd = user=ann\n", "ann", "", "logs in to PostgreSQL as ann for d"),
        ("auth_user = ann\n", "ann", "", "looks users up as ann"),
        ("", "eve", "", "there is no user eve"),
    ],
)
def test_a_user_who_is_needed_stays(
    deployment: Make, more: str, name: str, oneself: str, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        remove_user(deployment(more), name, oneself=oneself)


def test_who_is_let_in_by_another_door_is_warned_of(deployment: Make) -> None:
    change = remove_user(deployment("auth_user = bob\n"), "ann")
    assert "auth_query looks up whom auth_file lacks" in change.outcome.warnings[0]


def test_what_can_be_tried_is_whose_password_is_known(deployment: Make) -> None:
    made = deployment()
    assert plain_passwords(made.config) == {"ann": "hush"}
    assert [t.user for t in trials_of(made.config, "shop", {"ann": "hush"})] == ["ann"]
    assert trials_of(made.config, "shop", {}) == []
    assert [t.user for t in trials_of(deployment(auth_type="trust").config, "shop", {})] == [
        "ann",
        "bob",
    ]
    assert trial_of(made.config, NewUser("eve", None, {}), None) == []
    assert trial_of(made.config, NewUser("eve", None, {}), "x")[0].dbname == "shop"


def test_a_missing_auth_file_is_said(deployment: Make) -> None:
    made = deployment()
    os.unlink(made.auth_file)
    fresh = Deployment(made.path)
    with pytest.raises(EditError, match=r"auth_file .*userlist.txt can't be read: No such file"):
        add_user(fresh, NewUser("eve", "x", {}))


def test_files_that_cannot_be_written_stay(
    deployment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = deployment()
    change = add_user(made, NewUser("eve", "x", {"pool_size": "2"}))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    with pytest.raises(Exception, match="cannot write"):
        carry_out(change, None, keep=False)
    assert "eve" not in Path(made.path).read_text() + Path(made.auth_file).read_text()


def test_a_password_is_never_an_argument_and_never_asked_for_without_a_terminal(
    deployment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgmux.cli.passwords.type_secret", lambda prompt: None)
    made = deployment()
    done = CliRunner().invoke(commands, ["user", "add", "eve", "--config", made.path])
    assert done.exit_code == 2
    assert "--password-file FILE" in done.output
    done = CliRunner().invoke(commands, ["database", "add", "d", "--password", "x"])
    assert "No such option" in done.output
