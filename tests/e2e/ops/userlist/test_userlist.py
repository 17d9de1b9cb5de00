"""`pgmux userlist` with a real PostgreSQL, and poolers that clients then log in to."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import psycopg
import pytest

from pgmux.config import parse_userlist
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.operator import KINDS, direct, log_in, make_pooler, reload, run_pgmux
from tests.fixtures.waiting import wait_until

Role = tuple[str, str]
MARK = f"ul_{uuid.uuid4().hex[:8]}"  # other tests' roles are in the same PostgreSQL
TYPED = "pass\u00adword \u2168 ä"  # SASLprep makes "password IX ä" of it
ODD = f'{MARK} "odd" ñame'
ROLES = f"""
    CREATE ROLE {MARK}_ada LOGIN PASSWORD 'adapw';
    CREATE ROLE "{ODD.replace('"', '""')}" LOGIN PASSWORD 'oddpw';
    CREATE ROLE {MARK}_late LOGIN PASSWORD 'latepw' VALID UNTIL '2001-01-01';
    CREATE ROLE {MARK}_bare LOGIN;
    CREATE ROLE {MARK}_group PASSWORD 'grouppw';
    CREATE ROLE {MARK}_super SUPERUSER LOGIN PASSWORD 'superpw';
    CREATE ROLE {MARK}_replica REPLICATION LOGIN PASSWORD 'replicapw';
    CREATE ROLE {MARK}_typed LOGIN PASSWORD '{TYPED}';
