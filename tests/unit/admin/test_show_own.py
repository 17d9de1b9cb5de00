"""Each SHOW that PgBouncer doesn't have: what readers of it rely on."""

from __future__ import annotations

import pytest

from pgmux.admin.show_own import OWN_TABLES
from pgmux.wire.parse import parse_row_description
from tests.unit.admin.talk import ask, messages, rows
from tests.unit.admin.test_show import expected_columns

# One line of "name type" per column, as in test_show.py.
EXPECTED = {
    "apps": """database s, user s, application_name s, cl_active i, cl_waiting i, sv_active i,
        sv_idle_in_xact i, xact_count N, query_count N, bytes_received N, bytes_sent N,
        wait_time N, server_time N, idle_xact_time N, wait_caused_time N, max_xact_time N,
        open_xact_time N, error_count N""",
    "connects": "database s, side s, event s, reason s, count N",
    "errors": "database s, source s, sqlstate s, error s, count N, last_time s",
    "histograms": """database s, user s, histogram s, count N, sum N, p50 N, p90 N, p99 N, max N,
        buckets s""",
    "waiters": """database s, user s, role s, application_name s, addr s, port i, state s, since s,
        duration N, client_id i, server_pid i""",
    "hosts": """host s, port i, max_connections i, reserved_connections i, server_connections i,
        asked_time s""",
    "readiness": "check s, name s, ready i, reason s",
    "web": "pid i, state s, address s, starts N, last_end s",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_columns_are_those_that_readers_expect(name: str) -> None:
    message_type, body = messages(ask(f"SHOW {name}", is_admin=False).data)[0]
    assert message_type == "T"
    assert parse_row_description(body) == expected_columns(EXPECTED[name])


def test_every_table_is_tested() -> None:
    assert set(OWN_TABLES) == set(EXPECTED)


def test_apps_show_times_in_microseconds_and_no_row_for_a_step() -> None:
    assert rows(ask("SHOW APPS").data) == [
        (
            *("app", "bob", "billing", "1", "2", "3", "4", "5", "6", "7", "8"),
            *("9", "10000000", "11000", "12000", "13000000", "0", "15"),
        )
    ]


def test_histograms_show_what_holds_something() -> None:
    assert rows(ask("SHOW HISTOGRAMS").data) == [
        ("app", "bob", "wait", "3", "2000", "1", "2048", "2048", "2048", "1:2,2048:1")
    ]


def test_what_is_counted_by_reason() -> None:
    assert rows(ask("SHOW ERRORS").data) == [
        ("app", "server", "23505", "unique_violation", "3000000000", "2026-11-20 08:22:05 UTC")
    ]
    assert rows(ask("SHOW CONNECTS").data) == [
        ("app", "client", "disconnect", "client close request", "7")
    ]


def test_waiters_have_waited_for_microseconds() -> None:
    (row,) = rows(ask("SHOW WAITERS").data)
    assert row[:8] == (
        *("app", "bob", "waiting", "shop", "10.0.0.9", "4711", "pool_size"),
        "2026-11-20 08:22:05 UTC",
    )
    assert row[8:] == ("1250000", "12", None)
