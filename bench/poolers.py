"""What is measured: PgBouncer and pgmux's two forms, each a process in front of one PostgreSQL.

All get the same configuration: transaction mode, a pool of 20, trust, no lines for connections. The
databases `tcp` and `tls` are reached over loopback TCP, `unix` over PostgreSQL's Unix socket. For
TLS all have one certificate, and their own choice of protocol and cipher.

Errors: `BenchError`, for what can't be measured here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

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
def running(
    forms: Sequence[Form], max_clients: int, *, with_tls: bool
) -> Iterator[tuple[Path, list[Target]]]:
    """pgbench's path, and all of `forms` running in front of one PostgreSQL."""
    if not sys.platform.startswith("linux"):
        raise BenchError("another process's CPU time and memory are read as Linux has them")
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(auth_method="trust", max_connections=200))
        pgbench = postgres.tool("pgbench")
        postgres.psql(f"CREATE DATABASE {DATABASE}")
        initialize = [str(pgbench), "-i", "-q", "-I", "dtGp", postgres.dsn(DATABASE)]
        subprocess.run(initialize, check=True, capture_output=True)
        settings: dict[str, object] = {"max_client_conn": max_clients}
        if with_tls:
            settings |= stack.enter_context(_client_tls())
        poolers = [_pooler(form, postgres, settings) for form in forms]
        yield (
            pgbench,
            [
                Target(form.name, stack.enter_context(pooler))
                for form, pooler in zip(forms, poolers, strict=True)
            ],
        )


@contextmanager
def _client_tls() -> Iterator[dict[str, object]]:
    """The settings for clients that may have TLS. Raises: BenchError."""
    try:
        import trustme
    except ModuleNotFoundError:
        raise BenchError("trustme makes the certificate: `pip install -e .[test]`") from None
    certificate = trustme.CA().issue_cert("localhost")
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # the poolers may run as another user
        cert_file, key_file = directory / "server.crt", directory / "server.key"
        cert_file.write_bytes(certificate.cert_chain_pems[0].bytes())
        key_file.write_bytes(certificate.private_key_pem.bytes())
        yield {
            "client_tls_sslmode": "allow",
            "client_tls_cert_file": cert_file,
            "client_tls_key_file": key_file,
        }


def _pooler(
    form: Form, postgres: EmbeddedPostgres, settings: Mapping[str, object]
) -> PoolerProcess:
    hosts = {"tcp": postgres.host, "tls": postgres.host, "unix": postgres.socket_dir}
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
            "log_connections": 0,
            "log_disconnections": 0,
            **settings,
        },
        command=form.command,
    )
