"""The files that `pgmux init` writes for a real PostgreSQL, run as they stand by both poolers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pexpect
import psycopg
import pytest

from pgmux.ops.account import unprivileged_account
from pgmux.ops.installation import give_to, make_directory
from pgmux.ops.pooler import end, is_listening
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.operator import without_libpq
from tests.fixtures.tools import command_of
from tests.fixtures.waiting import wait_until

COMMAND = (sys.executable, "-P", "-m", "pgmux")
Role = tuple[str, str]


class Place:
    """A directory that the pooler may read, and commands run beside it."""

    def __init__(self, directory: Path, home: Path) -> None:
        self.directory = directory
        self.ini = directory / "pgbouncer.ini"
        self.environ = without_libpq(HOME=str(home))

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    account = unprivileged_account()
    with make_directory(account) as directory:
        give_to(account, Path(directory))
        yield Place(Path(directory) / "pooler", tmp_path)


def conninfo(postgres: EmbeddedPostgres, user: str = "postgres") -> str:
    return f"host={postgres.host} port={postgres.port} user={user}"


@pytest.mark.parametrize("kind", ["pgmux", "pgbouncer"])
def test_a_pooler_runs_on_the_files_as_they_stand(
    place: Place,
    postgres: EmbeddedPostgres,
    create_role: Callable[..., Role],
    create_database: Callable[..., str],
    kind: str,
) -> None:
    user, password = create_role()
    database, port = create_database(), find_free_port()
    http = f"127.0.0.1:{find_free_port()}" if kind == "pgmux" else ""
    init = place.run(
        *("init", str(place.directory), "--postgres", conninfo(postgres), "--json"),
        *("--database", database, "--user", user, "--port", str(port), "--http-listen", http),
        PGPASSWORD=postgres.password,
    )
    said = json.loads(init.stdout)
    assert (init.returncode, said["warnings"], said["users"]) == (0, [], [user])
    assert said["max_connections"] == 200
    assert "SCRAM-SHA-256$" not in init.stdout + init.stderr
    assert place.run("run", "--check", str(place.ini)).returncode == 0
    command = list(command_of(kind))
    account = unprivileged_account()
    become = ["-u", account.pw_name] if account else []
    with ExitStack() as stack:
        log = stack.enter_context((place.directory / "log").open("w"))
        process = subprocess.Popen([*command, *become, str(place.ini)], stdout=log, stderr=log)
        stack.callback(end, process)
        wait_until(lambda: process.poll() is not None or is_listening("127.0.0.1", port))
        assert process.poll() is None, (place.directory / "log").read_text()
        where = f"host=127.0.0.1 port={port} dbname={database} user={user} password={password}"
        with psycopg.connect(where, prepare_threshold=None) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (user,)
        pgpass = {"PGPASSFILE": str(place.directory / "admin.pgpass")}
        for who, tag in (("pgmux_admin", "RELOAD"), ("pgmux_stats", "SHOW VERSION")):
            console = ("console", "--config", str(place.ini), "-U", who, tag)
            done = place.run(*console, **pgpass)
            assert done.returncode == 0, done.stderr
        another, its_password = create_role()
        secret = place.directory / "another"
        secret.write_text(its_password)
        add = ("user", "add", another, "--password-file", str(secret), "--config", str(place.ini))
        done = place.run(*add, **pgpass)
        assert done.returncode == 0, done.stderr
        assert f"tried as user {another} at database {database}" in done.stdout
        check = ("check", str(place.ini), "--postgres", conninfo(postgres), "--json")
        judged = json.loads(place.run(*check, PGPASSWORD=postgres.password).stdout)
        errors = [each for each in judged["findings"] if each["severity"] == "error"]
        assert errors == []


def test_nothing_that_is_there_is_overwritten_unasked(place: Place) -> None:
    place.directory.mkdir()
    kept = place.directory / "userlist.txt"
    kept.write_text('"mine" "hush"\n')
    arguments = ("init", str(place.directory), "--yes", "--postgres", "host=127.0.0.1 port=1")
    done = place.run(*arguments)
    assert done.returncode == 2
    assert f"already there, and not overwritten: {kept}" in done.stderr
    assert os.listdir(place.directory) == ["userlist.txt"]
    assert place.run(*arguments, "--force").returncode == 1
    assert "mine" not in kept.read_text()


def test_without_postgresql_it_says_what_it_assumed(place: Place) -> None:
    done = place.run(
        *("init", str(place.directory), "--postgres", "host=127.0.0.1 port=1 dbname=shop"),
    )
    assert done.returncode == 1
    assert "assumed are max_connections = 100, 3 of them reserved" in done.stderr
    assert "shop = host=127.0.0.1 port=1 dbname=shop" in place.ini.read_text()
    assert "(assumed)" in place.ini.read_text()
    assert place.run("run", "--check", str(place.ini)).returncode == 0


def test_a_role_without_rights_gets_files_without_users(
    place: Place, postgres: EmbeddedPostgres, create_role: Callable[..., Role]
) -> None:
    user, password = create_role()
    done = place.run(
        *(
            "init",
            str(place.directory),
            "--postgres",
            f"{conninfo(postgres, user)} dbname=postgres",
        ),
        PGPASSWORD=password,
    )
    assert done.returncode == 1
    assert "only a superuser may read verifiers" in done.stderr


@pytest.mark.parametrize(
    ("parameters", "why"),
    [("user=postgres", "password authentication failed"), ("user=no_such_role", "no_such_role")],
)
def test_a_postgresql_that_lets_nobody_in_is_no_reason_to_guess(
    place: Place, postgres: EmbeddedPostgres, parameters: str, why: str
) -> None:
    where = f"host={postgres.host} port={postgres.port} {parameters}"
    done = place.run("init", str(place.directory), "--postgres", where, PGPASSWORD="wrong")
    assert done.returncode == 2
    assert why in done.stderr
    assert not place.directory.exists()


def test_a_dry_run_writes_nothing(place: Place) -> None:
    arguments = ("init", str(place.directory), "--postgres", "host=127.0.0.1 port=1", "--dry-run")
    done = place.run(*arguments)
    assert f"would write {place.ini}" in done.stdout
    assert not place.directory.exists()


def test_a_password_on_the_command_line_is_refused(place: Place) -> None:
    done = place.run("init", str(place.directory), "--postgres", "host=127.0.0.1 password=hush")
    assert done.returncode == 2
    assert "hush" not in done.stdout + done.stderr
    assert not place.directory.exists()


@pytest.mark.parametrize("port", ["x", "1,2"])
def test_what_is_no_one_port_is_said(place: Place, port: str) -> None:
    done = place.run("init", str(place.directory), "--postgres", f"host=127.0.0.1 port={port}")
    assert done.returncode == 2
    assert f"one number is expected as its port, not {port}" in done.stderr
    assert not place.directory.exists()


def test_a_directory_that_cannot_be_made_is_said(place: Place) -> None:
    place.directory.write_text("a file")
    done = place.run("init", str(place.directory / "in"), "--postgres", "host=127.0.0.1 port=1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_on_a_terminal_it_asks_and_shows_the_defaults(
    place: Place, postgres: EmbeddedPostgres, create_role: Callable[..., Role]
) -> None:
    user, _ = create_role()
    arguments = [*COMMAND[1:], "init", str(place.directory), "--http-listen", ""]
    child = pexpect.spawn(
        COMMAND[0],
        arguments,
        env=place.environ | {"PGPASSWORD": postgres.password, "TERM": "dumb"},
        encoding="utf-8",
        timeout=20,
    )
    child.expect(r"PostgreSQL \[host=127.0.0.1 port=5432 user=postgres\]: ")
    child.sendline(conninfo(postgres))
    child.expect(r"Databases \[.*\]: ")
    child.sendline("postgres")
    child.expect("Users .*: ")
    child.sendline(user)
    child.expect(r"Listen on \[127.0.0.1\]: ")
    child.sendline("")
    child.expect(r"Port \[6432\]: ")
    child.sendline("7001")
    child.expect(r"Admin of the console \[pgmux_admin\]: ")
    child.sendline("boss")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    text = place.ini.read_text()
    assert "listen_port = 7001" in text
    assert "admin_users = boss" in text
    assert f'"{user}" "SCRAM-SHA-256$' in (place.directory / "userlist.txt").read_text()


def test_ctrl_c_at_a_question_writes_nothing(place: Place) -> None:
    arguments = [*COMMAND[1:], "init", str(place.directory)]
    child = pexpect.spawn(COMMAND[0], arguments, env=place.environ, encoding="utf-8", timeout=20)
    child.expect("PostgreSQL .*: ")

    def is_gone() -> bool:
        # One that comes just before readline waits is seen at the next key only.
        child.sendintr()
        return bool(child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=0.5))

    wait_until(is_gone)
    child.close()
    assert child.exitstatus == 130
    assert not place.directory.exists()


def test_names_that_the_files_cannot_hold_are_left_out_and_told(place: Place) -> None:
    with EmbeddedPostgres() as postgres:
        for name in ("app", "o'brien", "*"):
            postgres.psql(f'CREATE DATABASE "{name}"')
        postgres.psql("CREATE ROLE \"new\nline\" LOGIN PASSWORD 'x'")
        done = place.run(
            "init", str(place.directory), "--postgres", conninfo(postgres), PGPASSWORD="postgres"
        )
    assert done.returncode == 1, done.stderr
    assert """no line can say their names: "*", "o'brien"\n""" in done.stderr
    assert 'hold their lines: "new\\x0Aline"' in done.stderr
    assert place.ini.read_text().count(" dbname=") == 1
