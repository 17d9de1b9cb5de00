"""A pooler of either kind, and the commands that change its files, run as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.operator import without_libpq
from tests.fixtures.tools import command_of

SECRET = "top secret"
Done = subprocess.CompletedProcess[str]


class Deployed:
    """The running pooler, and `pgmux …` at its files."""

    def __init__(self, pooler: PoolerProcess, home: Path) -> None:
        self.pooler = pooler
        self._home = home

    @property
    def ini(self) -> Path:
        return self.pooler.directory / "pgbouncer.ini"

    @property
    def userlist(self) -> Path:
        return self.pooler.directory / "userlist.txt"

    def texts(self) -> tuple[str, str]:
        return self.ini.read_text(), self.userlist.read_text()

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "pgmux", *arguments, "--config", str(self.ini)],
            cwd=self._home,
            env=without_libpq(HOME=str(self._home), **environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # no terminal to ask at
        )

    def run(self, *arguments: str, stdin: str = "", **environ: str) -> Done:
        process = self.start(*arguments, **environ)
        out, err = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str, stdin: str = "", **environ: str) -> tuple[int, dict[str, Any]]:
        done = self.run(*arguments, "--json", stdin=stdin, **environ)
        return done.returncode, json.loads(done.stdout)

    def select(self, dbname: str, user: str, password: str) -> str:
        with psycopg.connect(
            host=self.pooler.host,
            port=self.pooler.port,
            dbname=dbname,
            user=user,
            password=password,
            prepare_threshold=None,
        ) as connection:
            row = connection.execute("SELECT current_user || '@' || current_database()").fetchone()
            assert row is not None
            return str(row[0])


Deploy = Callable[..., Deployed]


@pytest.fixture(params=["pgmux", "pgbouncer"])
def deployed(
    postgres: EmbeddedPostgres, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Deployed]:
    where = f"host={postgres.host} port={postgres.port}"
    pooler = PoolerProcess(
        port=find_free_port(),
        databases={"app": f"{where} dbname=postgres"},
        users={"admin": SECRET},
        settings={
            "auth_type": "scram-sha-256",
            "admin_users": "admin",
            "pool_mode": "transaction",
            "server_login_retry": 1,
        },
        command=command_of(request.param),
    )
    with pooler:
        yield Deployed(pooler, tmp_path)
