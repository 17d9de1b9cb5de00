"""What is measured: PgBouncer and pgmux's two forms, each a process in front of one PostgreSQL.

All get the same configuration: transaction mode, a pool of 20, trust, no lines for connections. The
database `tcp` is reached over loopback TCP, `unix` over PostgreSQL's Unix socket.

Errors: `BenchError`, for what can't be measured here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgmux import _pure
from pgmux.ops.pooler import PGMUX, PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port

DATABASE = "bench"
_PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(RuntimeError):
    """This can't be measured: what is missing, and what to do."""


@dataclass(frozen=True, slots=True)
class Form:
    """A program to measure: its name in the table, and its command line."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True, slots=True)
class Target:
    """A running pooler."""

    name: str
    process: PoolerProcess

    def host(self, transport: str) -> str:
        """Where clients connect to, for pgbench's -h."""
        return str(self.process.directory) if transport == "unix" else self.process.host

    def cpu(self) -> float:
        """Seconds of CPU, user and kernel, that all its threads have used."""
        # The clock that clock_getcpuclockid(3) names; /proc/PID/stat counts in steps of 10 ms.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE


def find_pgbouncer(path: str | None) -> Form | None:
    """PgBouncer at `path`, or on PATH, or None. Raises: BenchError where `path` isn't a program."""
    found = shutil.which(path or "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        if path is not None:
            raise BenchError(f"--pgbouncer {path}: there is no such program")
        return None
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    return Form(answer.stdout.splitlines()[0], (found,))


def pgmux_forms(wanted: Sequence[str]) -> list[Form]:
    """pgmux in the forms asked for, by default the compiled one. Raises: BenchError."""
    built = _pure.form()
    if built != "compiled" and (not wanted or "compiled" in wanted):
        if wanted:
            raise BenchError(f"the modules are {built}: `make .venv/built` compiles them")
        wanted = ("pure",)
    return [
        # env ends in exec, so the pid stays the pooler's.
        Form(f"pgmux {form}", ("env", f"PGMUX_PURE={int(form == 'pure')}", *PGMUX))
        for form in wanted or ("compiled",)
    ]


@contextmanager
def running(forms: Sequence[Form], max_clients: int) -> Iterator[tuple[Path, list[Target]]]:
    """pgbench's path, and all of `forms` running in front of one PostgreSQL."""
    if not sys.platform.startswith("linux"):
        raise BenchError("another process's CPU time and memory are read as Linux has them")
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(auth_method="trust", max_connections=200))
        pgbench = postgres.tool("pgbench")
        postgres.psql(f"CREATE DATABASE {DATABASE}")
        initialize = [str(pgbench), "-i", "-q", "-I", "dtGp", postgres.dsn(DATABASE)]
        subprocess.run(initialize, check=True, capture_output=True)
        yield (
            pgbench,
            [
                Target(form.name, stack.enter_context(_pooler(form, postgres, max_clients)))
                for form in forms
            ],
        )


def _pooler(form: Form, postgres: EmbeddedPostgres, max_clients: int) -> PoolerProcess:
    hosts = {"tcp": postgres.host, "unix": postgres.socket_dir}
    return PoolerProcess(
        port=find_free_port(),
        databases={
            name: f"host={host} port={postgres.port} dbname={DATABASE}"
            for name, host in hosts.items()
        },
        users={postgres.superuser: postgres.password},
        settings={
            "auth_type": "trust",
            "pool_mode": "transaction",
            "default_pool_size": 20,
            "max_client_conn": max_clients,
            "log_connections": 0,
            "log_disconnections": 0,
        },
        command=form.command,
    )
