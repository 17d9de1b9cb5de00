"""Starting and ending a pooler by its command line, with PgBouncer in pgmux's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psycopg
import pytest

from pgmux.ops.pooler import PoolerProcess, PoolerProcessError, end, is_listening
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.tools import require_tool


def pgbouncer(postgres: EmbeddedPostgres, **settings: object) -> PoolerProcess:
    return PoolerProcess(
        port=find_free_port(),
        databases={"postgres": f"host={postgres.host} port={postgres.port}"},
        users={postgres.superuser: postgres.password, 'quo"te': "x"},
        settings={"auth_type": "scram-sha-256", **settings},
        command=(str(require_tool("pgbouncer")),),
    )


def test_it_serves_until_it_is_closed_and_leaves_no_file(postgres: EmbeddedPostgres) -> None:
    with pgbouncer(postgres) as pooler:
        directory, pid = pooler.directory, pooler.pid
        uri = f"postgresql://postgres:postgres@{pooler.host}:{pooler.port}/postgres"
        with psycopg.connect(uri) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert "login attempt" in pooler.log()
    assert not directory.exists()
    assert not is_listening(pooler.host, pooler.port)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_configuration_can_be_written_anew_and_reloaded(postgres: EmbeddedPostgres) -> None:
    with pgbouncer(postgres, admin_users="postgres") as pooler:
        pooler.settings["default_pool_size"] = 7
        pooler.write_configuration()
        uri = f"postgresql://postgres:postgres@{pooler.host}:{pooler.port}/pgbouncer"
        with psycopg.connect(uri, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            console.execute("RELOAD")
            settings = {row[0]: row[1] for row in console.execute("SHOW CONFIG").fetchall()}
        assert settings["default_pool_size"] == "7"


def test_a_pooler_that_does_not_start_shows_its_own_words(postgres: EmbeddedPostgres) -> None:
    pooler = pgbouncer(postgres, pool_mode="wrong")
    with pytest.raises(PoolerProcessError, match='invalid value "wrong"'), pooler:
        pass
    with pytest.raises(PoolerProcessError, match="has not been started"):
        _ = pooler.directory


def test_a_pooler_that_ignores_signals_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgmux.ops.pooler.STOP_TIMEOUT", 0.1)
    deaf = (
        "import signal\n"
        "for s in (signal.SIGINT, signal.SIGQUIT): signal.signal(s, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\nsignal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end(process)
        assert process.returncode == -signal.SIGKILL
