"""`pgmux user` and `pgmux database` at a running pgmux and a running PgBouncer."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.ops.entries.conftest import SECRET, Deployed
from tests.fixtures.waiting import wait_until

Role = tuple[str, str]
PASSWORD = 'it\'s "her" sécret'


def test_a_user_whose_password_is_typed_gets_in_and_the_pooler_logs_in_with_postgresqls_verifier(
    deployed: Deployed, postgres: EmbeddedPostgres, create_role: Callable[..., Role]
) -> None:
    user, _ = create_role(password=PASSWORD.replace("'", "''"))
    os.chmod(deployed.userlist, 0o640)
    before = deployed.userlist.stat()
    add = ("user", "add", user, "--max-user-connections", "7", "--stats", "--password-file", "-")
    code, outcome = deployed.json(*add, stdin=f"{PASSWORD}\n")
    assert (code, outcome["failure"]) == (0, "")
    assert outcome["tried"] == f"user {user} at database app: SELECT 1 was answered"
    assert deployed.select("app", user, PASSWORD) == f"{user}@postgres"
    verifier = postgres.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'").strip()
    ini, userlist = deployed.texts()
    assert f'"{user}" "{verifier}"' in userlist.splitlines()
    assert f"[users]\n{user} = max_user_connections=7\n" in ini
    assert f"stats_users = {user}\n" in ini
    after = deployed.userlist.stat()
    assert [(s.st_uid, s.st_gid, s.st_mode) for s in (before, after)].count(
        (before.st_uid, before.st_gid, before.st_mode)
    ) == 2
    assert PASSWORD not in str(outcome)


def test_a_user_taken_from_postgresql_gets_in(
    deployed: Deployed, postgres: EmbeddedPostgres, create_role: Callable[..., Role]
) -> None:
    user, password = create_role()
    add = ("user", "add", user, "--from-postgres", "--postgres", "user=postgres")
    done = deployed.run(*add, PGPASSWORD=postgres.password)
    assert done.returncode == 2, "PGPASSWORD is PostgreSQL's, and the console's too"
    passfile = deployed.pooler.directory / "pgpass"
    passfile.write_text(f"*:*:postgres:postgres:{postgres.password}\n")
    passfile.chmod(0o600)
    code, outcome = deployed.json(*add, PGPASSFILE=str(passfile))
    assert (code, outcome["failure"]) == (0, "")
    assert "not tried: the password isn't known" in " ".join(outcome["notes"])
    assert deployed.select("app", user, password) == f"{user}@postgres"


@pytest.mark.parametrize("deployed", ["pgmux"], indirect=True)
def test_a_wrong_password_is_found_out_before_anything_is_written(
    deployed: Deployed, create_role: Callable[..., Role]
) -> None:
    user, _ = create_role()
    before = deployed.texts()
    done = deployed.run("user", "add", user, "--password-file", "-", stdin="not that\n")
    assert done.returncode == 2
    assert "password authentication failed" in done.stderr
    assert deployed.texts() == before


def test_where_the_trial_fails_everything_is_as_before_unless_it_is_to_be_kept(
    deployed: Deployed,
) -> None:
    before = deployed.texts()
    # A role that isn't there, which only the pooler's own login finds out with --plain.
    add = ("user", "add", "nobody_knows", "--plain", "--password-file", "-")
    code, outcome = deployed.json(*add, stdin="x\n")
    assert code == 3
    assert "the trial failed: user nobody_knows at database app" in outcome["failure"]
    assert "the files are as before, and reloaded" in outcome["failure"]
    assert deployed.texts() == before
    code, outcome = deployed.json(*add, "--keep", stdin="x\n")
    assert code == 3
    assert '"nobody_knows" "x"' in deployed.userlist.read_text()


def test_a_user_who_is_removed_gets_in_no_more(
    deployed: Deployed, create_role: Callable[..., Role]
) -> None:
    user, password = create_role()
    before = deployed.texts()
    arguments = ("user", "add", user, "--admin", "--password-file", "-")
    assert deployed.run(*arguments, stdin=f"{password}\n").returncode == 0
    with psycopg.connect(
        host=deployed.pooler.host,
        port=deployed.pooler.port,
        dbname="app",
        user=user,
        password=password,
    ):
        code, outcome = deployed.json("user", "remove", user)
    assert code == 0, outcome
    assert "clients connected as it: 1" in " ".join(outcome["notes"])
    assert deployed.texts() == before
    with pytest.raises(psycopg.OperationalError):
        deployed.select("app", user, password)


@pytest.mark.parametrize("deployed", ["pgmux"], indirect=True)
def test_the_last_admin_and_oneself_stay_unless_forced(deployed: Deployed) -> None:
    before = deployed.texts()
    done = deployed.run("user", "remove", "admin")
    assert done.returncode == 2
    assert "admin is the last of admin_users; you are admin at the console" in done.stderr
    assert deployed.texts() == before


def test_a_database_is_added_changed_and_removed(
    deployed: Deployed, create_database: Callable[..., str], create_role: Callable[..., Role]
) -> None:
    database = create_database()
    user, password = create_role()
    before = deployed.ini.read_text()
    plain = ("user", "add", user, "--plain", "--password-file", "-")
    assert deployed.run(*plain, stdin=f"{password}\n").returncode == 1, "warns of the plain text"
    add = ("database", "add", "my-db", "--dbname", database, "--pool-size", "3")
    code, outcome = deployed.json(*add)
    assert (code, outcome["failure"]) == (0, "")
    assert outcome["tried"] == f"user {user} at database my-db: SELECT 1 was answered"
    assert "my-db = host=" in deployed.ini.read_text()
    assert deployed.select("my-db", user, password) == f"{user}@{database}"
    assert deployed.run(*add).returncode == 2, "it is there already"
    change = ("database", "add", "my-db", "--pool-size", "4", "--replace", "--as", user)
    code, outcome = deployed.json(*change)
    assert code == 0, outcome
    assert re.search(f"my-db = host=.* dbname={database} pool_size=4\n", deployed.ini.read_text())
    code, outcome = deployed.json("database", "remove", "my-db")
    assert code == 0, outcome
    assert deployed.ini.read_text() == before
    with pytest.raises(psycopg.OperationalError):
        deployed.select("my-db", user, password)


def test_a_database_that_postgresql_has_not_is_taken_back(
    deployed: Deployed, create_role: Callable[..., Role]
) -> None:
    user, password = create_role()
    plain = ("user", "add", user, "--plain", "--password-file", "-")
    assert deployed.run(*plain, stdin=f"{password}\n").returncode == 1
    before = deployed.texts()
    code, outcome = deployed.json("database", "add", "no_such_database")
    assert code == 3
    assert 'database "no_such_database" does not exist' in outcome["failure"]
    assert deployed.texts() == before


@pytest.mark.parametrize("deployed", ["pgmux"], indirect=True)
def test_a_value_that_is_none_is_refused_with_its_place_and_nothing_is_written(
    deployed: Deployed,
) -> None:
    before = deployed.texts()
    done = deployed.run("database", "add", "shop", "--pool-mode", "fast")
    assert done.returncode == 2
    assert re.search(r"pgbouncer.ini:\d+: invalid pool mode: fast", done.stderr)
    assert deployed.texts() == before


@pytest.mark.parametrize("deployed", ["pgmux"], indirect=True)
def test_a_broken_userlist_is_said_with_its_line_and_stays(deployed: Deployed) -> None:
    deployed.userlist.write_text('"admin" "top secret"\nbroken\n')
    before = deployed.texts()
    done = deployed.run("user", "add", "ann", "--password-file", "-", "--plain", stdin="x\n")
    assert done.returncode == 2
    assert "userlist.txt:2" in done.stderr
    assert deployed.texts() == before


@pytest.mark.parametrize("deployed", ["pgmux"], indirect=True)
def test_a_dry_run_shows_the_difference_without_secrets(deployed: Deployed) -> None:
    before = deployed.texts()
    arguments = ("user", "add", "ann", "--plain", "--dry-run", "--pool-size", "2")
    done = deployed.run(*arguments, "--password-file", "-", stdin="hush hush\n")
    assert '+"ann" "********"' in done.stdout
    assert "+ann = pool_size=2" in done.stdout
    assert "hush" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert deployed.texts() == before


@pytest.mark.parametrize("deployed", ["pgmux"], indirect=True)
def test_without_a_console_nothing_is_written_unless_it_is_not_to_be_reloaded(
    deployed: Deployed,
) -> None:
    before = deployed.texts()
    deployed.pooler.send_signal(signal.SIGQUIT)
    wait_until(lambda: "no connection" in deployed.run("console", "SHOW VERSION").stderr)
    arguments = ("database", "add", "shop")
    done = deployed.run(*arguments)
    assert done.returncode == 2
    assert "--no-reload writes the files alone" in done.stderr
    assert deployed.texts() == before
    done = deployed.run(*arguments, "--no-reload")
    assert done.returncode == 0, done.stderr
    assert "shop = host=" in deployed.ini.read_text()


def test_two_at_once_both_count(deployed: Deployed) -> None:
    both = [
        deployed.start("database", "add", name, "--dbname", "postgres") for name in ("one", "two")
    ]
    assert [process.communicate(timeout=60) and process.returncode for process in both] == [0, 0]
    text = deployed.ini.read_text()
    assert "one = host=" in text
    assert "two = host=" in text


def test_ctrl_c_during_the_trial_takes_everything_back(
    deployed: Deployed, create_role: Callable[..., Role]
) -> None:
    user, password = create_role()
    plain = ("user", "add", user, "--plain", "--password-file", "-")
    assert deployed.run(*plain, stdin=f"{password}\n").returncode == 1
    before = deployed.texts()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        adding = deployed.start("database", "add", "hung", "--host", "127.0.0.1", "--port", port)
        met, _ = silent.accept()  # the pooler has come to the server that keeps silent
        adding.send_signal(signal.SIGINT)
        assert adding.wait(30) == 130
        met.close()
    assert deployed.texts() == before
    assert adding.stderr is not None
    assert "Traceback" not in adding.stderr.read()
    databases = deployed.run("console", "SHOW DATABASES", PGPASSWORD=SECRET).stdout
    assert "hung" not in databases


def test_a_deployment_with_auth_type_md5_takes_a_user_with_a_scram_verifier(
    deployed: Deployed, create_role: Callable[..., Role]
) -> None:
    """auth_type = md5, passwords as they are, a comment on top: as many have it."""
    text = deployed.ini.read_text().replace("scram-sha-256", "md5")
    deployed.ini.write_text(f"################## Auto generated ##################\n{text}")
    assert deployed.run("console", "RELOAD", PGPASSWORD=SECRET).returncode == 0
    user, password = create_role()
    add = ("user", "add", user, "--password-file", "-")
    code, outcome = deployed.json(*add, stdin=f"{password}\n")
    assert (code, outcome["failure"]) == (0, "")
    assert outcome["tried"] == f"user {user} at database app: SELECT 1 was answered"
    assert deployed.ini.read_text().startswith("##################")
