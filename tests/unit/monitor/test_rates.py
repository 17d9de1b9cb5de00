"""What has happened between two samples."""

from __future__ import annotations

import asyncio

import pytest

from pgmux.monitor.rates import Rates, difference
from pgmux.monitor.sample import take_sample
from tests.fixtures.scripted_console import NEW, OLD, Row, ScriptedConsole

Answers = dict[str, list[Row]]


def between(older: Answers, newer: Answers, seconds: float = 2.0) -> Rates:
    async def take_two() -> Rates:
        return difference(
            await take_sample(ScriptedConsole(older), 100.0),
            await take_sample(ScriptedConsole(newer), 100.0 + seconds),
        )

    return asyncio.run(take_two())


def changed(answers: Answers, name: str, **values: int | str) -> Answers:
    """The answers, with other values in the first row of a table, of the columns that it has."""
    first, *others = answers[name]
    first = first | {key: str(value) for key, value in values.items() if key in first}
    return answers | {name: [first, *others]}


@pytest.mark.parametrize("answers", [OLD, NEW], ids=["PgBouncer 1.18", "pgmux"])
def test_rates_are_per_second_and_times_per_transaction(answers: Answers) -> None:
    busier = changed(
        answers,
        "STATS_TOTALS",
        xact_count=150,
        query_count=300,
        bytes_received=3200,
        bytes_sent=4400,
        xact_time=6_000_000,
        query_time=2_100_000,
        wait_time=1_050_000,
        server_assignment_count=150,
    )
    rates = between(answers, busier)
    assert (rates.total.xact_rate, rates.total.query_rate) == (25.0, 50.0)
    assert (rates.total.received_rate, rates.total.sent_rate) == (100.0, 200.0)
    assert rates.total.xact_time == pytest.approx(0.02)
    assert rates.total.query_time == pytest.approx(0.001)
    assert rates.total.wait_time == pytest.approx(0.001)
    assert rates.databases["app"] == rates.total


def test_the_consoles_own_questions_are_in_no_total() -> None:
    busy_console = [NEW["STATS_TOTALS"][0], NEW["STATS_TOTALS"][1] | {"xact_count": "5000"}]
    rates = between(NEW, NEW | {"STATS_TOTALS": busy_console})
    assert rates.total.xact_rate == 0.0
    assert rates.databases["pgbouncer"].xact_rate > 0


def test_where_nothing_happened_there_are_no_times() -> None:
    rates = between(NEW, NEW)
    assert (rates.total.xact_time, rates.total.wait_time) == (None, None)
    wait = rates.pools["app", "web"].wait
    assert (wait.count, wait.mean, wait.p50, wait.p99) == (0, None, None, None)


def test_a_counter_that_has_fallen_counts_from_zero() -> None:
    restarted = changed(NEW, "STATS_TOTALS", xact_count=10, query_count=400)
    rates = between(NEW, restarted)
    assert (rates.total.xact_rate, rates.total.query_rate) == (5.0, 200.0)


def test_what_is_new_has_happened_in_the_interval() -> None:
    rates = between(NEW | {"STATS_TOTALS": [], "APPS": []}, NEW)
    assert rates.total.xact_rate == 50.0
    assert rates.apps[0].xact_rate == 30.0


def test_what_is_gone_is_left_out() -> None:
    rates = between(NEW, NEW | {"STATS_TOTALS": [], "APPS": [], "HISTOGRAMS": [], "ERRORS": []})
    assert rates.databases == rates.pools == rates.errors == {}
    assert rates.apps == ()


def test_quantiles_are_those_of_the_interval_alone() -> None:
    slower = changed(
        NEW, "HISTOGRAMS", count=110, sum=1_400_000, buckets="1:50,16:58,20480:1,81920:1"
    )
    rates = between(NEW, slower)
    wait = rates.pools["app", "web"].wait
    assert (wait.count, wait.mean) == (10, pytest.approx(0.04))
    assert (wait.p50, wait.p90, wait.p99) == (16e-6, 16e-6, 0.08192)
    assert rates.all_pools is not None
    assert rates.all_pools.wait == wait


def test_a_pools_transactions_and_queries_are_counted_by_its_histograms() -> None:
    first, xact, query = NEW["HISTOGRAMS"]
    busier = [
        first,
        xact | {"count": "120", "sum": "5100000", "buckets": "640:120"},
        query | {"count": "260", "sum": "2100000", "buckets": "640:260"},
    ]
    rate = between(NEW, NEW | {"HISTOGRAMS": busier}).pools["app", "web"]
    assert (rate.xact_rate, rate.query_rate) == (10.0, 30.0)


def test_a_histogram_that_began_again_counts_from_zero() -> None:
    rates = between(NEW, changed(NEW, "HISTOGRAMS", count=3, sum=30, buckets="16:3"))
    assert rates.pools["app", "web"].wait.count == 3


def test_a_console_without_histograms_has_no_rates_of_pools() -> None:
    rates = between(OLD, OLD)
    assert rates.all_pools is None
    assert rates.pools == {}


def test_applications_are_ranked_by_the_server_time_held_in_the_interval() -> None:
    worker, web = NEW["APPS"]
    busy_web = web | {"server_time": "4000000", "xact_count": "100", "wait_caused_time": "500000"}
    busy_worker = worker | {"server_time": "7000000", "idle_xact_time": "3500000"}
    rates = between(NEW, NEW | {"APPS": [busy_worker, busy_web]})
    first, second = rates.apps
    assert (first.row.application_name, second.row.application_name) == ("", "worker")
    assert (first.servers_held, first.server_share, first.waits_caused) == (1.5, 0.75, 0.25)
    assert first.xact_rate == 30.0
    assert (second.servers_held, second.servers_idle_in_xact) == (0.5, 0.25)


def test_errors_and_connects_are_those_of_the_interval() -> None:
    newer = changed(changed(NEW, "ERRORS", count=7), "CONNECTS", count=12)
    rates = between(NEW, newer)
    [(error, count)] = rates.errors.items()
    assert (error[1:3], count) == (("pooler", "53300"), 4)
    assert rates.connects == {("app", "client", "connect", ""): 2}


def test_samples_that_are_not_in_order_are_refused() -> None:
    with pytest.raises(ValueError, match="not newer"):
        between(NEW, NEW, 0.0)
