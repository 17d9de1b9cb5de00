"""Sound deployments: what files show of them gives no alarm, or just the one that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgmux.ops.check.collected import Collected
from pgmux.ops.check.gather import environment, local, machine
from pgmux.ops.check.judge import Report, judge
from pgmux.ops.check.rules import RULES

COMPOSE = Path(__file__).parents[4] / "deploy/docker/compose"
SCRAM = "SCRAM-SHA-256$4096:c2FsdA==$" + "A" * 43 + "=:" + "A" * 43 + "="
# Of the examples, what they take over from those deployments as it was there.
EXPECTED = {
    "django-crm": {"EXPO008"},  # postgres for all
    "mt5-trading": set(),
    "profcomff": {"EXPO001", "EXPO002", "EXPO009", "EXPO010"},  # its files unchanged, 6432 open
    "timescale-airflow": {"EXPO008"},  # okx_admin for all
    "timescale-stack": set(),
}
CLOSED = """[databases]
shop = host=10.0.0.7 port=5432 dbname=shop user=shop
reports = host=10.0.0.7 dbname=shop user=reports pool_mode=session pool_size=5
[pgbouncer]
listen_addr = 127.0.0.1, 10.0.0.5
listen_port = 6432
auth_type = scram-sha-256
auth_file = {directory}/userlist.txt
admin_users = ops
stats_users = monitor
pool_mode = transaction
default_pool_size = 20
reserve_pool_size = 5
max_db_connections = 40
max_client_conn = 500
client_idle_timeout = 3600
"""
APPLICATION = """# everything as it should be
DATABASE_URL=postgresql+asyncpg://shop:${PASSWORD}@10.0.0.5:6432/shop
DATABASE_DIRECT_URL=postgresql://shop:${PASSWORD}@10.0.0.7:5432/shop
BACKUP_URL=postgresql://shop@10.0.0.7:5432/shop
LISTEN_URL=postgresql://shop@10.0.0.5:6432/reports?options=-c%20search_path%3Da
DB_POOL_SIZE=5
DB_MAX_OVERFLOW=10
DB_POOL_RECYCLE=1800
DB_PREPARE_THRESHOLD=5
WEB_CONCURRENCY=4
PGPASSFILE=/run/secrets/pgpass
"""


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables of whoever runs the tests, no sockets and no firewall of this machine."""
    monkeypatch.setattr(environment.os, "environ", {})
    monkeypatch.setattr(machine, "_listeners", lambda: ())
    monkeypatch.setattr(machine, "_firewall", lambda ports: None)


def check(ini: Path) -> Report:
    collected = Collected(str(ini))
    for part, found, besides in local.gather(str(ini)):
        collected.keep(part, found, besides)
    return judge(collected.evidence(), RULES)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_examples_for_compose_have_no_other_faults_than_are_meant(name: str) -> None:
    mounted = COMPOSE / name / "bouncer/pgbouncer.ini"
    report = check(mounted if mounted.exists() else COMPOSE / name / "pgbouncer.ini")
    found = {each.rule for each in report.findings}
    assert found - {"EXPO003"} == EXPECTED[name]  # what git has depends on the checkout
    lacking = {part for _, parts in report.unchecked for part in parts}
    assert lacking <= {"console", "servers"}


def test_a_closed_deployment_with_its_application_gives_no_alarm(tmp_path: Path) -> None:
    ini = tmp_path / "pgbouncer.ini"
    ini.write_text(CLOSED.format(directory=tmp_path))
    (tmp_path / "userlist.txt").write_text(
        "".join(f'"{name}" "{SCRAM}"\n' for name in ("shop", "reports", "ops", "monitor"))
    )
    (tmp_path / "userlist.txt").chmod(0o600)
    (tmp_path / ".env").write_text(APPLICATION)
    report = check(ini)
    assert [(each.rule, each.evidence) for each in report.findings] == []
    assert report.unread == ()
