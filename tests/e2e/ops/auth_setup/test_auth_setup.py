"""`pgmux auth-setup` with a real PostgreSQL, and poolers that look their clients up by it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.config import parse_userlist
from pgmux.ops.auth_setup.setup import Setup
from pgmux.ops.auth_setup.work import Wish, set_up
from pgmux.ops.files import FileError
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.ops.server_connection import ServerConnection, read_conninfo
from pgmux.ops.severity import Severity
from pgmux.ops.userlist.place import UserlistPlace
from tests.fixtures.operator import KINDS, direct, log_in, make_pooler, reload, run_pgmux
from tests.fixtures.waiting import wait_until

ROLE = "pgbouncer_auth"
QUERY = "SELECT uname, phash FROM pgbouncer.user_lookup(%s)"
CLIENTS = """
    CREATE ROLE ada LOGIN PASSWORD 'adapw';
    CREATE ROLE late LOGIN PASSWORD 'latepw' VALID UNTIL '2001-01-01';
    CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'bosspw';
    CREATE ROLE replica REPLICATION LOGIN PASSWORD 'replicapw';
    CREATE ROLE "group" PASSWORD 'grouppw';
    CREATE DATABASE app OWNER ada;
    CREATE DATABASE other;
"""
LEFT = f"""
    SELECT 'role' FROM pg_roles WHERE rolname = '{ROLE}'
    UNION ALL SELECT 'schema' FROM pg_namespace WHERE nspname = 'pgbouncer'
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """One of its own: the roles belong to all databases. It logs every statement."""
    with EmbeddedPostgres(settings={"log_statement": "all"}) as started:
        started.psql("SELECT 1")
        for statement in CLIENTS.strip().splitlines():
            started.psql(statement)
        yield started


@pytest.fixture(autouse=True)
def clean(server: EmbeddedPostgres) -> Iterator[None]:
    yield
    for name in ("postgres", "app", "other"):
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS pgbouncer CASCADE")
            connection.execute("GRANT CONNECT ON DATABASE app TO PUBLIC")
            with suppress(psycopg.errors.UndefinedObject):
                connection.execute(f"DROP OWNED BY {ROLE}".encode())
            if name == "other":
                connection.execute(f"DROP ROLE IF EXISTS {ROLE}".encode())


@pytest.fixture
def userlist(tmp_path: Path) -> Path:
    return tmp_path / "userlist.txt"


