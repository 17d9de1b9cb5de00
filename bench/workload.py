"""What every kind of load has: a name, how its poolers are set up, and the quantities it gives.

A run on a pooler is a `Sample`: figures by key, for which `FIGURES` has unit and meaning. A
`Quantity` is a figure that the poolers are compared by, a row of the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.poolers import Bed, Cpu, Pooler, Setup

Sample = Mapping[str, float]

UNCOMPILED_LIMIT = 1.6  # of the CPU time of pgmux's pure form

USEC = 1e6
MEGA = 1e6
MS = 1000  # in a second

# Of a sample; not every load has all.
FIGURES = {
    "cpu_us": "µs of the pooler's CPU per transaction",
    "user_us": "of them in user space, as the kernel samples it",
    "kernel_us": "of them in the kernel",
    "tps": "transactions/s",
    "p50_ms": "latency of a transaction without its connect: median",
    "p99_ms": "99 of 100 transactions took no longer",
    "p99_to_p50": "the two, divided",
    "connect_ms": "mean time to connect and log in, of connect loads",
    "mb_per_s": "MB/s copied",
    "cpu_ms_per_gb": "ms of the pooler's CPU per GB copied",
    "bytes_per_client": "resident bytes per idle client",
    "start_mb": "resident MB when the pooler has just started",
    "worst_login_ms": "longest login of the idle clients, one after the other",
    "worst_ms": "longest round trip of another client beside the idle ones",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """The most (the least, where more is better) that pgmux's figure should be: to the yardstick's,
    or where `is_ratio` isn't set, in the figure's unit.
    """

    limit: float
    is_ratio: bool = True


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure to compare: `label` is its part of the row's heading."""

    figure: str
    label: str = ""
    more_is_better: bool = False
    goal: Goal | None = None
    is_charted: bool = True


CPU = Quantity("cpu_us")


class Workload(ABC):
    """One kind of load, run on each pooler in turn, several times."""

    name: str
    setup: Setup
    quantities: tuple[Quantity, ...]
    most_rounds: ClassVar[int | None] = None

    @property
    def needs_prepared(self) -> bool:
        """Whether the pooler must know prepared statements in transaction mode."""
        return False

    @abstractmethod
    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        """Have the pooler connected and its code run; the size that a run of `seconds` has, in
        whatever unit `run` takes.
        """

    @abstractmethod
    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        """One run. Raises: BenchError with what the client said."""


def part_of(whole: float, seconds: float) -> int:
    """What is copied, or connected, is less in a run that is to be shorter than a second."""
    return max(1, round(whole * min(1.0, seconds)))


def cpu_figures(used: Cpu, transactions: int) -> dict[str, float]:
    """`cpu_us` and its two parts."""
    share = used.user / (used.user + used.kernel) if used.user + used.kernel > 0 else 0.0
    each = USEC * used.total / transactions
    return {"cpu_us": each, "user_us": each * share, "kernel_us": each * (1 - share)}


def latency_figures(sorted_seconds: Sequence[float]) -> dict[str, float]:
    """Of some latencies, ascending."""
    last = len(sorted_seconds) - 1
    p50, p99 = sorted_seconds[last * 50 // 100], sorted_seconds[last * 99 // 100]
    return {"p50_ms": MS * p50, "p99_ms": MS * p99, "p99_to_p50": p99 / p50}
