"""How uneven things are, of sequences whose answer is known."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import pytest

from pgmux.monitor.tables import Buckets
from pgmux.ops.sizing.variability import Dispersion, moments, time_variability

BOUNDS = [
    *range(9),
    *(round(2**octave * (1 + step / 4)) for octave in range(3, 34) for step in range(1, 5)),
]


def buckets(seconds: Iterable[float]) -> Buckets:
    """As SHOW HISTOGRAMS counts them."""
    counts = Counter(BOUNDS[bisect_left(BOUNDS, round(each * 1e6))] for each in seconds)
    return Buckets(tuple(sorted(counts.items())))


def dispersion(counts: Iterable[float]) -> Dispersion:
    found = Dispersion()
    for count in counts:
        found.add(count)
    return found


def test_arrivals_at_random_have_a_ratio_of_one() -> None:
    chance = random.Random(3)
    counts = [sum(chance.random() < 0.01 for _ in range(1000)) for _ in range(2000)]
    assert dispersion(counts).ratio == pytest.approx(1.0, abs=0.1)


def test_a_clock_has_none_and_batches_have_as_much_as_they_are_large() -> None:
    assert dispersion([5] * 100).ratio == 0.0
    chance = random.Random(3)
    batches = [20 * sum(chance.random() < 0.01 for _ in range(300)) for _ in range(1000)]
    assert dispersion(batches).ratio == pytest.approx(20, rel=0.15)


def test_a_load_that_rises_slowly_isn_t_taken_for_an_uneven_one() -> None:
    assert dispersion(range(1000, 2000)).ratio == pytest.approx(0.0, abs=0.01)


def test_too_few_intervals_say_nothing() -> None:
    assert dispersion([1, 9, 1, 9]).ratio is None
    assert dispersion([0] * 100).ratio is None


def test_over_a_gap_nothing_is_compared() -> None:
    found = dispersion([5] * 40)
    found.interrupt()
    for _ in range(40):
        found.add(500)
    assert found.ratio == 0.0


@pytest.mark.parametrize("mean", [0.000_05, 0.003, 0.2, 30.0])
def test_moments_of_buckets_are_near_those_of_the_values(mean: float) -> None:
    chance = random.Random(5)
    values = [chance.expovariate(1 / mean) for _ in range(20_000)]
    found, variance = moments(buckets(values))
    assert found == pytest.approx(mean, rel=0.04)
    assert variance == pytest.approx(mean**2, rel=0.1)


def test_of_times_the_part_of_the_waits_is_taken_off() -> None:
    chance = random.Random(5)
    times = [0.1] * 5000
    waits = [chance.expovariate(10) for _ in times]
    xacts = [time + wait for time, wait in zip(times, waits, strict=True)]
    assert time_variability(buckets(xacts), buckets(waits)) == pytest.approx(0.0, abs=0.15)
    assert time_variability(buckets(xacts), Buckets(())) == pytest.approx(0.25, abs=0.05)


def test_of_no_times_nothing_is_known() -> None:
    assert moments(Buckets(())) == (0.0, 0.0)
    assert time_variability(Buckets(()), Buckets(())) is None
