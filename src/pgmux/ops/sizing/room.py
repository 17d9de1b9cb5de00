"""What PostgreSQL has for pools, and how they share it where all that they need is more.

In this order, the first that fits: pools that need more get it, the others keep what they have; all
get what they need; those that nothing is known of get what they had at most; what there is is
shared by need, each pool getting one server at least.
Pools whose size stands at one place (all users of a database) have the largest of theirs each;
where that is too much, max_db_connections bounds them together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from pgmux.ops.sizing.advice import PoolAdvice, Sizes


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a pool's size stands: an entry of [databases], or of [users]."""

    section: str
    name: str


@dataclass(frozen=True, slots=True)
class Room:
    """A PostgreSQL's connections; `others` are those around the pooler, None where not known."""

    max_connections: int
    reserved: int
    others: int | None
    keep_free: int = 0

    @property
    def left(self) -> int:
        taken = self.reserved + (self.others or 0) + self.keep_free
        return max(0, self.max_connections - taken)


class Step(Enum):
    """Which of the ways of the module it is."""

    RAISED = "raised"
    NEEDED = "needed"
    UNKNOWN_CUT = "unknown cut"
    SHARED = "shared"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool, where its size stands, and max_db_connections of its database (0: none)."""

    advice: PoolAdvice
    setting: Setting
    max_db_connections: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """`sizes` by pool, in the order given; `limits` are max_db_connections that change, by
    database. `before` and `after` are the most servers that all may open together.
    """

    step: Step
    sizes: tuple[Sizes, ...]
    limits: Mapping[str, int]
    before: float
    after: float


def fit(pools: Sequence[Pool], room: int | None, *, lower: bool) -> Fit:
    """Sizes for the pools of one PostgreSQL, which has `room` connections; None: nobody knows.

    `lower`: no pool keeps more than it needs.
    """
    before = _most(pools, [pool.advice.now for pool in pools], {})
    for step, sizes in _ways(pools, lower=lower):
        for limits in (_raised_limits(pools), _bounds(pools, sizes)):
            after = _most(pools, sizes, limits)
            if room is None or after <= room:
                return Fit(step, tuple(sizes), limits, before, after)
    sizes = _share(pools, room or 0)
    limits = _bounds(pools, sizes)
    return Fit(Step.SHARED, tuple(sizes), limits, before, _most(pools, sizes, limits))


def _ways(pools: Sequence[Pool], *, lower: bool) -> Iterable[tuple[Step, list[Sizes]]]:
    if not lower:
        yield Step.RAISED, [_raise(pool.advice) for pool in pools]
    yield Step.NEEDED, [pool.advice.wanted or pool.advice.now for pool in pools]
    yield Step.UNKNOWN_CUT, [_needed(pool.advice) for pool in pools]


def _raise(advice: PoolAdvice) -> Sizes:
    wanted = advice.wanted
    return wanted if wanted and wanted.pool_size > advice.now.pool_size else _kept(advice)


def _kept(advice: PoolAdvice) -> Sizes:
    """The present size, with what is wanted besides."""
    if advice.wanted is None:
        return advice.now
    rest = max(0, round(advice.wanted.most - min(advice.now.pool_size, advice.wanted.most)))
    reserve = max(advice.now.reserve_pool_size, rest)
    return Sizes(advice.now.pool_size, reserve, advice.wanted.min_pool_size)


def _needed(advice: PoolAdvice) -> Sizes:
    if advice.wanted is not None:
        return advice.wanted
    size = min(advice.now.pool_size, max(1, advice.demand.servers_peak))
    return Sizes(size, 0, min(advice.now.min_pool_size, round(size)))


def _share(pools: Sequence[Pool], room: int) -> list[Sizes]:
    """As many for each as its part of all needs, largest remainders first."""
    needs = [_needed(pool.advice) for pool in pools]
    parts = share(room, [need.most for need in needs])
    return [
        replace(
            need,
            pool_size=min(need.pool_size, part),
            reserve_pool_size=max(0, part - round(min(need.pool_size, part))),
            min_pool_size=min(need.min_pool_size, part),
        )
        for need, part in zip(needs, parts, strict=True)
    ]


def share(room: int, needs: Sequence[float]) -> list[int]:
    """Whole numbers of that sum in proportion to the needs, each at least one where that goes."""
    if not needs:
        return []
    rest = max(0, room - len(needs))
    beyond = [max(0.0, need - 1) for need in needs]
    total = sum(beyond) or 1.0
    exact = [min(own, rest * own / total) for own in beyond]
    parts = [math.floor(value) for value in exact]
    missing = min(rest, round(sum(exact))) - sum(parts)
    by_remainder = sorted(range(len(exact)), key=lambda i: (parts[i] - exact[i], i))
    for number in by_remainder[: max(0, missing)]:
        parts[number] += 1
    return [1 + part for part in parts]


# What a configuration makes of sizes


def _most(pools: Sequence[Pool], sizes: Sequence[Sizes], limits: Mapping[str, int]) -> float:
    """The most servers of all: each place where a size stands has one number for all its pools."""
    by_database: dict[str, float] = {}
    for pool in pools:
        own = [s for other, s in zip(pools, sizes, strict=True) if other.setting == pool.setting]
        most = max(each.pool_size for each in own) + max(each.reserve_pool_size for each in own)
        database = pool.advice.demand.database
        by_database[database] = by_database.get(database, 0.0) + most
    limited = {pool.advice.demand.database: pool.max_db_connections for pool in pools}
    limited.update(limits)
    return sum(min(most, limited[name] or math.inf) for name, most in by_database.items())


def _sums(pools: Sequence[Pool], sizes: Sequence[Sizes]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for pool, own in zip(pools, sizes, strict=True):
        database = pool.advice.demand.database
        sums[database] = sums.get(database, 0.0) + own.most
    return sums


def _raised_limits(pools: Sequence[Pool]) -> dict[str, int]:
    """max_db_connections where less than what the pools need."""
    needed = _sums(pools, [pool.advice.wanted or Sizes(0, 0, 0) for pool in pools])
    return {
        pool.advice.demand.database: round(needed[pool.advice.demand.database])
        for pool in pools
        if 0 < pool.max_db_connections < needed[pool.advice.demand.database]
    }


def _bounds(pools: Sequence[Pool], sizes: Sequence[Sizes]) -> dict[str, int]:
    """max_db_connections for databases of several pools, so that they have no more than theirs."""
    sums = _sums(pools, sizes)
    names = [pool.advice.demand.database for pool in pools]
    return {
        name: round(most)
        for name, most in sums.items()
        if names.count(name) > 1 and most < math.inf
    } | {name: n for name, n in _raised_limits(pools).items() if n <= sums[name]}
