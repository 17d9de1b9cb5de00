"""Loads that pgbench makes: its own SELECT, or a script; a run is a number of transactions.

Source: PostgreSQL's chapter "pgbench". Latencies are those of its log of each transaction, whose
third column is µs; writing it costs pgbench time, the same for all poolers.
Errors: `BenchError` where pgbench fails, or one transaction does.
"""

from __future__ import annotations

import os
import re
import subprocess
from array import array
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import BenchError
from bench.poolers import USER, Bed, Pooler, Setup
from bench.workload import Quantity, Sample, Workload, cpu_figures

CPU = Quantity("cpu_us")
_WARM_UP = 0.2  # seconds
_TRIAL = 20  # transactions per client, to learn how many fill a second
_TIMEOUT = 120.0
_MS = 1000  # µs

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
    threads: int = 1
    trial: int = _TRIAL
    quantities: tuple[Quantity, ...] = (CPU,)

    @property
    def needs_prepared(self) -> bool:
        return self.mode == "prepared"

    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        """The transactions per client of a run."""
        tps = self._pgbench(bed, pooler, self.trial).tps
        count = self._count(tps, min(_WARM_UP, seconds))
        return self._count(self._pgbench(bed, pooler, count).tps, seconds)

    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        before = pooler.cpu()
        done = self._pgbench(bed, pooler, round(size))
        figures = cpu_figures(before, pooler.cpu(), done.transactions) | {"tps": done.tps}
        if done.connect_ms is not None:
            return figures | {"connect_ms": done.connect_ms}
        return figures | done.latencies()

    def _count(self, tps: float, seconds: float) -> int:
        return max(1, round(tps * seconds / self.clients))

    def _pgbench(self, bed: Bed, pooler: Pooler, count: int) -> _Done:
        with TemporaryDirectory(dir=bed.scratch) as name:
            command = [str(bed.pgbench), "-n", "-M", self.mode, "-c", str(self.clients)]
            command += ["-j", str(self.threads), "-t", str(count), "-U", USER]
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
    sorted_us: array[int]

    def latencies(self) -> dict[str, float]:
        p50, p99 = self._percentile(50), self._percentile(99)
        return {"p50_ms": p50 / _MS, "p99_ms": p99 / _MS, "p99_to_p50": p99 / p50 if p50 else 0.0}

    def _percentile(self, percent: int) -> int:
        return self.sorted_us[(len(self.sorted_us) - 1) * percent // 100]


def _read_log(directory: Path) -> array[int]:
    """Each transaction's µs, ascending, of all threads' files."""
    latencies = [
        int(line.split(b" ", 3)[2])
        for path in directory.glob("log.*")
        for line in path.read_bytes().splitlines()
    ]
    return array("q", sorted(latencies))
