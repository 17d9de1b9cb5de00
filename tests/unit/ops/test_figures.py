"""Numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.ops import figures


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.0000004, "0µs"),
        (0.000016, "16µs"),
        (0.000999, "999µs"),
        (0.0009996, "1.0ms"),
        (0.00999, "10ms"),
        (0.9996, "1.0s"),
        (59.94, "59.9s"),
        (59.96, "1m00s"),
        (3599.6, "1h00m"),
        (90_000, "25h00m"),
        (200_000, "2d07h"),
    ],
)
def test_a_time_is_in_the_unit_that_fits_it(seconds: float | None, shown: str) -> None:
    assert figures.time(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (1234.4, "1234")],
)
def test_a_rate_has_a_fraction_where_it_is_small(value: float | None, shown: str) -> None:
    assert figures.rate(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(99_999, "99999"), (99_999.6, "100k"), (123_456, "123k"), (1_999_999, "2.0M"), (5e12, "5.0T")],
)
def test_a_large_count_is_shortened(value: float, shown: str) -> None:
    assert figures.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (999, "999B"), (999.6, "1.0kB"), (99_960, "100kB")]
)
def test_a_size_has_its_unit(value: float | None, shown: str) -> None:
    assert figures.size(value) == shown


@given(st.floats(0, 9e14))
def test_no_figure_is_wider_than_a_column(value: float) -> None:
    assert all(len(show(value)) <= 6 for show in (figures.count, figures.rate, figures.size))
    assert len(figures.time(value / 1e7)) <= 8  # three years


def test_a_sparkline_shows_the_newest_values_up_to_the_highest() -> None:
    assert figures.sparkline([9.0, 0.0, 4.0, 8.0], 3) == "▁▅█"
    assert figures.sparkline([0.0, None], 5) == "▁ "
    assert figures.sparkline([1.0], 0) == figures.sparkline([], 5) == ""


def test_a_bar_shows_whatever_there_is_at_all() -> None:
    assert figures.bar(1, 1_000_000, 10) == "█"
    assert figures.bar(5, 10, 10) == "█" * 5
    assert figures.bar(0, 10, 10) == figures.bar(0, 0, 10) == ""
