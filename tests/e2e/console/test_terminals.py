"""psql and pgcli at the console: what they ask unasked may fail, the session goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

PGCLI = Path(sys.executable).with_name("pgcli")
TIMEOUT = 20  # seconds


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(databases={"db": "dbname=postgres"})


def psql(
    postgres: EmbeddedPostgres, pooler: Pooler, script: str = "", *options: str
) -> subprocess.CompletedProcess[str]:
    command = [str(postgres.tool("psql")), "-X", *options, pooler.dsn("pgbouncer")]
    return subprocess.run(command, input=script, capture_output=True, text=True, timeout=TIMEOUT)


def test_psql_shows(postgres: EmbeddedPostgres, shared: Pooler) -> None:
    done = psql(postgres, shared, "", "-At", "-c", "SHOW VERSION", "-c", "SHOW STATE")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "PgBouncer 1.25.2"
    assert "active|yes" in done.stdout


def test_psql_goes_on_after_what_only_postgresql_knows(
    postgres: EmbeddedPostgres, shared: Pooler
) -> None:
    script = r"""
        \d
        \dt
        \l
        \du
        SHOW HELP;
        \conninfo
        SHOW STATE \gx
        SHOW LISTS \bind \g
        """
    done = psql(postgres, shared, script)
    assert done.returncode == 0
    assert done.stderr.count("ERROR:  invalid command 'SELECT") == 4
    assert "NOTICE:  Console usage" in done.stderr
    assert 'database "pgbouncer"' in done.stdout  # \\conninfo
    assert "-[ RECORD 1 ]" in done.stdout
    assert "used_clients" in done.stdout


def test_psql_in_a_transaction_stops_at_an_error(
    postgres: EmbeddedPostgres, shared: Pooler
) -> None:
    options = ("-1", "-v", "ON_ERROR_STOP=1", "-f", "-")
    assert psql(postgres, shared, "SHOW STATE;", *options).returncode == 0
    failed = psql(postgres, shared, "SHOW NOTHING; SHOW STATE;", *options)
    assert failed.returncode == 3 and "active" not in failed.stdout


def test_ctrl_c_in_psql_takes_a_pause_back(postgres: EmbeddedPostgres, shared: Pooler) -> None:
    busy = pexpect.spawn(str(postgres.tool("psql")), ["-X", shared.dsn("db")], timeout=TIMEOUT)
    busy.sendline("BEGIN; SELECT 'in' || ' transaction';")
    busy.expect("in transaction")
    console = pexpect.spawn(
        str(postgres.tool("psql")), ["-X", shared.dsn("pgbouncer")], timeout=TIMEOUT
    )
    console.expect("=[#>]")
    console.sendline("PAUSE;")
    wait_until(lambda: shared.console("SHOW STATE")[1]["value"] == "yes")
    console.sendintr()
    console.expect("canceling statement due to user request")
    console.sendline("SHOW VERSION;")
    console.expect("PgBouncer 1.25.2")
    assert shared.console("SHOW STATE")[1] == {"key": "paused", "value": "no"}
    for terminal in (console, busy):
        terminal.close(force=True)


@pytest.fixture
def pgcli(shared: Pooler, tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    environment |= {"TERM": "xterm", "PAGER": "cat"}
    terminal = pexpect.spawn(
        str(PGCLI),
        ["--less-chatty", shared.dsn("pgbouncer")],
        dimensions=(60, 400),
        timeout=TIMEOUT,
        encoding="utf-8",
        env=environment,
    )
    yield terminal
    terminal.close(force=True)


def test_pgcli_shows_and_goes_on_after_its_own_queries_have_failed(
    pgcli: pexpect.spawn[str], shared: Pooler
) -> None:
    pgcli.expect("pgbouncer>")
    pgcli.send("SHOW VERSION;\r")
    pgcli.expect("PgBouncer 1.25.2")
    pgcli.send("\\l\r")
    pgcli.expect("invalid command")
    pgcli.send("SHOW STATE;\r")
    pgcli.expect("suspended")
    pgcli.send("\\q\r")
    pgcli.expect(pexpect.EOF)
    assert "internal error" not in shared.log()
