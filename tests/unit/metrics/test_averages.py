from __future__ import annotations

from dataclasses import fields

import pytest

from pgmux.metrics.averages import Averages, stats_line
from pgmux.metrics.snapshot import StatsRow, sum_stats

QUERIES = StatsRow("app", query_count=100, query_time=2.0, client_bytes=1000)


def by_name(*rows: StatsRow) -> dict[str, object]:
    return {row.database: row for row in rows}


def average_of(averages: Averages, now: float, row: StatsRow) -> StatsRow:
    return averages.average(now, row.database, row)


def test_the_first_averages_are_since_one_second_before_the_start() -> None:
    average = average_of(Averages(10.0), 13.0, QUERIES)
    assert average == StatsRow("app", query_count=25, query_time=0.02, client_bytes=250)


def test_averages_look_back_over_one_to_two_periods() -> None:
    averages = Averages(0.0)
    averages.tick(60.0, by_name(StatsRow("app", query_count=600)))
    averages.tick(120.0, by_name(StatsRow("app", query_count=1800)))
    # From the snapshot at 60 s on, just after the tick at 120 s and until the next one.
    assert average_of(averages, 120.0, StatsRow("app", query_count=1800)).query_count == 20
    assert average_of(averages, 150.0, StatsRow("app", query_count=1800)).query_count == 13
    averages.tick(180.0, by_name(StatsRow("app", query_count=1800)))
    assert average_of(averages, 180.0, StatsRow("app", query_count=1800)).query_count == 0


def test_a_tick_answers_the_averages_of_the_period_that_ends() -> None:
    averages = Averages(0.0)
    averages.tick(60.0, by_name(StatsRow("a", xact_count=60), StatsRow("b")))
    overall = averages.tick(
        120.0, by_name(StatsRow("a", xact_count=180), StatsRow("b", xact_count=60))
    )
    assert overall == StatsRow("", xact_count=3)


def test_times_are_per_transaction_query_and_assignment() -> None:
    row = StatsRow(
        "app",
        xact_count=4,
        query_count=8,
        server_assignment_count=2,
        xact_time=1.0,
        query_time=1.0,
        wait_time=1.0,
    )
    average = average_of(Averages(0.0), 0.0, row)
    assert (average.xact_time, average.query_time, average.wait_time) == (0.25, 0.125, 0.5)


def test_a_time_without_anything_to_divide_it_by_is_zero() -> None:
    # A query that began and hasn't ended counts at its end; its wait may have been counted.
    average = average_of(Averages(0.0), 1.0, StatsRow("app", wait_time=3.0))
    assert average.wait_time == 0.0


def test_rates_are_whole_numbers_cut() -> None:
    average = average_of(Averages(0.0), 9.0, StatsRow("app", query_count=19, bind_count=9))
    assert (average.query_count, average.bind_count) == (1, 0)


def test_a_new_database_starts_from_zero() -> None:
    averages = Averages(0.0)
    averages.tick(60.0, by_name())
    averages.tick(120.0, by_name())
    assert average_of(averages, 160.0, QUERIES).query_count == 1


def test_a_database_that_counts_anew_is_never_negative() -> None:
    averages = Averages(0.0)
    averages.tick(60.0, by_name(QUERIES))
    averages.tick(120.0, by_name(QUERIES))
    assert average_of(averages, 130.0, StatsRow("app", query_count=5)) == StatsRow("app")


def test_a_clock_that_stands_still_divides_nothing_by_zero() -> None:
    averages = Averages(5.0)
    averages.tick(5.0, by_name(QUERIES))
    assert averages.tick(5.0, by_name(QUERIES)) == StatsRow("")
    assert average_of(averages, 5.0, QUERIES) == StatsRow("app")


def test_the_overall_times_are_weighted() -> None:
    totals = by_name(
        StatsRow("busy", query_count=99, query_time=0.99),
        StatsRow("slow", query_count=1, query_time=1.0),
    )
    assert Averages(0.0).overall(0.0, totals).query_time == pytest.approx(0.0199)


def test_a_database_that_is_gone_leaves_the_overall_average() -> None:
    averages = Averages(0.0)
    gone = StatsRow("gone", query_count=10_000)
    averages.tick(60.0, by_name(gone))
    averages.tick(120.0, by_name(gone))
    assert averages.overall(121.0, by_name(StatsRow("app", query_count=61))).query_count == 1


def test_the_sum_is_of_every_counter() -> None:
    names = [field.name for field in fields(StatsRow)][1:]
    row = StatsRow("app", **{name: number for number, name in enumerate(names, 1)})
    total = sum_stats([row, row])
    assert [getattr(total, name) for name in names] == [2 * n for n in range(1, len(names) + 1)]
    assert sum_stats([]) == StatsRow("")


def test_the_log_line_is_pgbouncers() -> None:
    average = StatsRow(
        "",
        xact_count=1,
        query_count=2,
        client_parse_count=3,
        server_parse_count=4,
        bind_count=5,
        client_bytes=6,
        server_bytes=7,
        xact_time=8e-6,
        query_time=9e-6,
        wait_time=1.5,
    )
    assert stats_line(average) == (
        "stats: 1 xacts/s, 2 queries/s, 3 client parses/s, 4 server parses/s, 5 binds/s,"
        " in 6 B/s, out 7 B/s, xact 8 us, query 9 us, wait 1500000 us"
    )