"""


@pytest.fixture(scope="module", autouse=True)
def roles(postgres: EmbeddedPostgres) -> Iterator[None]:
    postgres.psql(ROLES)
    yield
    for name in postgres.psql(
        f"SELECT quote_ident(rolname) FROM pg_roles WHERE rolname LIKE '{MARK}%'"
    ).splitlines():
        postgres.psql(f"DROP ROLE {name}")


@pytest.fixture(params=KINDS)
def pooler(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[PoolerProcess]:
    with make_pooler(postgres, request.param) as started:
        yield started


def userlist(
    postgres: EmbeddedPostgres, *arguments: str, stdin: str = "", user: str = "postgres"
) -> tuple[int, str, str]:
    where = ("--postgres", direct(postgres, user))
    done = run_pgmux("userlist", *where, *arguments, stdin=stdin, PGPASSWORD=postgres.password)
    for secret in ("adapw", "SCRAM-SHA-256$", TYPED, postgres.password + '"'):
        assert "--output=-" in arguments or secret not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def users_of(file: Path) -> dict[str, str]:
    users, problems = parse_userlist(file.read_text(), str(file))
    assert not problems
    return users


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


# Clients log in


def test_who_has_been_written_logs_in_through_the_pooler(
    postgres: EmbeddedPostgres, pooler: PoolerProcess
) -> None:
    file = pooler.directory / "userlist.txt"
    owner, before = file.stat().st_uid, file.read_text()
    code, out, _ = userlist(postgres, "--pattern", f"{MARK}*", "--config", str(
        pooler.directory / "pgbouncer.ini"))  # fmt: skip
    assert code == 0, out
    assert file.read_text().startswith(before)
    assert (file.stat().st_uid, mode_of(file)) == (owner, 0o600)
    reload(pooler)
    assert log_in(pooler, f"{MARK}_ada", "adapw") == f"{MARK}_ada"
    assert log_in(pooler, ODD, "oddpw") == ODD
    for user, password in ((f"{MARK}_late", "latepw"), (f"{MARK}_super", "superpw")):
        with pytest.raises(psycopg.OperationalError, match=r"no such user|authentication failed"):
            log_in(pooler, user, password)


def test_a_typed_password_in_clear_lets_its_user_in(
    postgres: EmbeddedPostgres, pooler: PoolerProcess
) -> None:
    file, name = str(pooler.directory / "userlist.txt"), f"{MARK}_typed"
    arguments = ("--prompt", name, "--stdin", "--plain", "-o", file)
    code, _, err = userlist(postgres, *arguments, stdin=TYPED + "\n")
    assert (code, "WARNING the password stands in the file in clear" in err) == (0, True)
    reload(pooler)
    assert log_in(pooler, name, TYPED) == name


def test_the_verifier_of_a_typed_password_lets_its_user_in_once_postgresql_has_it_too(
    postgres: EmbeddedPostgres, pooler: PoolerProcess, create_role: Callable[..., Role]
) -> None:
    file, (name, _) = pooler.directory / "userlist.txt", create_role()
    code, _, err = userlist(
        postgres, "--prompt", name, "--stdin", "-o", str(file), stdin=TYPED + "\n"
    )
    assert (code, "the very verifier that PostgreSQL stores" in err) == (0, True)
    reload(pooler)
    with pytest.raises(psycopg.OperationalError, match=r"wrong password type|authentication"):
        log_in(pooler, name, TYPED)
    postgres.psql(f"ALTER ROLE {name} PASSWORD '{users_of(file)[name]}'")
    wait_until(lambda: logs_in(pooler, name, TYPED))


def logs_in(pooler: PoolerProcess, name: str, password: str) -> bool:
    """Whether it does by now: a failed login to PostgreSQL is remembered for a second."""
    try:
        return log_in(pooler, name, password) == name
    except psycopg.OperationalError:
        return False


# What is written


def test_the_same_again_leaves_the_file_untouched(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "userlist.txt"
    arguments = ("--all", "--prompt", "typed", "--stdin", "-o", str(file))
    assert userlist(postgres, *arguments, stdin="x y\n")[0] == 0
    assert mode_of(file) == 0o600
    before = file.stat()
    code, out, _ = userlist(postgres, *arguments, stdin="x y\n")
    assert (code, "nothing is written" in out) == (0, True)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_superusers_are_there_when_named_or_asked_for(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "userlist.txt"
    where = ("-o", str(file))
    _, out, _ = userlist(postgres, "--pattern", f"{MARK}*", *where)
    assert set(users_of(file)) == {f"{MARK}_ada", f"{MARK}_typed", ODD}
    assert f"{MARK}_super: a superuser: name it, or say --superusers" in out
    assert f"{MARK}_late: VALID UNTIL has passed" in out
    assert f"{MARK}_bare: it has no password" in out
    userlist(postgres, f"{MARK}_super", *where)
    assert f"{MARK}_super" in users_of(file)
    userlist(postgres, "--pattern", f"{MARK}*", "--superusers", *where)
    assert f"{MARK}_replica" in users_of(file)


def test_who_is_named_and_cannot_log_in_is_told_and_changes_the_exit_code(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    names = (f"{MARK}_ada", f"{MARK}_group", f"{MARK}_late", "nobody-here")
    code, out, _ = userlist(postgres, *names, "-o", str(tmp_path / "u"), "--json")
    said = json.loads(out)
    assert code == 1
    assert [line["user"] for line in said["users"]] == [f"{MARK}_ada"]
    assert {each["user"]: each["why"] for each in said["left_out"]} == {
        f"{MARK}_group": "it has no LOGIN",
        f"{MARK}_late": "VALID UNTIL has passed",
        "nobody-here": "no such role",
    }


def test_a_password_in_clear_that_is_right_stays_and_a_wrong_one_goes(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "userlist.txt"
    file.write_text(f'; ours\n"{MARK}_ada" "adapw"\n"{MARK}_typed" "old" ; note\n"other" "o"\n')
    file.chmod(0o644)
    assert userlist(postgres, "--pattern", f"{MARK}*", "-o", str(file))[0] == 0
    lines = file.read_text().splitlines()
    assert lines[:2] == ["; ours", f'"{MARK}_ada" "adapw"']
    assert lines[2].startswith(f'"{MARK}_typed" "SCRAM-SHA-256$')
    assert lines[2].endswith('" ; note')
    assert lines[3] == '"other" "o"'
    assert mode_of(file) == 0o640


def test_a_dry_run_tells_who_would_change_and_writes_nothing(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "userlist.txt"
    code, out, _ = userlist(postgres, f"{MARK}_ada", "--dry-run", "-o", str(file))
    assert (code, "would be made" in out, f"{MARK}_ada" in out) == (0, True, True)
    assert os.listdir(tmp_path) == []


def test_stdout_gets_the_lines_when_it_is_asked_for(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    code, out, err = userlist(postgres, f"{MARK}_ada", ODD, "--output=-")
    assert (code, err) == (0, "")
    stored = postgres.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{MARK}_ada'")
    assert parse_userlist(out, "-")[0][f"{MARK}_ada"] == stored
    assert ODD in parse_userlist(out, "-")[0]


# What can't be done


def test_a_broken_line_is_named_and_the_file_stays(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "userlist.txt"
    file.write_text('"a" "b"\nbroken\n')
    code, out, err = userlist(postgres, "--all", "-o", str(file))
    assert (code, out) == (2, "")
    assert f"{file}:2: broken auth file" in err
    assert file.read_text() == '"a" "b"\nbroken\n'


def test_a_role_without_rights_is_told_what_else_there_is(
    postgres: EmbeddedPostgres, create_role: Callable[..., Role], tmp_path: Path
) -> None:
    name, _ = create_role(password=postgres.password)
    code, _, err = userlist(postgres, "--all", "-o", str(tmp_path / "u"), user=name)
    assert code == 2
    assert f"role {name} may not read pg_authid" in err
    assert "pgmux userlist --prompt NAME" in err
    assert os.listdir(tmp_path) == []


def test_without_postgres_there_is_an_error_and_no_file(tmp_path: Path) -> None:
    where = ("--postgres", "host=127.0.0.1 port=1 user=x")
    done = run_pgmux("userlist", *where, "--all", "-o", "u", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR no connection to PostgreSQL at 127.0.0.1:1")
    assert os.listdir(tmp_path) == []


def test_without_a_terminal_a_password_is_not_asked_for(tmp_path: Path) -> None:
    done = run_pgmux("userlist", "--prompt", "ada", "-o", "u", cwd=tmp_path)
    assert (done.returncode, "say --stdin" in done.stderr) == (2, True)
    done = run_pgmux("userlist", "--prompt", "ada", "--stdin", "-o", "u", cwd=tmp_path)
    assert (done.returncode, "no line with a password" in done.stderr) == (2, True)
    assert os.listdir(tmp_path) == []


# At a terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    command = "-P -m pgmux userlist --prompt ada -o userlist.txt"
    child = pexpect.spawn(
        sys.executable, command.split(), cwd=tmp_path, encoding="utf-8", timeout=20
    )
    yield child
    child.close(force=True)


def test_a_password_is_typed_twice_and_never_shown(
    terminal: pexpect.spawn[str], tmp_path: Path
) -> None:
    for prompt in ("Password for user ada: ", "And again: "):
        terminal.expect_exact(prompt)
        terminal.waitnoecho()
        terminal.sendline("typed secret")
    terminal.expect(pexpect.EOF)
    assert "typed secret" not in terminal.before
    assert users_of(tmp_path / "userlist.txt")["ada"].startswith("SCRAM-SHA-256$4096:")


def test_two_different_passwords_write_nothing(
    terminal: pexpect.spawn[str], tmp_path: Path
) -> None:
    for word in ("one", "two"):
        terminal.expect_exact(": ")
        terminal.waitnoecho()
        terminal.sendline(word)
    terminal.expect_exact("those were two passwords")
    assert os.listdir(tmp_path) == []


def test_ctrl_c_writes_nothing(terminal: pexpect.spawn[str], tmp_path: Path) -> None:
    terminal.expect_exact("Password for user ada: ")
    terminal.kill(signal.SIGINT)
    terminal.expect_exact("interrupted")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert os.listdir(tmp_path) == []


def test_a_closed_stdout_and_one_that_nobody_reads_are_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -P -m pgmux userlist --prompt ada --stdin -o u"
    for ending in (">&-", "| true"):
        done = subprocess.run(
            f"echo word | {command} {ending}",
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        assert list(users_of(tmp_path / "u")) == ["ada"]
