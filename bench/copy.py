"""COPY out of PostgreSQL and into it, in binary rows of 1 kB: MB/s, and the pooler's CPU per GB.

PostgreSQL is spared what it can be, so that the pooler counts: the rows that go out are one
constant, those that come in are dropped by WHERE false.
"""

from __future__ import annotations

import struct
import time
from abc import abstractmethod
from dataclasses import dataclass

from bench import BenchError
from bench.client import Client
from bench.poolers import Bed, Pooler, Setup
from bench.workload import MEGA, Quantity, Sample, Workload, part_of
from pgmux.wire import build

WHOLE_MB = 500
_WARM_UP_MB = 10
_TABLE = "copied"
_ROW_LEN = 1024
_TEXT = b"x" * (_ROW_LEN - 6)
_ROW = struct.pack("!HI", 1, len(_TEXT)) + _TEXT
_ROWS_PER_MESSAGE = 8  # about what libpq sends at once
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_MESSAGES_PER_WRITE = 32
_COPY_IN_RESPONSE = b"G\0\0\0\x09\x01\0\x01\0\x01"


@dataclass(frozen=True, slots=True)
class CopyLoad(Workload):
    """One client."""

    name: str
    quantities: tuple[Quantity, ...]
    setup: Setup = Setup.TRUST

    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        """The MB of a run."""
        bed.postgres.psql(f"CREATE UNLOGGED TABLE IF NOT EXISTS {_TABLE} (x text)", bed.database)
        size = part_of(WHOLE_MB, seconds)
        self.run(bed, pooler, min(size, _WARM_UP_MB))
        return size

    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        rows = _whole_messages(round(size * MEGA / _ROW_LEN))
        copied = rows * _ROW_LEN
        with Client(pooler, self.setup) as client:
            cpu, start = pooler.cpu().total, time.perf_counter()
            end = self._copy(client, rows)
            seconds, cpu = time.perf_counter() - start, pooler.cpu().total - cpu
        if f"COPY {rows}\0".encode() not in end and b"COPY 0\0" not in end:
            raise BenchError(f"{self.name} on {pooler.name}: {end!r}")
        return {"mb_per_s": copied / MEGA / seconds, "cpu_ms_per_gb": 1e12 * cpu / copied}

    @abstractmethod
    def _copy(self, client: Client, rows: int) -> bytes:
        """Copies so many; the end of the answer."""


class CopyOut(CopyLoad):
    """To the client."""

    def _copy(self, client: Client, rows: int) -> bytes:
        row = f"SELECT repeat('x', {len(_TEXT)}) FROM generate_series(1, {rows})"
        client.send(build.build_query(f"COPY ({row}) TO STDOUT (FORMAT binary)"))
        return client.receive()


class CopyIn(CopyLoad):
    """From the client."""

    def _copy(self, client: Client, rows: int) -> bytes:
        into = f"COPY {_TABLE} FROM STDIN (FORMAT binary) WHERE false"
        client.send(build.build_query(into))
        client.receive(_COPY_IN_RESPONSE)
        client.send(_copy_data(_HEADER))
        message = _copy_data(_ROW * _ROWS_PER_MESSAGE)
        writes, rest = divmod(rows // _ROWS_PER_MESSAGE, _MESSAGES_PER_WRITE)
        chunk = message * _MESSAGES_PER_WRITE
        for _ in range(writes):
            client.send(chunk)
        client.send(message * rest + _copy_data(_TRAILER) + b"c\0\0\0\4")
        return client.receive()


def _copy_data(data: bytes) -> bytes:
    return b"d" + struct.pack("!I", len(data) + 4) + data


def _whole_messages(rows: int) -> int:
    return max(1, rows // _ROWS_PER_MESSAGE) * _ROWS_PER_MESSAGE
