"""Loads that pgbench makes: its own SELECT, or a script; a run is a number of transactions.

Source: PostgreSQL's chapter "pgbench". Latencies are those of its log of each transaction, whose
third column is µs; writing it costs pgbench time, the same for all poolers. What pgbench's clients
cost before their second transaction (connecting, preparing) is measured beside and subtracted.
Errors: `BenchError` where pgbench fails, or one transaction does.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import BenchError
from bench.poolers import USER, Bed, Pooler, Setup
from bench.workload import CPU, USEC, Quantity, Sample, Workload, cpu_figures, latency_figures

_WARM_UP = 0.2  # seconds
_TRIAL = 20  # transactions per client, to learn how many fill a second
_TIMEOUT = 120.0

_PROCESSED = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: ([1-9]\d*)", re.MULTILINE)
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_CONNECT = re.compile(r"^average connection time = ([\d.]+) ms", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PgbenchLoad(Workload):
    """`clients` of pgbench; with `connect`, a connection for each transaction.

    The pooler's database is `database`, by default the one of the same transport. `script` is in
    pgbench's language; without one it is `pgbench -S`.
    """

    name: str
    transport: str  # tcp, unix
    mode: str  # -M
    clients: int
    connect: bool = False
    setup: Setup = Setup.TRUST
    database: str = ""
    script: str = ""
    quantities: tuple[Quantity, ...] = (CPU,)

    @property
    def needs_prepared(self) -> bool:
        return self.mode == "prepared"

    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        """The transactions per client of a run."""
        tps = self._pgbench(bed, pooler, _TRIAL).tps
        count = self._count(tps, min(_WARM_UP, seconds))
        return self._count(self._pgbench(bed, pooler, count).tps, seconds)

    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        start = pooler.cpu()
        if not self.connect:
            self._pgbench(bed, pooler, 1)
        before = pooler.cpu()
        done = self._pgbench(bed, pooler, round(size) + 1)
        used = pooler.cpu() - before
        if self.connect:
            return cpu_figures(used, done.transactions) | done.figures()
        figures = cpu_figures(used - (before - start), done.transactions - self.clients)
        return figures | done.figures()

    def _count(self, tps: float, seconds: float) -> int:
        return max(1, round(tps * seconds / self.clients))

    def _pgbench(self, bed: Bed, pooler: Pooler, count: int) -> _Done:
        with TemporaryDirectory(dir=bed.scratch) as name:
            command = [str(bed.pgbench), "-n", "-M", self.mode, "-c", str(self.clients)]
            command += ["-t", str(count), "-U", USER]
            command += ["-h", pooler.host(self.transport), "-p", str(pooler.process.port)]
            command += ["-C"] if self.connect else ["-l", f"--log-prefix={name}/log"]
            command += self._script(Path(name))
            done = subprocess.run(
                [*command, self.database or self.transport],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                env=os.environ | self._environment(bed),
            )
            processed, tps = _PROCESSED.search(done.stdout), _TPS.search(done.stdout)
            if done.returncode or not processed or not tps or _FAILED.search(done.stdout):
                raise BenchError(f"{self.name} on {pooler.name}: {done.stderr.strip()[:1000]}")
            connect = _CONNECT.search(done.stdout)
            return _Done(
                int(processed[1]),
                float(tps[1]),
                float(connect[1]) if connect else None,
                _read_log(Path(name)),
            )

    def _script(self, directory: Path) -> list[str]:
        if not self.script:
            return ["-S"]
        path = directory / "script.sql"
        path.write_text(self.script)
        return ["-f", str(path)]

    def _environment(self, bed: Bed) -> dict[str, str]:
        sslmode = "require" if self.setup is Setup.TLS else "disable"
        secret = {"PGPASSWORD": bed.password} if self.setup is Setup.SCRAM else {}
        return {"PGSSLMODE": sslmode} | secret


@dataclass(frozen=True, slots=True)
class _Done:
    """What pgbench said of a run."""

    transactions: int
    tps: float
    connect_ms: float | None
    latencies: Sequence[float]  # seconds, ascending

    def figures(self) -> dict[str, float]:
        """Of a sample; where each transaction connects there is no log of theirs."""
        if self.connect_ms is not None:
            return {"tps": self.tps, "connect_ms": self.connect_ms}
        return {"tps": self.tps, **latency_figures(self.latencies)}


def _read_log(directory: Path) -> list[float]:
    """How long each transaction took, of all threads' files."""
    return sorted(
        int(line.split(b" ", 3)[2]) / USEC
        for path in directory.glob("log.*")
        for line in path.read_bytes().splitlines()
    )
