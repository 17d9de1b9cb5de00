"""Latencies are kept in bounded memory, and quantiles of them are nearly exact."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.ops.loadtest.histogram import Histogram

DURATIONS = st.lists(st.floats(0, 10_000, allow_nan=False), min_size=1, max_size=200)


def filled(*durations: float) -> Histogram:
    histogram = Histogram()
    for each in durations:
        histogram.record(each)
    return histogram


@given(DURATIONS, st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_at_most_a_hundredth_above_what_was_measured(
    durations: list[float], share: float
) -> None:
    found = filled(*durations).quantile(share)
    rank = max(1, -(-len(durations) * share // 1))
    exact = sorted(durations)[int(rank) - 1]
    assert found is not None
    assert exact - 1e-6 <= found <= exact * 1.01 + 2e-6


@given(DURATIONS)
def test_count_mean_least_and_most_are_exact(durations: list[float]) -> None:
    histogram = filled(*durations)
    assert histogram.count == len(durations)
    assert histogram.mean == pytest.approx(sum(durations) / len(durations))
    assert (histogram.shortest, histogram.longest) == (min(durations), max(durations))


@given(DURATIONS, DURATIONS)
def test_two_histograms_added_are_one_of_all(one: list[float], other: list[float]) -> None:
    added, whole = filled(*one), filled(*one, *other)
    added.add(filled(*other))
    assert added.counts == whole.counts
    assert (added.count, added.shortest, added.longest) == (
        *(whole.count, whole.shortest),
        whole.longest,
    )


def test_nothing_has_no_quantile() -> None:
    empty = Histogram()
    empty.add(Histogram())
    assert (empty.mean, empty.quantile(0.5), empty.buckets()) == (None, None, ())


def test_a_million_queries_take_no_more_memory_than_a_few_thousand_buckets() -> None:
    histogram = Histogram()
    rng = random.Random(1)
    for _ in range(100_000):
        histogram.record(rng.lognormvariate(-5, 3))
    assert len(histogram.counts) < 4500
    histogram.record(1e12)
    assert max(bound for bound, _ in histogram.buckets()) <= 2**40 * 1.01


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    assert filled(-1.0).quantile(1.0) == 0
