"""A PostgreSQL, a pooler before it, and applications that connect to the one or the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.operator import without_libpq
from tests.fixtures.postgres import Role
from tests.fixtures.tools import command_of
from tests.fixtures.waiting import wait_until

TIMEOUT = 20.0  # seconds
COMMAND = (sys.executable, "-P", "-m", "pgmux", "cutover")


@dataclass
class Site:
    """A database and a role of its own, and the pooler before them.

    `move(name, to)` has an application's connections end and come again there.
    """

    postgres: EmbeddedPostgres
    pooler: PoolerProcess
    database: str
    role: Role
    environ: dict[str, str]
    directory: Path
    connections: dict[str, list[Connection[Any]]] = field(default_factory=dict)

    @property
    def server_conninfo(self) -> str:
        return f"host={self.postgres.host} port={self.postgres.port} user=postgres dbname=postgres"

    @property
    def console_conninfo(self) -> str:
        return f"host={self.pooler.host} port={self.pooler.port} user=postgres"

    @property
    def both(self) -> tuple[str, ...]:
        return ("--postgres", self.server_conninfo, "--console", self.console_conninfo)

    def connect(self, name: str, count: int = 1, *, through_pooler: bool = False) -> None:
        """Connections of that application, each of which has asked something once."""
        where = self.pooler if through_pooler else self.postgres
        user, password = self.role
        conninfo = make_conninfo(
            host=where.host,
            port=where.port,
            user=user,
            password=password,
            dbname="app" if through_pooler else self.database,
            application_name=name,
        )
        made = [psycopg.connect(conninfo, autocommit=True) for _ in range(count)]
        self.connections.setdefault(name, []).extend(made)
        for each in made:
            each.execute("SELECT 1")

    def leave(self, name: str) -> None:
        """The application's connections end, and PostgreSQL knows."""
        for each in self.connections.pop(name, []):
            each.close()

    def move(self, name: str) -> None:
        """From PostgreSQL to the pooler, as by a new host and port in its settings."""
        count = len(self.connections[name])
        self.leave(name)
        self.connect(name, count, through_pooler=True)

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The command to its end, without a terminal."""
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            start_new_session=True,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, beside the test."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def apps(self, content: dict[str, Any]) -> dict[str, tuple[int, int]]:
        """Of a sample: how many connections of each of our applications are direct, and pooled."""
        return {
            app["application"]: (app["direct"], app["pooled"])
            for app in content["apps"]
            if app["database"] == self.database
        }


def samples_in(path: Path) -> list[dict[str, Any]]:
    """Of a recording."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def start_pooler(
    postgres: EmbeddedPostgres, kind: str, database: str, role: Role, port: int = 0
) -> PoolerProcess:
    where = f"host={postgres.host} port={postgres.port} dbname={database}"
    return PoolerProcess(
        port=port or find_free_port(),
        databases={"app": where},
        users={"postgres": postgres.password, role[0]: role[1]},
        settings={
            "auth_type": "scram-sha-256",
            "admin_users": "postgres",
            "pool_mode": "transaction",
            "default_pool_size": 2,
            "server_login_retry": 1,
        },
        command=command_of(kind),
    )


@pytest.fixture(params=["pgmux", "pgbouncer"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(
    postgres: EmbeddedPostgres,
    kind: str,
    create_database: Callable[..., str],
    create_role: Callable[..., Role],
    tmp_path: Path,
) -> Iterator[Site]:
    environ = without_libpq(PGPASSWORD=postgres.password, TERM="xterm-256color")
    database, role = create_database(), create_role()
    with start_pooler(postgres, kind, database, role) as pooler:
        made = Site(postgres, pooler, database, role, environ, tmp_path)
        yield made
        for name in list(made.connections):
            made.leave(name)


@pytest.fixture
def running(site: Site) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`running("watch", …)`: the command, ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(site.start(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_sample(path: Path, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first sample of a recording that is so."""

    def find() -> dict[str, Any] | None:
        return next((sample for sample in samples_in(path) if is_it(sample)), None)

    found = wait_until(find, TIMEOUT)
    assert found is not None
    return found


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and output of a command that ends by itself."""
    out, err = process.communicate(timeout=TIMEOUT)
    return process.returncode, out, err
