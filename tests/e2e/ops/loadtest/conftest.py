"""`pgmux loadtest` as a user runs it, and the servers that it is run at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.operator import without_libpq
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.tools import require_pgbouncer

COMMAND = (sys.executable, "-m", "pgmux", "loadtest")
# Nobody knows how busy the machine is.
PATIENT = ("--max-mean=60000", "--max-p95=60000", "--max-p99=60000")

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(postgres: EmbeddedPostgres, **more: str) -> dict[str, str]:
    """libpq's variables of the run's PostgreSQL."""
    libpq = {
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGUSER": postgres.superuser,
        "PGPASSWORD": postgres.password,
        "PGDATABASE": "postgres",
    }
    return without_libpq(**libpq | more)


@pytest.fixture
def run(postgres: EmbeddedPostgres, tmp_path: Path) -> Run:
    """`run("--pooler", …, PGHOST=…)`: to its end, by libpq's variables of the run's PostgreSQL."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=environment(postgres, **env),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr
        assert postgres.password == "postgres" or postgres.password not in done.stdout
        return done

    return run


@pytest.fixture(scope="module")
def pgmux(module_pooler: MakePooler) -> Pooler:
    """Fewer servers than there are workers."""
    return module_pooler(settings={"default_pool_size": 4})


@pytest.fixture(scope="module")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    """Debian's, or another by PGMUX_PGBOUNCER."""
    with PoolerProcess(
        port=find_free_port(),
        databases={"*": f"host={postgres.host} port={postgres.port}"},
        users={postgres.superuser: postgres.password},
        settings={
            "auth_type": "trust",
            "pool_mode": "transaction",
            "default_pool_size": 4,
            "max_client_conn": 8,
        },
        command=(require_pgbouncer(),),
    ) as process:
        yield process


def at(pooler: PoolerProcess) -> str:
    return f"host={pooler.host} port={pooler.port}"


def results(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What --json has printed."""
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown
