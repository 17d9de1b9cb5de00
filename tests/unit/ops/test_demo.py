"""The demo's arithmetic and its table."""

from __future__ import annotations

from collections import Counter
from io import StringIO

import pytest
from rich.console import Console

from pgmux.cli.demo import results_table
from pgmux.ops.demo import POOL_SIZE, Outcome, describe, is_cured


def test_quantiles_are_waits_that_were_measured() -> None:
    outcome = Outcome(1, waits=[0.4, 0.1, 0.3, 0.2])
    assert [outcome.wait_quantile(q) for q in (0, 0.5, 0.99, 1)] == [0.1, 0.3, 0.4, 0.4]


def test_a_run_without_a_transaction_has_zeros() -> None:
    outcome = Outcome(300)
    assert (outcome.transactions_per_second, outcome.wait_quantile(0.99)) == (0, 0)


def test_json_has_milliseconds_and_rates() -> None:
    outcome = Outcome(2, connected=2, servers=1, waits=[0.001, 0.0025], seconds=4.0)
    assert outcome.as_dict() == {
        "clients": 2,
        "connected": 2,
        "refused": {},
        "errors": {},
        "server_connections": 1,
        "transactions": 2,
        "transactions_per_second": 0.5,
        "wait_p50_ms": 2.5,
        "wait_p99_ms": 2.5,
    }


@pytest.mark.parametrize(
    ("outcome", "cured"),
    [
        (Outcome(300, connected=300, servers=POOL_SIZE), True),
        (Outcome(300, connected=299, servers=POOL_SIZE), False),
        (Outcome(300, connected=300, servers=POOL_SIZE + 1), False),
        (Outcome(300, connected=300, servers=0), False),
        (Outcome(300, connected=300, servers=1, errors=Counter(oops=1)), False),
    ],
)
def test_cured_means_all_served_without_errors_by_few_servers(
    outcome: Outcome, cured: bool
) -> None:
    assert is_cured(outcome) is cured


def test_an_error_without_words_is_named() -> None:
    assert describe(TimeoutError()) == "TimeoutError"
    assert describe(OSError("no route")) == "no route"


def test_the_table_counts_every_message_for_both_runs() -> None:
    direct = Outcome(3, connected=1, refusals=Counter({"sorry": 2}))
    pooled = Outcome(3, connected=3, errors=Counter({"broken": 7}))
    console = Console(width=100, record=True, file=StringIO())
    console.print(results_table(direct, pooled))
    rows = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    assert ["refused:", "sorry", "2", "0"] in rows
    assert ["broken", "0", "7"] in rows
