"""docs/deployments.md: check finds in each deployment's files what the page lists, nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.deployments.conftest import Deployment
from tests.fixtures.documents import ROOT, write_files
from tests.fixtures.operator import without_libpq

PAGE = "docs/deployments.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
CHECKED = re.findall(r"^`pgmux check (\S+)`:\n\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
# What depends on where check runs: its file descriptors, firewall, versions.
OF_THE_MACHINE = {"SIZE004", "EXPO007", "PREP004"}


def listed_in(table: str) -> set[str]:
    """The rules in the first column."""
    return set(re.findall(r"^\| ([A-Z]+\d+) \|", table, re.MULTILINE))


def found(ini: Path, *options: str, **environ: str) -> set[str]:
    """The rules that have found something, by `pgmux check --json`."""
    command = (sys.executable, "-P", "-m", "pgmux", "check", "--json", "--no-password", str(ini))
    env = without_libpq(**environ)
    done = subprocess.run((*command, *options), env=env, capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout)
    return {finding["rule"] for finding in report["findings"]} - OF_THE_MACHINE


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that everybody may read, as /etc and /srv are."""
    with tempfile.TemporaryDirectory(prefix="pgmux-deployments-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(("ini", "table"), CHECKED, ids=[ini for ini, _ in CHECKED])
def test_check_finds_what_the_page_says(ini: str, table: str, readable: Path) -> None:
    write_files(PAGE, readable)
    place = readable / ini
    if not (readable / ini.split("/")[0] / "compose.yaml").exists():  # not in a container
        place.write_text(place.read_text().replace("/etc/pgbouncer", str(place.parent)))
    assert found(place) == listed_in(table)


def test_the_backend_team_s_findings_go_with_what_the_page_says(readable: Path) -> None:
    write_files(PAGE, readable)
    ini, userlist, compose = (
        readable / "profcomff" / name
        for name in ("bouncer/pgbouncer.ini", "bouncer/userlist.txt", "compose.yaml")
    )
    ini.write_text(
        ini.read_text().replace("localhost", "postgres").replace("= md5", "= scram-sha-256")
    )
    userlist.write_text('"postgres" "secret"\n' + userlist.read_text())
    userlist.chmod(0o600)
    grace = "    stop_signal: SIGINT\n    stop_grace_period: 60s\n"
    text = compose.read_text().replace(
        "      - 6432:6432\n", "      - 127.0.0.1:6432:6432\n" + grace
    )
    compose.write_text(text.replace('    ports:\n      - "5432:5432"\n', ""))
    compose.chmod(0o600)
    assert found(ini) == set()


UNSAFE_LOOKUP = """
    CREATE SCHEMA pgbouncer;
    CREATE FUNCTION pgbouncer.user_lookup(in_name text, OUT usename text, OUT passwd text)
    RETURNS record LANGUAGE sql SECURITY DEFINER AS
    $$ SELECT usename, passwd FROM pg_shadow WHERE usename = in_name $$;
    GRANT USAGE ON SCHEMA pgbouncer TO pgbouncer_auth;
"""


@pytest.fixture
def hundred() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of 100 connections with nine services' roles, and the first lookup function."""
    with EmbeddedPostgres(max_connections=100) as server:
        for database in ("tracksolid_db", "crm_db"):
            server.psql(f"CREATE DATABASE {database}")
        server.psql("CREATE ROLE pgbouncer_auth LOGIN PASSWORD 'hex'")
        for number in range(9):
            server.psql(f"CREATE ROLE service{number} LOGIN PASSWORD 'own'")
        server.psql(UNSAFE_LOOKUP, "tracksolid_db")
        yield server


def test_check_finds_more_where_nine_services_are_at_work(
    hundred: EmbeddedPostgres, tmp_path: Path
) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text("*:*:*:postgres:postgres\n*:*:*:pgbouncer_auth:hex\n")
    passwords.chmod(0o600)
    (table,) = re.findall(r"at work, besides:\n\n((?:\|.*\n)+)", TEXT)
    of_files = listed_in(dict(CHECKED)["timescale-stack/pgbouncer.ini"])
    with Deployment(hundred, "timescale-stack", {"pgbouncer_auth": "hex"}) as pooler:
        ini = pooler.directory / "pgbouncer.ini"
        options = (
            f"--postgres=host={hundred.host} port={hundred.port} user=postgres",
            f"--console=host={pooler.host} port={pooler.port} user=pgbouncer_auth",
        )
        with ExitStack() as stack:
            for number in range(9):
                dsn = pooler.dsn("tracksolid_db", f"service{number}", "own")
                stack.enter_context(closing(psycopg.connect(dsn))).execute("SELECT 1")
            direct = psycopg.connect(hundred.dsn(), application_name="webhook_receiver")
            stack.enter_context(closing(direct))
            everything = found(ini, *options, PGPASSFILE=str(passwords))
            assert everything - of_files == listed_in(table)


def test_there_are_five() -> None:
    assert len(CHECKED) == 5
