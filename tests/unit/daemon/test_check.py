"""`--check` says everything that is wrong, at once, and starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgmux.daemon.main import main
from tests.fixtures.certificates import Authority

# RFC 6761: no resolver knows a name in it.
UNKNOWN = "no-such-host.invalid"


def check(
    path: Path, capfd: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, list[str]]:
    code = main(["--check", *arguments, str(path)], "pgmux run")
    out, err = capfd.readouterr()
    return code, out, err.splitlines()


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    return tmp_path / "pgbouncer.ini"


def write(path: Path, databases: str = "", settings: str = "") -> None:
    path.write_text(
        f"[databases]\n{databases}\n"
        f"[pgbouncer]\nauth_type=any\nunix_socket_dir={path.parent}\n{settings}\n"
    )


def test_a_good_file_is_exit_code_0(ini: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(ini, "a = host=localhost\nb = host=/tmp\nc =\n* = host=::1")
    assert check(ini, capfd) == (0, f"{ini}: configuration is good\n", [])


def test_every_problem_of_the_text_is_said(ini: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(ini, settings="zork=1\npool_mode=zork")
    code, out, err = check(ini, capfd)
    assert code == 1
    assert len(err) >= 2
    assert all(line.startswith("ERROR ") for line in err)
    assert out == f"{ini}: {len(err)} problems, 0 warnings\n"


def test_a_missing_file_is_a_problem(ini: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = check(ini, capfd)
    assert code == 1
    assert err == [f'ERROR could not load file "{ini}": No such file or directory']


def test_every_unknown_host_is_said_with_its_place(
    ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(ini, f"a = host={UNKNOWN}\nb = host={UNKNOWN}\n* = host=x.{UNKNOWN}")
    code, _, err = check(ini, capfd)
    assert code == 1
    places = [line.split(": ")[1:3] for line in err]
    assert [place for place, _ in places] == ["database a", "database b", "database *"]
    assert all(UNKNOWN in text for _, text in places)


def test_what_a_start_would_miss_on_this_machine_is_said(
    ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = "logfile=/nonexistent/log\npidfile=/nonexistent/pid\nresolv_conf=/nonexistent/conf"
    write(ini, settings=f"{paths}\nuser=no-such-user")
    code, _, err = check(ini, capfd)
    assert code == 1
    text = "\n".join(err)
    assert "logfile: there is no directory /nonexistent" in text
    assert "pidfile: there is no directory /nonexistent" in text
    assert "resolv_conf: there is no file /nonexistent/conf" in text
    assert "could not find user 'no-such-user' to switch to" in text


def test_the_user_of_the_command_line_counts(ini: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(ini, settings="user=no-such-user")
    assert check(ini, capfd, "-u", "nobody")[0] == 0


@pytest.mark.parametrize("port", [0, -1, 65536, 70000])
def test_a_port_that_nobody_can_listen_on_is_said(
    port: int, ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(ini, settings=f"listen_port = {port}")
    code, _, err = check(ini, capfd)
    assert code == 1
    assert f"invalid listen_port: {port} (a port from 1 to 65535 is expected)" in err[0]


def test_a_group_that_is_not_there_is_said(ini: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(ini, settings="unix_socket_group = no-such-group")
    code, _, err = check(ini, capfd)
    assert code == 1
    assert "could not find group 'no-such-group'; see unix_socket_group" in err[0]


def write_users(path: Path, users: str, settings: str) -> None:
    path.with_name("users").write_text(users)
    write(path, settings=f"auth_type=scram-sha-256\nauth_file={path.parent}/users\n{settings}")


@pytest.mark.parametrize(
    ("users", "settings", "is_said"),
    [
        ('"app" "a"', "admin_users = root, dba", True),
        ('"dba" "a"', "admin_users = root, dba", False),
        ('"app" "a"', "", False),
        ('"app" "a"', "admin_users = dba\nauth_user = app", True),  # not for the console
        ('"app" "a"', "admin_users = dba\nauth_user = app\nauth_dbname = x", False),
        ('"app" "a"', "admin_users = dba\nauth_type = any", False),
    ],
)
def test_admin_users_of_whom_none_can_log_in_are_a_warning(
    users: str, settings: str, is_said: bool, ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_users(ini, users, settings)
    code, _, err = check(ini, capfd)
    assert code == 0
    text = (
        "WARNING {}: admin_users: none of them is in auth_file, so none can log in to the console"
    )
    assert [line.startswith(text.format(ini)) for line in err] == [True] * is_said


def test_what_keeps_ldap_from_being_asked_is_a_warning(
    ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ldap")
    write(ini, settings="auth_type=ldap\nadmin_users=boss", databases="app = auth_user=asks")
    code, _, err = check(ini, capfd)
    assert code == 0
    assert [line.removeprefix(f"WARNING {ini}: ").partition(" (")[0] for line in err] == [
        "auth_type = ldap without auth_ldap_options: nobody can log in",
        "database app: nobody can log in, as it has auth_user",
    ]


def test_an_auth_user_that_cannot_log_in_to_postgresql_is_a_warning(
    ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = f"SCRAM-SHA-256$4096:c2FsdA==${'A' * 43}=:{'A' * 43}="
    write_users(ini, f'"asks" "{secret}"\n"other" "{secret}"', "auth_user = asks")
    code, out, err = check(ini, capfd)
    assert (code, len(err)) == (0, 1)
    assert "auth_user: the secret of asks in auth_file is a SCRAM secret" in err[0]
    assert out == f"{ini}: 0 problems, 1 warning\n"


def test_files_of_tls_are_looked_at(ini: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(ini, settings=f"server_tls_sslmode=verify-ca\nserver_tls_ca_file={ini.parent}/none")
    code, _, err = check(ini, capfd)
    assert code == 1
    assert err == [
        f"ERROR {ini}:7: server_tls_ca_file: cannot read {ini.parent}/none:"
        " No such file or directory"
    ]


def test_a_key_that_everybody_may_read_is_a_warning(
    ini: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pair = Authority(tmp_path).issue("pooler")
    pair.key_file.chmod(0o644)
    write(
        ini, settings=f"server_tls_cert_file={pair.cert_file}\nserver_tls_key_file={pair.key_file}"
    )
    code, _, err = check(ini, capfd)
    assert (code, len(err)) == (0, 1)
    assert err[0].startswith("WARNING ") and "is accessible to every user" in err[0]


def test_a_token_file_that_isnt_there_is_a_warning(
    ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(ini)
    (ini.parent / "pgmux.ini").write_text(f"[pgmux]\nhttp_token_file = {ini.parent}/none\n")
    code, _, err = check(ini, capfd)
    assert (code, err) == (0, [f"WARNING http_token_file: there is no file {ini.parent}/none"])
