"""What follows for a pool from its demand: sizes, and the reasons for them, before anybody asks
what PostgreSQL has.

`pool_size` is the larger of two numbers: of the queue's theory for the busiest part of the
period (`by_model`), and for what was seen at once in 99 of 100 samples (`by_samples`), which theory
knows nothing of. Both mean the same: 99 of 100 transactions wait for `target` seconds at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pgmux.ops.sizing.demand import SHARE, Demand, Saturation
from pgmux.ops.sizing.queue import Queue, servers_for_burst

MIN_SAMPLES = 20
MIN_XACTS = 100
FEW_RELOGINS = 3  # so many servers opened again, and more, are worth keeping some
_EVEN = 1.5  # times the mean load is no peak
CURVE = 9  # numbers of servers that are drawn


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator asks for: how long a transaction may wait, at how many times this load."""

    target: float = 0.005
    growth: float = 1.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one pool. `pool_size` is infinite where the pooler has no limit."""

    pool_size: float
    reserve_pool_size: int
    min_pool_size: int

    @property
    def most(self) -> float:
        return self.pool_size + self.reserve_pool_size


@dataclass(frozen=True, slots=True)
class Estimate:
    """With so many servers: seconds that clients wait on average, and at most 99 of 100 do."""

    servers: int
    mean_wait: float
    wait_p99: float


@dataclass(frozen=True, slots=True)
class PoolAdvice:
    """`wanted` is what the pool needs, None where too little was seen, and `lacking` says of what.

    `by_model` is None where theory doesn't hold: session mode, and demand that is hidden.
    `most_clients` is why `wanted` is no larger, where it isn't; `is_measured` where that is because
    the waits that were measured are short enough with the present size.
    """

    demand: Demand
    now: Sizes
    wanted: Sizes | None
    by_model: int | None = None
    by_samples: int = 0
    most_clients: int | None = None
    is_measured: bool = False
    curve: tuple[Estimate, ...] = ()
    lacking: str = ""


def advise(demand: Demand, now: Sizes, wishes: Wishes, reserve_timeout: float) -> PoolAdvice:
    """What a pool needs, whatever there is."""
    lacking = _lacking(demand)
    if lacking:
        return PoolAdvice(demand, now, None, lacking=lacking)
    if demand.is_session:
        return _advise_session(demand, now, wishes)
    time, growth = demand.time, wishes.growth
    queue = Queue(demand.busiest * growth, time, demand.variability)
    by_model = None
    if demand.saturation is Saturation.NONE:
        by_model = queue.servers_for(wishes.target, SHARE)
    by_samples = servers_for_burst(_grown(demand.needed_p99, growth), time, wishes.target)
    size = max(1, by_samples, by_model or 0)
    if demand.saturation is Saturation.GROWING:  # nobody knows where it would have ended
        size = min(size, 2 * demand.servers_while_full)
    is_measured = now.pool_size < size and _is_enough(demand, wishes)
    if is_measured:
        size = round(now.pool_size)
    most = max(1, _grown(demand.clients_peak, growth)) if demand.has_lasting_clients else size
    peak = servers_for_burst(_grown(demand.needed_peak, growth), time, reserve_timeout)
    wanted = _sizes(demand, now, min(size, most), peak)
    return PoolAdvice(
        demand,
        now,
        wanted,
        by_model=by_model,
        by_samples=by_samples,
        most_clients=most if size > most else None,
        is_measured=is_measured,
        curve=_curve(queue, now, wanted) if by_model else (),
    )


def _is_enough(demand: Demand, wishes: Wishes) -> bool:
    """Whether 99 of 100 did wait for no longer than they should, whatever theory says.

    Without quantiles: of values that are never negative, no more than one in a hundred can be a
    hundred times their mean (Markov). A period with a peak in it isn't one value.
    """
    if wishes.growth > 1 or demand.busiest > _EVEN * demand.load:
        return False
    if demand.wait_p99 is not None:
        return demand.wait_p99 <= wishes.target
    return demand.mean_wait <= wishes.target * (1 - SHARE) and not demand.longest_wait


def _lacking(demand: Demand) -> str:
    """What there was too little of to judge the pool, and how long it takes to see enough."""
    if demand.samples < MIN_SAMPLES:
        return f"seen in {demand.samples} samples, {MIN_SAMPLES} are needed"
    if demand.is_session:
        return "" if demand.clients_peak else "no client was there"
    if demand.xacts >= MIN_XACTS:
        return ""
    said = f"{demand.xacts:.0f} transactions, {MIN_XACTS} are needed"
    if demand.rate:
        said += f": at this rate {_minutes(MIN_XACTS / demand.rate)}"
    if demand.saturation is not Saturation.NONE:
        said += (
            f"; yet in {demand.full_share:.0%} of the samples clients waited for servers that"
            " others held for long: SHOW WAITERS of pgmux says who, pg_stat_activity too"
        )
    return said


def _minutes(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{math.ceil(minutes / 60)} h"


def _advise_session(demand: Demand, now: Sizes, wishes: Wishes) -> PoolAdvice:
    """A server for each client that was there at once."""
    clients = _grown(demand.clients_peak, wishes.growth)
    return PoolAdvice(demand, now, _sizes(demand, now, clients, clients), by_samples=clients)


def _sizes(demand: Demand, now: Sizes, size: int, peak: int) -> Sizes:
    """With a reserve for peaks that last, and servers kept where they were opened ever again."""
    reserve = max(now.reserve_pool_size, peak - size)
    minimum = now.min_pool_size
    if demand.relogins >= FEW_RELOGINS:
        minimum = max(minimum, demand.needed_usual, 1)
    return Sizes(size, reserve, min(minimum, size))


def _grown(number: float, growth: float) -> int:
    return math.ceil(number * growth - 1e-9)


def _curve(queue: Queue, now: Sizes, wanted: Sizes) -> tuple[Estimate, ...]:
    """From the least that bears the load to a little more than is wanted, the present one too."""
    first = math.floor(queue.load) + 1
    last = max(first + 2, round(wanted.pool_size) + 1)
    step = max(1, math.ceil((last - first) / (CURVE - 1)))
    numbers = {*range(first, last + 1, step), round(wanted.pool_size)}
    if first <= now.pool_size <= 4 * last:
        numbers.add(int(now.pool_size))
    return tuple(Estimate(k, queue.mean_wait(k), queue.wait(k, SHARE)) for k in sorted(numbers))
