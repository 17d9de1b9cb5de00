"""Quantiles of buckets against those of the values themselves."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.monitor.buckets import count_of, merge, quantile, subtract
from pgmux.monitor.tables import Buckets

# As SHOW HISTOGRAMS': linear up to 8 µs, then four to an octave.
BOUNDS = [
    *range(9),
    *(round(2**octave * (1 + step / 4)) for octave in range(3, 34) for step in range(1, 5)),
]

microseconds = st.integers(0, BOUNDS[-1]) | st.integers(0, 100)
values = st.lists(microseconds, max_size=60)


def buckets_of(times: list[int]) -> Buckets:
    counts = Counter(bucket_of(time) for time in times)
    return Buckets(tuple(sorted(counts.items())))


def bucket_of(time: int) -> int:
    return BOUNDS[bisect_left(BOUNDS, time)]


@given(values.filter(bool), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]) | st.floats(0, 1))
def test_a_quantile_is_the_bound_of_the_bucket_that_the_exact_one_is_in(
    times: list[int], share: float
) -> None:
    exact = sorted(times)[max(1, math.ceil(share * len(times))) - 1]
    found = quantile(buckets_of(times), share)
    assert found == bucket_of(exact) / 1_000_000
    assert exact <= round(found * 1_000_000) <= max(8, exact * 1.25)


@given(values, values)
def test_what_came_between_is_what_was_added(before: list[int], after: list[int]) -> None:
    newer = buckets_of(before + after)
    assert subtract(newer, buckets_of(before)) == buckets_of(after)


@given(values, values)
def test_histograms_together_are_the_histogram_of_all(some: list[int], others: list[int]) -> None:
    assert merge([buckets_of(some), buckets_of(others)]) == buckets_of(some + others)
    assert count_of(merge([buckets_of(some), buckets_of(others)])) == len(some + others)


@pytest.mark.parametrize("newer", [((8, 1),), ((10, 9),), ()])
def test_a_histogram_that_lost_values_began_again(newer: tuple[tuple[int, int], ...]) -> None:
    assert subtract(Buckets(newer), Buckets(((8, 2),))) is None


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(Buckets(()), 0.99) is None
