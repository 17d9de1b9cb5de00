"""`pgmux check` as a program, of a directory of files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.operator import run_pgmux

SECRET = "hush-hush"
COMPOSE = f"""services:
  postgres:
    image: postgres:16
    ports: ["5432:5432"]
    environment: {{POSTGRES_PASSWORD: {SECRET}}}
  pgbouncer:
    image: edoburu/pgbouncer:1.21.0
    volumes: ["./bouncer:/etc/pgbouncer"]
    ports: ["6432:6432"]
"""
INI = """[databases]
db = host=localhost port=5432
[pgbouncer]
listen_addr = *
listen_port = 6432
auth_file = /etc/pgbouncer/userlist.txt
admin_users = postgres
pool_mode = transaction
unix_socket_dir =
"""


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """A deployment with most of what one can do wrong."""
    (tmp_path / "bouncer").mkdir()
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / ".env").write_text(f"DB_PREPARE_THRESHOLD=0\nDB_PASSWORD={SECRET}\n")
    (tmp_path / "bouncer/userlist.txt").write_text(f'"app" "{SECRET}"\n"postgres" ""\n')
    path = tmp_path / "bouncer/pgbouncer.ini"
    path.write_text(INI)
    return path


def test_what_files_show_is_found_where_nothing_can_be_reached(ini: Path) -> None:
    ran = run_pgmux("check", str(ini), "--console", "host=127.0.0.1 port=1", "--json", "-w")
    assert ran.returncode == 3, ran.stderr
    report = json.loads(ran.stdout)
    found = {each["rule"]: each for each in report["findings"]}
    assert {"EXPO001", "EXPO004", "EXPO010", "DEPL004", "PREP001"} <= found.keys()
    assert found["PREP001"]["where"].endswith(".env:1")
    assert found["EXPO004"]["where"] == "/etc/pgbouncer/userlist.txt"
    assert SECRET not in ran.stdout + ran.stderr


def test_files_that_cant_be_used_are_said_and_the_rest_is_judged(ini: Path) -> None:
    junk = ini.parent / "junk.yaml"
    junk.write_bytes(bytes(range(256)))
    files = ("--compose", str(junk), "--env-file", str(ini.parent))
    ran = run_pgmux("check", str(ini), *files, "--console", "port=1", "-w")
    assert ran.returncode in (1, 3), ran.stderr
    said = " ".join(ran.stdout.split())
    assert "not a text: it has NUL bytes" in said
    assert "Is a directory" in said
    assert "Traceback" not in ran.stderr
