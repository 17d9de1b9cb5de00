"""What is measured of them: one cell is one kind of load, run on every pooler in turn.

A transaction's cost is the pooler's CPU time over a run of pgbench, divided by the transactions.
Runs of the poolers alternate, and a round's ratio is that of neighbours, so that what else the
machine does hits both. A run is a number of transactions, the same for all.

Errors: `BenchError` where pgbench fails, or one transaction does. Only the yardstick may fail at a
cell (PgBouncer before 1.21 has no prepared statements in transaction mode) and has no sample then.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path
from statistics import median

from bench.poolers import BenchError, Target

TRANSPORTS = ("tcp", "unix")
USER = "postgres"
USEC = 1e6
IDLE_BATCH = 200  # clients before the counted ones, and the descriptors left for everything else
_WARM_UP = 0.2  # seconds
_TRIAL = 20  # transactions per client, to learn how many fill a second
_TIMEOUT = 120.0
_SSL_REQUEST = struct.pack("!II", 8, 80877103)

_PROCESSED = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: ([1-9]\d*)", re.MULTILINE)
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cell:
    """One load: `transport` on both sides, TLS on the clients' alone; with `connect`, a connection
    for each transaction.
    """

    transport: str
    mode: str
    clients: int
    connect: bool = False

    @property
    def name(self) -> str:
        what = "connect" if self.connect else self.mode
        return f"{self.transport} {what} {self.clients}"


CELLS = (
    *starmap(Cell, product(TRANSPORTS, ("simple", "extended", "prepared"), (1, 16))),
    *(Cell(transport, "simple", 16, connect=True) for transport in TRANSPORTS),
)

TLS_CELLS = (
    *starmap(Cell, product(("tls",), ("simple", "extended", "prepared"), (1, 16))),
    Cell("tls", "simple", 16, connect=True),
)


@dataclass(frozen=True, slots=True)
class Result:
    """A cell's samples by pooler, one a round, in `unit`s; the first pooler is the yardstick.

    `failure` is what pgbench said where the yardstick can't do this.
    """

    cell: str
    unit: str
    samples: dict[str, list[float]]
    failure: str = ""

    def ratios(self, name: str) -> list[float]:
        """A pooler's cost to the yardstick's, round by round, ascending."""
        yardstick = next(iter(self.samples.values()))
        pairs = zip(self.samples[name], yardstick, strict=False)
        return sorted(own / other for own, other in pairs if other > 0)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        first = next(iter(self.samples))
        return {
            "cell": self.cell,
            "unit": self.unit,
            "samples": self.samples,
            "median": {name: median(values) for name, values in self.samples.items() if values},
            "failure": self.failure,
            "ratios": {name: self.ratios(name) for name in self.samples if name != first},
        }


def measure(
    cell: Cell,
    pgbench: Path,
    targets: Sequence[Target],
    *,
    rounds: int,
    seconds: float,
    on_run: Callable[[], None],
) -> Result:
    """µs of CPU per transaction; `seconds` is about how long each run takes."""
    samples: dict[str, list[float]] = {target.name: [] for target in targets}
    yardstick, *others = targets
    failure = ""
    try:
        tps = _warm_up(cell, pgbench, yardstick, seconds)
    except BenchError as error:
        if not others:
            raise
        targets, failure = others, str(error)
    for target in others:
        tps = _warm_up(cell, pgbench, target, seconds)
    count = max(1, round(tps * seconds / cell.clients))
    for _ in range(rounds):
        for target in targets:
            before = target.cpu()
            transactions, _ = _run(cell, pgbench, target, count)
            samples[target.name].append(USEC * (target.cpu() - before) / transactions)
            on_run()
    return Result(cell.name, "µs CPU/transaction", samples, failure)


def _warm_up(cell: Cell, pgbench: Path, target: Target, seconds: float) -> float:
    """Have the pooler connected and its code run; its transactions/s."""
    tps = _run(cell, pgbench, target, _TRIAL)[1]
    count = max(1, round(tps * min(_WARM_UP, seconds) / cell.clients))
    return _run(cell, pgbench, target, count)[1]


def _run(cell: Cell, pgbench: Path, target: Target, count: int) -> tuple[int, float]:
    """(transactions, transactions/s) of a run with `count` transactions per client."""
    command = [str(pgbench), "-n", "-S", "-M", cell.mode, "-c", str(cell.clients)]
    command += ["-C"] if cell.connect else []
    command += ["-h", target.host(cell.transport), "-p", str(target.process.port), "-U", USER]
    command += ["-t", str(count), cell.transport]
    sslmode = "require" if cell.transport == "tls" else "disable"
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        env=os.environ | {"PGSSLMODE": sslmode},
    )
    processed, tps = _PROCESSED.search(done.stdout), _TPS.search(done.stdout)
    if done.returncode or not processed or not tps or _FAILED.search(done.stdout):
        raise BenchError(f"{cell.name} on {target.name}: {done.stderr.strip()[:1000]}")
    return int(processed[1]), float(tps[1])


def measure_idle(target: Target, clients: int, *, with_tls: bool = False) -> float:
    """Resident bytes per client that has logged in over TCP, or TLS, and does nothing."""
    context = _unverified() if with_tls else None
    sockets: list[socket.socket] = []
    try:
        # The first ones fill what is allocated once, and leave that out of the difference.
        sockets += [_log_in(target, context) for _ in range(IDLE_BATCH)]
        before = target.memory()
        sockets += [_log_in(target, context) for _ in range(clients)]
        return max(0, target.memory() - before) / clients
    finally:
        for each in sockets:
            each.close()


def room_for_clients(clients: int) -> int:
    """How many of `clients` connections this process may open; raises its own limit for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + 2 * IDLE_BATCH
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    return max(1, needed - 2 * IDLE_BATCH)


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _log_in(target: Target, context: ssl.SSLContext | None) -> socket.socket:
    body = struct.pack("!I", 3 << 16) + f"user\0{USER}\0database\0tcp\0\0".encode()
    client = socket.create_connection((target.process.host, target.process.port), timeout=10)
    if context is not None:
        client.sendall(_SSL_REQUEST)
        client.recv(1)
        client = context.wrap_socket(client)
    client.sendall(struct.pack("!I", len(body) + 4) + body)
    answer = b""
    while not answer.endswith(b"Z\0\0\0\5I"):
        data = client.recv(65536)
        answer += data
        if not data:
            client.close()
            raise BenchError(f"an idle client was refused by {target.name}: {answer[-300:]!r}")
    return client
