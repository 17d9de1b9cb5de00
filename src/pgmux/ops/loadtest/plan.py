"""What a load test asks, and when: rounds of workers, each with its share of the queries.

A worker has a fixed share, so that one who isn't let in fails its own queries and can't use up
those of the others. With two sides rounds alternate, the first changing places each time (direct,
pooler, pooler, direct …): what else the machine does hits both alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

ROUNDS = 4  # of each side, where there are two


class LoadType(Enum):
    CONCURRENT = "concurrent"
    BURST = "burst"
    RAMP = "ramp"

    def __str__(self) -> str:
        return self.value


class Side(Enum):
    DIRECT = "direct"
    POOLER = "pooler"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for; of burst_* and num_* each test type uses its own."""

    test_type: LoadType = LoadType.CONCURRENT
    num_queries: int = 1000
    num_workers: int = 50
    burst_size: int = 100
    num_bursts: int = 10
    burst_interval: float = 2.0  # seconds
    rounds: int = ROUNDS

    @property
    def most_workers(self) -> int:
        """At the same time."""
        is_burst = self.test_type is LoadType.BURST
        return self.burst_size if is_burst else min(self.num_workers, self.num_queries)

    @property
    def total(self) -> int:
        """Queries for each side."""
        is_burst = self.test_type is LoadType.BURST
        return self.burst_size * self.num_bursts if is_burst else self.num_queries


@dataclass(frozen=True, slots=True)
class Round:
    """One side's turn: `shares[i]` queries for worker i; `step` is the ramp's, from 0.

    With `interval` a worker's n-th query is planned n intervals after the start.
    """

    side: Side
    step: int
    shares: tuple[int, ...]
    interval: float = 0.0

    @property
    def workers(self) -> int:
        return len(self.shares)

    @property
    def queries(self) -> int:
        return sum(self.shares)


def plan(load: Load, sides: Sequence[Side]) -> list[Round]:
    """The rounds in their order; each side has the same."""
    return list(_alternate(sides, _rounds(load, load.rounds if len(sides) > 1 else 1)))


def _alternate(sides: Sequence[Side], rounds: Sequence[Round]) -> Iterator[Round]:
    for number, each in enumerate(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            yield Round(side, each.step, each.shares, each.interval)


def _rounds(load: Load, count: int) -> list[Round]:
    """Those of one side."""
    if load.test_type is LoadType.BURST:
        bursts = _split(load.num_bursts, count)
        return [
            Round(Side.DIRECT, 0, (each,) * load.burst_size, load.burst_interval) for each in bursts
        ]
    if load.test_type is LoadType.RAMP:
        steps = ramp_steps(load.most_workers)
        # No step of fewer queries than it has workers: each is to have all of them at work.
        queries = load.num_queries // len(steps)
        return [
            Round(Side.DIRECT, number, _split(max(queries, workers), workers))
            for number, workers in enumerate(steps)
        ]
    parts = _split(load.num_queries, count)
    return [Round(Side.DIRECT, 0, _split(each, load.num_workers)) for each in parts]


def ramp_steps(workers: int) -> list[int]:
    """1, 2, 4 … and at last `workers`."""
    steps = [1]
    while steps[-1] * 2 < workers:
        steps.append(steps[-1] * 2)
    return [*steps, workers] if workers > steps[-1] else steps


def _split(total: int, parts: int) -> tuple[int, ...]:
    """`total` as parts that differ by one at most; none is empty."""
    base, more = divmod(total, parts)
    return tuple(share for i in range(parts) if (share := base + (i < more)))
