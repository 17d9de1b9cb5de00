"""Poolers in front of one PostgreSQL, and what the kernel tells about their processes.

All get the same configuration: transaction mode, pools of 20, no lines for connections. The
database `tcp` is reached over loopback, `unix` over PostgreSQL's Unix socket, `small` is `tcp` with
a pool of 2. Clients need no password, or (`Setup.SCRAM`) one whose verifier is in auth_file, or may
have TLS, for which all poolers have one certificate and choose protocol and cipher.

Errors: `BenchError`, for what can't be measured here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import BenchError
from bench.programs import Program
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port

USER = "postgres"
MAX_CLIENTS = 15_000
_TICKS = os.sysconf("SC_CLK_TCK")


class Setup(Enum):
    """How clients are let in."""

    TRUST = "trust"
    SCRAM = "scram"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds that a process's threads have used; the parts are the kernel's estimate."""

    total: float
    user: float
    kernel: float

    def __sub__(self, other: Cpu) -> Cpu:
        """What was used in between, in no part less than nothing."""
        return Cpu(
            max(0.0, self.total - other.total),
            max(0.0, self.user - other.user),
            max(0.0, self.kernel - other.kernel),
        )


@dataclass(frozen=True, slots=True)
class Pooler:
    """A running one; `start_bytes` were resident when it had just started."""

    program: Program
    process: PoolerProcess
    start_bytes: int

    @property
    def name(self) -> str:
        return self.program.name

    def host(self, transport: str) -> str:
        """Where clients connect to, for pgbench's -h."""
        return str(self.process.directory) if transport == "unix" else self.process.host

    def cpu(self) -> Cpu:
        # The clock that clock_getcpuclockid(3) names; /proc/PID/stat counts in steps of 10 ms.
        total = time.clock_gettime((~self.process.pid << 3) | 2)
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return Cpu(total, int(fields[11]) / _TICKS, int(fields[12]) / _TICKS)

    def memory(self) -> int:
        """Resident bytes."""
        return _status_bytes(self.process.pid, "VmRSS")

    def peak_memory(self) -> int:
        """The most that was resident since its start, in bytes."""
        return _status_bytes(self.process.pid, "VmHWM")


class Bed:
    """A PostgreSQL with pgbench's tables, the programs, and what clients need; a context manager
    makes it: `made_for`.
    """

    def __init__(self, postgres: EmbeddedPostgres, programs: Sequence[Program], scratch: Path):
        self.postgres = postgres
        self.programs = programs
        self.scratch = scratch
        self.database = "bench"
        self.pgbench = postgres.tool("pgbench")
        self._verifier = postgres.psql(
            f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'"
        )
        self._tls: dict[str, object] = {}

    @contextmanager
    def running(self, program: Program, setup: Setup) -> Iterator[Pooler]:
        """The pooler, started for this."""
        with PoolerProcess(
            port=find_free_port(),
            databases=self._databases(),
            users={USER: self._verifier},
            settings=self._settings(setup),
            command=program.command,
        ) as process:
            yield Pooler(program, process, _status_bytes(process.pid, "VmRSS"))

    @property
    def password(self) -> str:
        return self.postgres.password

    def _databases(self) -> dict[str, str]:
        postgres = self.postgres
        where = f"port={postgres.port} dbname={self.database}"
        tcp, unix = f"host={postgres.host} {where}", f"host={postgres.socket_dir} {where}"
        return {"tcp": tcp, "unix": unix, "small": f"{tcp} pool_size=2"}

    def _settings(self, setup: Setup) -> dict[str, object]:
        if setup is Setup.TLS and not self._tls:
            self._tls = _make_certificate(self.scratch)
        return {
            "auth_type": "scram-sha-256" if setup is Setup.SCRAM else "trust",
            "pool_mode": "transaction",
            "default_pool_size": 20,
            "max_client_conn": MAX_CLIENTS,
            "log_connections": 0,
            "log_disconnections": 0,
            **(self._tls if setup is Setup.TLS else {}),
        }


@contextmanager
def made_for(programs: Sequence[Program]) -> Iterator[Bed]:
    """The bed of these programs. Raises: BenchError, PostgresError."""
    if not sys.platform.startswith("linux"):
        raise BenchError("another process's CPU time and memory are read as Linux has them")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        scratch.chmod(0o755)  # the poolers may run as another user
        postgres = stack.enter_context(EmbeddedPostgres(auth_method="trust", max_connections=200))
        bed = Bed(postgres, programs, scratch)
        postgres.psql(f"CREATE DATABASE {bed.database}")
        initialize = [str(bed.pgbench), "-i", "-q", "-I", "dtGp", postgres.dsn(bed.database)]
        subprocess.run(initialize, check=True, capture_output=True)
        yield bed


def _make_certificate(directory: Path) -> dict[str, object]:
    """The settings for clients that may have TLS. Raises: BenchError."""
    try:
        import trustme
    except ModuleNotFoundError:
        raise BenchError("trustme makes the certificate: `pip install -e .[test]`") from None
    certificate = trustme.CA().issue_cert("localhost")
    cert_file, key_file = directory / "server.crt", directory / "server.key"
    cert_file.write_bytes(certificate.cert_chain_pems[0].bytes())
    key_file.write_bytes(certificate.private_key_pem.bytes())
    return {
        "client_tls_sslmode": "allow",
        "client_tls_cert_file": cert_file,
        "client_tls_key_file": key_file,
    }


def _status_bytes(pid: int, name: str) -> int:
    """A line of /proc/PID/status that is in kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise BenchError(f"/proc/{pid}/status has no {name}: is the pooler gone?")
