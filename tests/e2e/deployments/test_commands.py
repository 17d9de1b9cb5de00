"""docs/deployments.md: its commands do at a real PostgreSQL what was handwork before."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pgmux.config import parse_userlist
from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.deployments.conftest import Deploy, Deployment
from tests.fixtures.documents import ROOT, replace
from tests.fixtures.operator import without_libpq
from tests.fixtures.waiting import wait_until

TEXT = (ROOT / "docs/deployments.md").read_text(encoding="utf-8")
_COMMANDS = re.compile(r"(?<!-->\n)^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands_of(section: str) -> list[str]:
    """The lines of a section's commands; the files' blocks aren't among them."""
    (text,) = [part for part in TEXT.split("\n## ") if part.startswith(section)]
    return [line for block in _COMMANDS.findall(text) for line in block.splitlines()]


def run(command: str, pooler: Deployment) -> str:
    """One of them, at this pooler and its PostgreSQL; what it prints. It has to succeed."""
    server = pooler.server
    ini = str(pooler.directory / "pgbouncer.ini")
    places = {
        "docker compose kill -s HUP pgbouncer": f"kill -HUP {pooler.pid}",
        "bouncer/pgbouncer.ini": ini,
        "pgbouncer.ini": ini,
        "--host 127.0.0.1 --port 5432": f"--host {server.host} --port {server.port}",
        "host=127.0.0.1 port=5432": f"host={server.host} port={server.port}",
        "db.example.com:6432": f"{pooler.host}:{pooler.port}",
        "6432": str(pooler.port),
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = without_libpq(PATH=path, PGPASSWORD=server.password, PGUSER="postgres")
    done = subprocess.run(
        ["sh", "-c", replace(command, places)],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), f"{command}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def secrets_of(pooler: Deployment) -> dict[str, str]:
    file = pooler.directory / "userlist.txt"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    users, problems = parse_userlist(file.read_text(), str(file))
    assert not problems
    return users


def who(dsn: str) -> str:
    with closing(psycopg.connect(dsn, autocommit=True)) as client:
        row = client.execute("SELECT current_user").fetchone()
        return str(row[0]) if row else ""


@pytest.fixture
def roles(server: EmbeddedPostgres) -> Iterator[None]:
    """Those of the services."""
    for role in ("reports", "dashboard"):
        server.psql(f"CREATE ROLE {role} LOGIN PASSWORD 'own'")
    yield
    for role in ("reports", "dashboard"):
        server.psql(f"DROP ROLE {role}")


@pytest.mark.usefixtures("roles")
def test_the_backend_team_adds_a_user_and_a_database(deploy: Deploy) -> None:
    pooler = deploy("profcomff", admin="password123", user="password")
    del pooler.users["postgres"]  # whom the page's file doesn't have
    pooler.write_configuration()
    os.kill(pooler.pid, signal.SIGHUP)
    wait_until(lambda: not shown(pooler, "SHOW USERS"))
    for command in commands_of("A backend team"):
        run(command, pooler)
        if "HUP" in command:
            wait_until(lambda: "postgres" in {row["name"] for row in shown(pooler, "SHOW USERS")})
    secrets = secrets_of(pooler)
    assert {"admin", "user", "postgres", "reports"} == secrets.keys()
    verifiers = {user for user, secret in secrets.items() if secret.startswith("SCRAM-SHA-256$")}
    assert verifiers == {"postgres", "reports"}
    assert who(pooler.dsn("db", "reports", "own")) == "reports"
    assert who(pooler.dsn("crm", "reports", "own")) == "reports"
    assert who(pooler.dsn("db", "admin", "password123")) == "admin"


def shown(pooler: Deployment, what: str) -> list[dict[str, object]]:
    dsn = pooler.dsn("pgbouncer", "postgres", pooler.server.password)
    try:
        with closing(psycopg.connect(dsn, autocommit=True)) as console:
            cursor = console.execute(what.encode())
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except psycopg.OperationalError:
        return []


def test_the_crm_s_outage_is_seen_before_it_is_one(deploy: Deploy) -> None:
    pooler = deploy("django-crm", postgres="")
    plan, userlist = commands_of("A CRM on Django")
    with closing(
        psycopg.connect(pooler.server.dsn("crm_db"), application_name="daphne", autocommit=True)
    ):
        assert "daphne" in run(plan, pooler)
    run(userlist, pooler)
    assert secrets_of(pooler)["postgres"].startswith("SCRAM-SHA-256$")


def test_the_trading_system_takes_its_verifier_from_postgresql(deploy: Deploy) -> None:
    pooler = deploy("mt5-trading", trader="old")
    run(commands_of("A trading system")[0], pooler)
    assert secrets_of(pooler)["trader"].startswith("md5")  # as PostgreSQL has it
    os.kill(pooler.pid, signal.SIGHUP)
    wait_until(lambda: "trader" in try_to_be("trader", pooler))


def try_to_be(user: str, pooler: Deployment) -> str:
    try:
        return who(pooler.dsn("mt5_trading", user, "secret"))
    except psycopg.OperationalError as error:
        return "refused: " + str(error).partition("FATAL")[2].replace(user, "…")


@pytest.mark.usefixtures("roles")
def test_the_stack_has_its_role_and_function_by_one_command(
    deploy: Deploy, server: EmbeddedPostgres
) -> None:
    pooler = deploy("timescale-stack")
    setup, plan = commands_of("Nine services")
    run(setup, pooler)
    try:
        secrets = secrets_of(pooler)
        assert "pgbouncer_auth" in secrets
        assert not secrets["pgbouncer_auth"].startswith("SCRAM-SHA-256$")
        os.kill(pooler.pid, signal.SIGHUP)
        dsn = pooler.dsn("tracksolid_db", "dashboard", "own")
        wait_until(lambda: gets_in(dsn))
        with closing(psycopg.connect(server.dsn("tracksolid_db"), application_name="webhook")):
            assert "webhook" in run(plan, pooler)
    finally:
        run(f"{setup} --undo", pooler)
    assert "0" in server.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'pgbouncer_auth'")


def gets_in(dsn: str) -> bool:
    try:
        return who(dsn) == "dashboard"
    except psycopg.OperationalError:
        return False


def test_the_trading_platform_s_pooler_is_looked_at_from_outside(deploy: Deploy) -> None:
    pooler = deploy("timescale-airflow", okx_admin="secret")
    outside, userlist = commands_of("A trading platform")
    assert "SCRAM" in run(outside, pooler).upper()
    run(userlist, pooler)
    assert who(pooler.dsn("okx_hft", "okx_admin", "secret")) == "okx_admin"
