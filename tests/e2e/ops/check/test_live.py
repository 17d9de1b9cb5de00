"""`pgmux check` of a running pooler, of either kind, and of its PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.operator import run_pgmux
from tests.fixtures.tools import command_of

SECRET = "hush-hush"
LOOKUP = """
CREATE SCHEMA look;
CREATE FUNCTION look.up(who text) RETURNS TABLE (usename name, passwd text) LANGUAGE sql
    SECURITY DEFINER AS $$SELECT usename, passwd FROM pg_shadow WHERE usename = $1$$;
GRANT USAGE ON SCHEMA look TO auther;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """Sixty connections; `auther` looks up who `app` and `report` are."""
    with EmbeddedPostgres(max_connections=60) as started:
        for role in ("app", "report", "auther"):
            started.psql(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        started.psql("CREATE DATABASE shop")
        started.psql(LOOKUP, "shop")
        yield started


@pytest.fixture(scope="module", params=["pgmux", "pgbouncer"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pooler(server: EmbeddedPostgres, kind: str) -> Iterator[PoolerProcess]:
    """Pools of 25 for each user of `shop`, two of whom have been there."""
    where = f"host={server.host} port={server.port}"
    with PoolerProcess(
        port=find_free_port(),
        databases={
            "shop": f"{where} auth_user=auther",
            "admin": f"{where} dbname=shop user=postgres password={server.password}",
        },
        users={"app": SECRET, "report": "another password", "auther": SECRET, "gone": "x"},
        settings={
            "auth_type": "md5",
            "admin_users": "app",
            "pool_mode": "transaction",
            "default_pool_size": 25,
            "auth_query": "SELECT * FROM look.up($1)",
        },
        command=command_of(kind),
    ) as started:
        for database in ("shop", "admin"):
            dsn = f"host={started.host} port={started.port} dbname={database} user=app"
            with psycopg.connect(dsn, password=SECRET) as connection:
                connection.execute("SELECT 1")
        yield started


def check(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_pgmux("check", *map(str, arguments), **variables)


def json_of(*arguments: str | Path, **variables: str) -> dict[str, Any]:
    done = check(*arguments, "--json", **variables)
    assert "Traceback" not in done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def evidence_of(report: dict[str, Any], rule: str) -> str:
    return "\n".join(each["evidence"] for each in report["findings"] if each["rule"] == rule)


@pytest.fixture(scope="module")
def as_superuser(server: EmbeddedPostgres) -> dict[str, str]:
    """--postgres and its password."""
    conninfo = f"host={server.host} port={server.port} user=postgres dbname=postgres"
    return {"PGMUX_POSTGRES": conninfo, "PGPASSWORD": server.password}


@pytest.fixture(scope="module")
def report(
    server: EmbeddedPostgres, pooler: PoolerProcess, as_superuser: dict[str, str]
) -> dict[str, Any]:
    """As a superuser sees it, while an application has nine connections past the pooler."""
    dsn = f"host={server.host} port={server.port} dbname=shop user=app application_name=backup"
    with ExitStack() as stack:
        for _ in range(9):
            stack.enter_context(psycopg.connect(dsn, password=SECRET))
        return json_of(pooler.directory / "pgbouncer.ini", **as_superuser)


def test_the_sum_of_all_pools_is_shown_with_who_goes_past_the_pooler(
    report: dict[str, Any],
) -> None:
    lines = evidence_of(report, "SIZE001").splitlines()
    assert "      60  max_connections" in lines
    assert "−      3  reserved for superusers" in lines
    assert any(line.endswith(" 9  backup as app") for line in lines)
    assert any(line.endswith(" 25  shop of app: 25") for line in lines)
    assert any(line.endswith(" 25  admin of postgres: 25") for line in lines)


def test_auth_file_is_held_against_the_roles(report: dict[str, Any]) -> None:
    assert evidence_of(report, "ROLE001") == "no role: gone"
    assert evidence_of(report, "ROLE002") == "differs: report"
    assert "pools of postgres" in evidence_of(report, "EXPO005")


def test_the_lookup_function_is_judged(report: dict[str, Any]) -> None:
    found = evidence_of(report, "ROLE005")
    for text in ("without a search_path", "PUBLIC may run it", "VALID UNTIL", "superusers'"):
        assert text in found


def test_a_pgbouncer_with_holes_is_named(report: dict[str, Any]) -> None:
    version = report["asked"][0]
    is_old = version.startswith("PgBouncer") and not version.startswith("PgBouncer 1.25.2")
    assert ("CVE-2026-6664" in evidence_of(report, "EXPO007")) is is_old


def test_as_the_pooler_logs_in_it_judges_what_it_can_and_names_the_rights_for_the_rest(
    pooler: PoolerProcess,
) -> None:
    path = pooler.directory / "pgbouncer.ini"
    before = path.read_text()
    path.write_text(before.replace("default_pool_size = 25", "default_pool_size = 30"))
    try:
        report = json_of(path)
    finally:
        path.write_text(before)
    advice = "\n".join(each["advice"] for each in report["unread"])
    assert 'GRANT pg_read_all_stats TO "auther"' in advice
    assert "GRANT SELECT (rolname, rolpassword) ON pg_catalog.pg_authid" in advice
    assert evidence_of(report, "ROLE005")
    # what wasn't reloaded
    assert evidence_of(report, "POOL005") == "default_pool_size: runs with 25, the file says 30"


def test_no_secret_is_printed(
    pooler: PoolerProcess, as_superuser: dict[str, str], report: dict[str, Any]
) -> None:
    done = check(pooler.directory / "pgbouncer.ini", **as_superuser)
    assert done.returncode == 3
    for secret in (SECRET, "another password", "SCRAM-SHA-256$"):
        assert secret not in done.stdout + done.stderr + json.dumps(report)


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(databases: str) -> Path:
        path = tmp_path / "pgbouncer.ini"
        userlist = tmp_path / "userlist.txt"
        userlist.write_text(f'"auther" "{SECRET}"\n')
        userlist.chmod(0o600)
        path.write_text(
            f"[databases]\n{databases}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port ="
            f" {find_free_port()}\nauth_file = {userlist}\nauth_user = auther\n"
            f"unix_socket_dir =\n"
        )
        return path

    return write


def test_servers_are_asked_each_on_its_own_and_one_that_is_off_is_named(
    server: EmbeddedPostgres, write: Write
) -> None:
    closed = find_free_port()
    path = write(f"shop = host=127.0.0.1 port={server.port}\nold = host=127.0.0.1 port={closed}\n")
    report = json_of(path)
    reasons = [each["reason"] for each in report["unread"] if each["part"] == "servers"]
    assert any(f"127.0.0.1:{closed}" in each and "refused" in each for each in reasons)
    assert {each["where"] for each in report["findings"] if each["rule"] == "PG001"} == {
        f"127.0.0.1:{server.port}"
    }
    assert ["POOL001", ["console"]] in [[e["rule"], e["lacking"]] for e in report["unchecked"]]


def test_a_server_by_two_names_is_one(server: EmbeddedPostgres, write: Write) -> None:
    path = write(
        f"shop = host=127.0.0.1 port={server.port}\n"
        f"same = host=localhost port={server.port} dbname=shop\n"
    )
    report = json_of(path)
    assert len([each for each in report["findings"] if each["rule"] == "PG001"]) == 1


def test_the_pooler_itself_is_no_postgresql(pooler: PoolerProcess) -> None:
    report = json_of(
        pooler.directory / "pgbouncer.ini",
        PGHOST=pooler.host,
        PGPORT=str(pooler.port),
        PGUSER="app",
        PGPASSWORD=SECRET,
        PGDATABASE="shop",
    )
    assert any("is the pooler: name" in each["reason"] for each in report["unread"])
    assert evidence_of(report, "PG001")


def test_without_a_postgresql_the_rest_is_judged(write: Write) -> None:
    done = check(write(f"shop = host=127.0.0.1 port={find_free_port()}"))
    assert done.returncode in (0, 1, 3)
    assert "Not looked at:" in done.stdout
    assert "refused" in done.stdout
    assert "for want of" in done.stdout


def test_a_wrong_password_is_said(server: EmbeddedPostgres, write: Write) -> None:
    path = write(f"shop = host=127.0.0.1 port={server.port}")
    conninfo = f"host={server.host} port={server.port} user=app dbname=shop"
    report = json_of(path, PGMUX_POSTGRES=conninfo, PGPASSWORD="wrong-wrong")
    reasons = " ".join(each["reason"] for each in report["unread"])
    assert "password authentication failed" in reasons
    assert "wrong-wrong" not in json.dumps(report)


def test_a_password_on_the_command_line_is_refused(write: Write) -> None:
    done = check(write("shop = host=db"), "--postgres", f"host=db password={SECRET}")
    assert done.returncode == 2
    assert "PGPASSWORD" in done.stderr


def test_a_reader_that_leaves_early_is_no_traceback(write: Write) -> None:
    path = write(f"shop = host=127.0.0.1 port={find_free_port()}")
    command = f"{sys.executable} -P -m pgmux check {path} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_a_configuration_that_isnt_there_is_no_good_news(tmp_path: Path) -> None:
    done = check(tmp_path / "none.ini", "--json")
    assert done.returncode == 2
    assert "No such file" in json.loads(done.stdout)["unread"][0]["reason"]


def test_a_running_pooler_is_judged_without_its_files(pooler: PoolerProcess) -> None:
    report = json_of(
        "/nonexistent/pgbouncer.ini",
        "--console",
        f"host={pooler.host} port={pooler.port} user=app",
        PGPASSWORD=SECRET,
    )
    assert f"at {pooler.host}:{pooler.port}" in report["asked"][0]
    assert "POOL001" in report["good"]