@pytest.fixture(params=KINDS)
def pooler(server: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[PoolerProcess]:
    with make_pooler(server, request.param) as started:
        yield started


def auth_setup(
    server: EmbeddedPostgres,
    userlist: Path,
    *arguments: str,
    dbname: str = "app",
    user: str = "postgres",
    password: str = "postgres",
) -> subprocess.CompletedProcess[str]:
    where = ("--postgres", direct(server, user, dbname), "-o", str(userlist))
    done = run_pgmux("auth-setup", *where, *arguments, PGPASSWORD=password, cwd=userlist.parent)
    assert "Traceback" not in done.stderr
    secret = password_in(userlist) or "SCRAM-SHA-256$"
    assert secret not in done.stdout + done.stderr
    assert "SCRAM-SHA-256$" not in done.stdout + done.stderr
    return done


def make(
    server: EmbeddedPostgres, userlist: Path, setup: Setup | None = None, *, everyone: bool = False
) -> None:
    """The same in this process, where it isn't what is tested."""
    wish = Wish(setup or Setup(), everyone=everyone)
    with ServerConnection(read_conninfo(server.dsn("app"))) as connection:
        outcome = set_up(connection, wish, UserlistPlace(str(userlist), None, False))
    assert all(trial.severity is Severity.NOTE for trial in outcome.trials)


def password_in(userlist: Path) -> str:
    text = userlist.read_text() if userlist.exists() else ""
    return parse_userlist(text, "u")[0].get(ROLE, "")


def ask(server: EmbeddedPostgres, userlist: Path, name: str, dbname: str = "app") -> object:
    """What the function answers auth_user."""
    with psycopg.connect(server.dsn(dbname, ROLE, password_in(userlist))) as connection:
        return connection.execute(QUERY, (name,)).fetchall()


def stored(server: EmbeddedPostgres, name: str) -> str:
    return server.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'")


# Clients log in


ODD = ("--role", "odd \"asker's", "--schema", 'Odd "schema" %s {}')


@pytest.mark.parametrize("options", [(), ("--all-databases",), ODD])
def test_clients_log_in_through_the_pooler_by_what_it_makes(
    server: EmbeddedPostgres, pooler: PoolerProcess, options: tuple[str, ...]
) -> None:
    ini, file = pooler.directory / "pgbouncer.ini", pooler.directory / "userlist.txt"
    owner = file.stat().st_uid
    done = auth_setup(server, file, "--edit", *options, str(ini))
    assert done.returncode == 0, done.stderr
    assert "tried: the function answers" in done.stdout
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (owner, 0o600)
    reload(pooler)
    assert log_in(pooler, "ada", "adapw", "app") == "ada"
    if options == ("--all-databases",):
        assert log_in(pooler, "ada", "adapw", "other") == "ada"
    assert f"{ini}: has auth_user" in auth_setup(server, file, *options, str(ini)).stdout
    for user, password in (("ada", "wrong"), ("late", "latepw"), ("boss", "bosspw")):
        with pytest.raises(psycopg.OperationalError):
            log_in(pooler, user, password, "app")
    assert auth_setup(server, file, "--undo", "--edit", *options, str(ini)).returncode == 0
    assert "auth_user" not in ini.read_text()
    assert server.psql("SELECT FROM pg_roles WHERE rolname LIKE 'odd%'") == ""


def test_check_finds_nothing_wrong_with_what_it_makes(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    ini = userlist.parent / "pgbouncer.ini"
    where = f"host={server.host} port={server.port}"
    ini.write_text(f"[databases]\napp = {where}\n[pgbouncer]\nauth_file = {userlist}\n")
    assert auth_setup(server, userlist, "--edit", str(ini)).returncode == 0
    checked = run_pgmux(
        "check", "--postgres", direct(server), "--json", str(ini), PGPASSWORD=server.password
    )
    found = json.loads(checked.stdout)["findings"]
    assert [each for each in found if "lookup" in str(each) or ROLE in str(each)] == []


def test_one_database_answers_for_all(server: EmbeddedPostgres, tmp_path: Path) -> None:
    with make_pooler(server, "pgmux") as pooler:
        ini, file = pooler.directory / "pgbouncer.ini", pooler.directory / "userlist.txt"
        done = auth_setup(server, file, "--auth-dbname", "other", "--edit", str(ini))
        assert done.returncode == 0, done.stderr
        assert "auth_dbname = other" in ini.read_text()
        reload(pooler)
        assert log_in(pooler, "ada", "adapw", "app") == "ada"
    assert server.psql(LEFT, "app") == "role"
    assert server.psql(LEFT, "other").split() == ["role", "schema"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_verifier_of_auth_user_would_not_do(
    server: EmbeddedPostgres, kind: str, userlist: Path
) -> None:
    """Why the password stands there in clear."""
    make(server, userlist)
    settings = {"auth_user": ROLE, "auth_query": QUERY.replace("%s", "$1")}
    with make_pooler(server, kind, settings) as pooler:
        file = pooler.directory / "userlist.txt"
        file.write_text(file.read_text() + f'"{ROLE}" "{stored(server, ROLE)}"\n')
        reload(pooler)
        assert not can_log_in(pooler)
        file.write_text(file.read_text() + f'"{ROLE}" "{password_in(userlist)}"\n')
        reload(pooler)
        wait_until(lambda: can_log_in(pooler))


def can_log_in(pooler: PoolerProcess) -> bool:
    """Whether ada does by now: a failed login to PostgreSQL is remembered for a second."""
    try:
        return log_in(pooler, "ada", "adapw", "app", connect_timeout=2) == "ada"
    except psycopg.OperationalError:
        return False


# What is made


def test_the_function_tells_verifiers_of_login_roles_and_of_nobody_else(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    make(server, userlist)
    assert ask(server, userlist, "ada") == [("ada", stored(server, "ada"))]
    assert ask(server, userlist, "late") == [("late", None)]
    for name in ("boss", "replica", "group", "nobody", "", "a" * 70, "ada' OR true --"):
        assert ask(server, userlist, name) == []
    make(server, userlist, Setup(superusers=True, replication=True))
    assert ask(server, userlist, "boss") == [("boss", stored(server, "boss"))]
    assert ask(server, userlist, "replica") == [("replica", stored(server, "replica"))]


def test_the_role_may_ask_and_nothing_else_and_others_may_not_ask(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    assert auth_setup(server, userlist, "--connection-limit", "7").returncode == 0
    found = server.psql(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin,"
        f" rolconnlimit FROM pg_roles WHERE rolname = '{ROLE}'"
    )
    assert found == "f|f|f|f|f|t|7"
    call = "SELECT pgbouncer.user_lookup('ada')"
    ours, theirs = server.dsn("app", ROLE, password_in(userlist)), server.dsn("app", "ada", "adapw")
    assert "pg_authid" in refusal(ours, "SELECT rolpassword FROM pg_authid")
    assert "schema pgbouncer" in refusal(theirs, call)
    server.psql("GRANT USAGE ON SCHEMA pgbouncer TO ada", "app")
    assert "function user_lookup" in refusal(theirs, call)


def refusal(dsn: str, query: str) -> str:
    with (
        psycopg.connect(dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege) as caught,
    ):
        connection.execute(query.encode())
    return str(caught.value)


ATTACK = """
    CREATE TABLE {schema}.pg_authid AS
        SELECT 'ada'::name AS rolname, true AS rolcanlogin, false AS rolsuper,
               false AS rolreplication, NULL::timestamptz AS rolvaliduntil, 'mine' AS rolpassword;
    CREATE FUNCTION {schema}.now() RETURNS timestamptz LANGUAGE sql
        AS $$SELECT timestamptz '-infinity'$$;
    CREATE FUNCTION {schema}.always(name, text) RETURNS bool LANGUAGE sql AS $$SELECT true$$;
    CREATE OPERATOR {schema}.= (LEFTARG = name, RIGHTARG = text, FUNCTION = {schema}.always);
"""


@pytest.mark.parametrize("schema", ["public", "pg_temp"])
def test_what_a_caller_puts_into_its_search_path_changes_no_answer(
    server: EmbeddedPostgres, userlist: Path, schema: str
) -> None:
    make(server, userlist)
    server.psql(f"GRANT ALL ON SCHEMA public TO {ROLE}", "app")
    with psycopg.connect(server.dsn("app", ROLE, password_in(userlist))) as connection:
        connection.execute(ATTACK.format(schema=schema).encode())
        connection.execute(f"SET search_path = {schema}, pg_catalog".encode())
        answers = connection.execute(QUERY, ("ada",)).fetchall()
        assert answers == [("ada", stored(server, "ada"))]
        assert connection.execute(QUERY, ("late",)).fetchall() == [("late", None)]
        assert connection.execute(QUERY, ("nobody",)).fetchall() == []
        connection.rollback()
    server.psql(f"REVOKE ALL ON SCHEMA public FROM {ROLE}", "app")


def test_no_password_is_sent_to_postgresql_or_said(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    make(server, userlist)
    assert auth_setup(server, userlist, "--rotate").returncode == 0
    log = server.log_file.read_text(errors="replace")
    assert f'CREATE ROLE "{ROLE}"' in log
    assert password_in(userlist) not in log
    assert parse_secret(stored(server, ROLE)).kind is SecretKind.SCRAM
    assert stat.S_IMODE(userlist.stat().st_mode) == 0o600


def test_a_database_that_not_everybody_may_connect_to_lets_the_role_in(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    server.psql("REVOKE CONNECT ON DATABASE app FROM PUBLIC")
    make(server, userlist)
    assert ask(server, userlist, "ada")
    assert auth_setup(server, userlist, "--undo").returncode == 0
    assert server.psql(LEFT, "app") == ""


def test_what_default_privileges_give_away_is_taken_back(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    defaults = "ALTER DEFAULT PRIVILEGES {} ALL ON SCHEMAS {} ada, PUBLIC"
    server.psql(f"{defaults.format('GRANT', 'TO')}; GRANT CREATE ON DATABASE app TO ada", "app")
    server.psql("ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO ada", "app")
    make(server, userlist)
    server.psql("ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM ada", "app")
    server.psql(defaults.format("REVOKE", "FROM"), "app")
    theirs = server.dsn("app", "ada", "adapw")
    call = "SELECT pgbouncer.user_lookup('ada')"
    assert "schema pgbouncer" in refusal(theirs, call)
    assert "schema pgbouncer" in refusal(theirs, "CREATE TABLE pgbouncer.mine ()")
    server.psql("GRANT USAGE ON SCHEMA pgbouncer TO ada", "app")
    assert "function user_lookup" in refusal(theirs, call)


def test_a_database_in_sql_ascii_is_one_like_others(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    server.psql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    for said in ("tried: the function answers", "all is there already"):
        done = auth_setup(server, userlist, dbname="ascii")
        assert (done.returncode, said in done.stdout) == (0, True), done.stderr
        assert "FROM pgbouncer.user_lookup($1)" in done.stdout
    assert auth_setup(server, userlist, "--undo", dbname="ascii").returncode == 0
    server.psql("DROP DATABASE ascii")


def test_nobody_is_given_a_password_that_cannot_be_written_down(
    server: EmbeddedPostgres, userlist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileError("cannot write it")

    monkeypatch.setattr("pgmux.ops.userlist.update.write_files", refuse)
    with pytest.raises(FileError):
        make(server, userlist)
    assert server.psql(LEFT, "app") == ""


# Once more


def test_a_second_run_changes_nothing_and_says_so(server: EmbeddedPostgres, userlist: Path) -> None:
    make(server, userlist, everyone=True)
    before, secret = userlist.stat().st_mtime_ns, stored(server, ROLE)
    done = auth_setup(server, userlist, "--all-databases", "--json")
    said = json.loads(done.stdout)
    assert [each["statements"] for each in said["databases"]] == [[], [], []]
    assert not said["userlist_written"]
    assert (userlist.stat().st_mtime_ns, stored(server, ROLE)) == (before, secret)
    assert "database app: all is there already" in auth_setup(server, userlist).stdout


def test_what_was_lost_is_made_again(server: EmbeddedPostgres, userlist: Path) -> None:
    make(server, userlist)
    server.psql("GRANT EXECUTE ON FUNCTION pgbouncer.user_lookup TO PUBLIC", "app")
    server.psql(f"REVOKE USAGE ON SCHEMA pgbouncer FROM {ROLE}", "app")
    said = json.loads(auth_setup(server, userlist, "--json").stdout)
    (database,) = said["databases"]
    assert [statement.partition(" ")[0] for statement in database["statements"]] == [
        "GRANT",
        "REVOKE",
    ]


def test_a_password_that_another_pooler_uses_is_not_replaced_unasked(
    server: EmbeddedPostgres, userlist: Path, tmp_path: Path
) -> None:
    make(server, userlist)
    password, secret = password_in(userlist), stored(server, ROLE)
    second = tmp_path / "second.txt"
    done = auth_setup(server, second)
    assert (done.returncode, "made by --rotate" in done.stderr) == (2, True)
    assert (stored(server, ROLE), second.exists()) == (secret, False)
    (tmp_path / "password").write_text(password + "\n")
    done = auth_setup(server, second, "--password-file", str(tmp_path / "password"))
    assert (done.returncode, password_in(second), stored(server, ROLE)) == (0, password, secret)
    assert auth_setup(server, second, "--rotate").returncode == 0
    assert password_in(second) != password
    assert ask(server, second, "ada")


def test_a_dry_run_prints_the_statements_and_does_none(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    done = auth_setup(server, userlist, "--all-databases", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.count("CREATE ROLE") == 1
    assert "PASSWORD '********'" in done.stdout
    assert done.stdout.count("SECURITY DEFINER SET search_path = pg_catalog, pg_temp") == 3
    assert server.psql(LEFT, "app") == ""
    assert os.listdir(userlist.parent) == []


# Undone


def test_undo_takes_out_what_was_made(server: EmbeddedPostgres, userlist: Path) -> None:
    userlist.write_text('; ours\n"admin" "x"\n')
    userlist.chmod(0o600)
    ini = userlist.parent / "pgbouncer.ini"
    text = f"; ours\n[databases]\n[pgbouncer]\nauth_file = {userlist}\n"
    ini.write_text(text)
    assert auth_setup(server, userlist, "--all-databases", "--edit", str(ini)).returncode == 0
    assert f"auth_user = {ROLE}\n" in ini.read_text()
    assert auth_setup(server, userlist, "--undo", "--dry-run", "--edit", str(ini)).returncode == 0
    assert ask(server, userlist, "ada")
    assert auth_setup(server, userlist, "--undo", "--edit", str(ini)).returncode == 0
    assert [server.psql(LEFT, name) for name in ("postgres", "app", "other")] == ["", "", ""]
    assert userlist.read_text() == '; ours\n"admin" "x"\n'
    assert ini.read_text() == text
    done = auth_setup(server, userlist, "--undo", str(ini))
    assert (done.returncode, "nothing that auth-setup has made" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ("CREATE TABLE pgbouncer.theirs ()", "cannot drop schema"),
        ("CREATE VIEW theirs AS SELECT * FROM pgbouncer.user_lookup('x')", "cannot drop function"),
        (f"CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO {ROLE}", "which is not of pgmux's"),
    ],
)
def test_undo_refuses_to_drop_what_others_depend_on(
    server: EmbeddedPostgres, userlist: Path, theirs: str, said: str
) -> None:
    make(server, userlist, everyone=True)
    server.psql(theirs, "app")
    done = auth_setup(server, userlist, "--undo")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "theirs" in done.stderr
    assert ask(server, userlist, "ada", "other") and ask(server, userlist, "ada")
    server.psql(f"DROP {theirs.split()[1]} IF EXISTS theirs", "app")


def test_undo_leaves_a_line_whose_role_it_has_not_made(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    """It may be the console's admin, or for another PostgreSQL than this one."""
    text = f'"{ROLE}" "of another PostgreSQL"\n"admin" "x"\n'
    userlist.write_text(text)
    for role in (ROLE, "admin"):
        assert auth_setup(server, userlist, "--undo", "--role", role).returncode == 0
    assert userlist.read_text() == text


def test_undo_in_one_database_keeps_the_role_that_others_use(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    make(server, userlist, everyone=True)
    done = auth_setup(server, userlist, "--undo", "--database", "app")
    assert (done.returncode, "other, postgres; say --all-databases" in done.stderr) == (2, True)
    assert ask(server, userlist, "ada")


# What stands in the way


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (f"CREATE ROLE {ROLE} LOGIN CREATEROLE", "has CREATEROLE"),
        (f"CREATE ROLE {ROLE} LOGIN IN ROLE pg_monitor", "has membership in a role"),
        ("CREATE SCHEMA pgbouncer AUTHORIZATION ada", "belongs to ada"),
        (
            "CREATE SCHEMA pgbouncer; GRANT CREATE ON SCHEMA pgbouncer TO ada",
            "ada may create in schema pgbouncer",
        ),
        (
            "CREATE SCHEMA pgbouncer; CREATE FUNCTION pgbouncer.user_lookup(varchar) RETURNS text"
            " LANGUAGE sql AS 'SELECT NULL'",
            "other arguments",
        ),
        (
            "CREATE SCHEMA pgbouncer; CREATE FUNCTION pgbouncer.user_lookup(text) RETURNS text"
            " LANGUAGE sql AS 'SELECT NULL'",
            "--replace",
        ),
    ],
)
def test_what_cannot_be_trusted_is_an_error_and_nothing_is_made_anywhere(
    server: EmbeddedPostgres, userlist: Path, there: str, said: str
) -> None:
    server.psql(there, "other")
    secret = stored(server, ROLE)
    done = auth_setup(server, userlist, "--all-databases")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert server.psql(LEFT, "app") in ("", "role")
    assert (stored(server, ROLE), userlist.exists()) == (secret, False)


def test_a_function_made_by_hand_is_replaced_when_that_is_asked_for(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    server.psql(
        "CREATE SCHEMA pgbouncer; CREATE FUNCTION pgbouncer.user_lookup(i_username text, OUT uname"
        " text, OUT phash text) RETURNS record LANGUAGE sql SECURITY DEFINER AS $$SELECT usename,"
        " passwd FROM pg_shadow WHERE usename = $1$$",
        "app",
    )
    assert auth_setup(server, userlist, "--replace").returncode == 0
    assert ask(server, userlist, "late") == [("late", None)]
    assert auth_setup(server, userlist, "--undo").returncode == 0
    assert server.psql(LEFT, "app") == "schema"  # which others have made


def test_a_role_without_rights_is_told_what_else_there_is(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    done = auth_setup(server, userlist, user="ada", password="adapw")
    assert done.returncode == 2
    assert "role ada may not read pg_authid" in done.stderr
    assert "pgmux userlist --prompt" in done.stderr
    assert not userlist.exists()


def test_a_userlist_that_cannot_be_edited_is_found_before_anything_is_made(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    userlist.write_text('"a" "b"\nbroken\n')
    done = auth_setup(server, userlist)
    assert (done.returncode, f"{userlist}:2: broken auth file" in done.stderr) == (2, True)
    assert server.psql(LEFT, "app") == ""


def test_where_pg_hba_lets_the_role_not_in_from_here_that_is_a_warning(
    server: EmbeddedPostgres, userlist: Path
) -> None:
    old = server.hba
    server.hba = (f"host all {ROLE} all reject", *old)
    server.reload()
    try:
        server.psql(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'pw'")
        userlist.write_text(f'"{ROLE}" "pw"\n')
        wait_until(lambda: is_rejected(server))
        done = auth_setup(server, userlist)
        assert (done.returncode, "not tried: no connection" in done.stdout) == (1, True)
    finally:
        server.hba = old
        server.reload()


def is_rejected(server: EmbeddedPostgres) -> bool:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(server.dsn("app", ROLE, "wrong"))
    return "pg_hba.conf rejects" in str(caught.value)
