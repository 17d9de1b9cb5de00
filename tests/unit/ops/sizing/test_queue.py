"""Erlang's formulas against tables and exact fractions, and waits against a simulated queue."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest

from pgmux.ops.sizing.queue import Queue, erlang_b, erlang_c, servers_for_burst


@pytest.mark.parametrize(
    ("load", "servers", "blocked"),
    [(1, 1, 0.5), (1, 2, 0.2), (3, 5, 0.110054), (5, 10, 0.018385), (10, 15, 0.036497)],
)
def test_erlang_b_is_as_in_the_tables(load: float, servers: int, blocked: float) -> None:
    assert erlang_b(load, servers) == pytest.approx(blocked, abs=1e-6)


@pytest.mark.parametrize(
    ("load", "servers", "delayed"),
    [(1, 2, 1 / 3), (2, 3, 4 / 9), (5, 6, 0.5875), (8, 10, 0.4092), (0.5, 1, 0.5)],
)
def test_erlang_c_is_as_in_the_tables(load: float, servers: int, delayed: float) -> None:
    assert erlang_c(load, servers) == pytest.approx(delayed, abs=5e-5)


@pytest.mark.parametrize(("load", "servers"), [(3, 4), (7, 9), (19, 25), (90, 100)])
def test_erlang_c_is_what_the_sum_of_its_definition_is(load: int, servers: int) -> None:
    terms = [Fraction(load**k, math.factorial(k)) for k in range(servers)]
    tail = Fraction(load**servers, math.factorial(servers)) * Fraction(servers, servers - load)
    assert erlang_c(load, servers) == pytest.approx(float(tail / (sum(terms) + tail)))


def test_with_no_more_servers_than_load_everybody_waits_without_end() -> None:
    queue = Queue(load=4.0, time=0.1)
    assert erlang_c(4.0, 4) == 1.0
    assert queue.mean_wait(4) == queue.wait(3, 0.99) == math.inf


def test_one_server_is_the_textbooks_queue() -> None:
    assert Queue(0.8, 0.1).mean_wait(1) == pytest.approx(0.4)  # rho / (1 - rho) x time
    assert Queue(0.8, 0.1, variability=0.5).mean_wait(1) == pytest.approx(0.2)  # all times alike


@pytest.mark.parametrize("load", [0.1, 3.0, 17.5, 400.0])
@pytest.mark.parametrize("target", [0.0, 0.001, 0.05, 10.0])
def test_the_servers_for_a_wait_are_the_fewest_that_keep_it(load: float, target: float) -> None:
    queue = Queue(load, time=0.05, variability=1.3)
    servers = queue.servers_for(target, 0.99)
    assert queue.wait(servers, 0.99) <= target < queue.wait(servers - 1, 0.99)


def test_no_load_needs_no_servers() -> None:
    assert Queue(0.0, 0.0).servers_for(0.005, 0.99) == 0


def test_a_burst_is_through_in_time() -> None:
    assert servers_for_burst(10, time=0.1, target=0.0) == 10
    assert servers_for_burst(10, time=0.1, target=0.1) == 5  # the last waits for (10 - 5) x 0.1 / 5
    assert servers_for_burst(10, time=0.001, target=1.0) == 1
    assert servers_for_burst(0, time=0.1, target=0.1) == 0


def simulated_waits(
    servers: int, rate: float, time_of: Callable[[random.Random], float], count: int = 40_000
) -> list[float]:
    """Sorted waits of a queue with arrivals at random, first come first served."""
    chance = random.Random(7)
    free_at = [0.0] * servers
    now, waits = 0.0, []
    for _ in range(count):
        now += chance.expovariate(rate)
        start = max(now, heapq.heappop(free_at))
        heapq.heappush(free_at, start + time_of(chance))
        waits.append(start - now)
    return sorted(waits)


@pytest.mark.parametrize(
    ("time_of", "cs2"),
    [(lambda chance: chance.expovariate(10.0), 1.0), (lambda chance: 0.1, 0.0)],
    ids=["by chance", "all alike"],
)
def test_estimated_waits_are_near_those_of_a_simulated_queue(
    time_of: Callable[[random.Random], float], cs2: float
) -> None:
    waits = simulated_waits(servers=8, rate=60.0, time_of=time_of)
    queue = Queue(load=6.0, time=0.1, variability=(1 + cs2) / 2)
    assert queue.mean_wait(8) == pytest.approx(sum(waits) / len(waits), rel=0.15)
    assert queue.wait(8, 0.99) == pytest.approx(waits[int(0.99 * len(waits))], rel=0.15)


def test_with_a_long_tail_of_times_the_estimate_errs_on_the_side_of_more_servers() -> None:
    def time_of(chance: random.Random) -> float:
        return chance.expovariate(50.0 if chance.random() < 0.9 else 1 / 0.82)

    waits = simulated_waits(servers=8, rate=60.0, time_of=time_of)
    queue = Queue(load=6.0, time=0.1, variability=(1 + 12.5) / 2)
    mean = sum(waits) / len(waits)
    assert mean < queue.mean_wait(8) < 3 * mean
