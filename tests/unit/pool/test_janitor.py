"""What is due in a pool: each reason, its boundary, and which reason comes first."""

from __future__ import annotations

from typing import Any

import pytest

from pgmux.config import Settings
from pgmux.pool import janitor
from pgmux.pool.pool import Pool
from pgmux.pool.states import SV_ACTIVE, SV_BEING_CANCELED, SV_IDLE, SV_LOGIN, SV_TESTED, SV_USED
from tests.unit.pool.pools import Client, Server, add_clients, add_link, add_servers, make_pool

NOW = 10_000.0


def due_clients(pool: Pool, *, shutting_down: bool = False) -> list[tuple[Any, str]]:
    return list(janitor.due_clients(pool, Settings(), NOW, shutting_down=shutting_down))


def due_active(pool: Pool, settings: Settings | None = None) -> list[str]:
    due = janitor.due_active_servers(pool, settings or Settings(), NOW)
    return [reason for _, reason in due]


def due_unused(pool: Pool, **settings: Any) -> list[str]:
    due = janitor.due_unused_servers(pool, Settings(**settings), NOW)
    return [reason for _, reason in due]


def fresh(ago: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A server that was last heard of `ago` seconds before NOW."""
    return {"connect_time": NOW - ago, "request_time": NOW - ago} | fields


# Clients


def test_an_idle_client_goes_after_client_idle_timeout() -> None:
    pool = make_pool(client_idle_timeout=10.0)
    (late,) = add_clients(pool, request_time=NOW - 10.1)
    add_clients(pool, request_time=NOW - 10.0)
    assert due_clients(pool) == [(late, "client_idle_timeout")]


def test_a_linked_client_is_not_idle() -> None:
    pool = make_pool(client_idle_timeout=10.0)
    add_link(pool, Client(request_time=NOW - 100), Server())
    assert due_clients(pool) == []


def test_without_timeouts_nobody_goes() -> None:
    pool = make_pool()
    add_clients(pool)
    add_clients(pool, waiting=True)
    assert due_clients(pool) == []


@pytest.mark.parametrize("reason", ["query_wait_timeout", "query_timeout"])
def test_a_waiting_client_goes_after(reason: str) -> None:
    pool = make_pool(**{reason: 10.0})
    (late,) = add_clients(pool, waiting=True, query_start=NOW - 10.1)
    add_clients(pool, waiting=True, query_start=NOW - 10.0)
    assert due_clients(pool) == [(late, reason)]


def test_query_timeout_comes_before_query_wait_timeout() -> None:
    pool = make_pool(query_timeout=10.0, query_wait_timeout=5.0)
    add_clients(pool, waiting=True, query_start=NOW - 11.0)
    add_clients(pool, waiting=True, query_start=NOW - 7.0)
    assert [reason for _, reason in due_clients(pool)] == ["query_timeout", "query_wait_timeout"]


def test_a_client_that_waits_for_its_welcome_has_waited_since_its_login() -> None:
    pool = make_pool(query_wait_timeout=10.0)
    (late,) = add_clients(pool, waiting=True, wait_start=NOW - 10.1)
    add_clients(pool, waiting=True, wait_start=NOW - 9.0)
    assert due_clients(pool) == [(late, "query_wait_timeout")]


def test_who_waits_while_servers_shut_down_goes_at_once() -> None:
    pool = make_pool(query_timeout=10.0)
    (waiting,) = add_clients(pool, waiting=True, query_start=NOW - 11.0)
    add_clients(pool)
    assert due_clients(pool, shutting_down=True) == [(waiting, "server shutting down")]


def test_a_queued_client_is_told_in_whole_seconds() -> None:
    pool = make_pool()
    (late,) = add_clients(pool, waiting=True, wait_start=NOW - 6.0)
    add_clients(pool, waiting=True, wait_start=NOW - 5.9)
    assert list(janitor.clients_to_notify(pool, Settings(query_wait_notify=5), NOW)) == [late]


def test_query_wait_notify_0_tells_nobody() -> None:
    pool = make_pool()
    add_clients(pool, waiting=True)
    assert list(janitor.clients_to_notify(pool, Settings(query_wait_notify=0), NOW)) == []


# Linked servers


@pytest.mark.parametrize(("ago", "due"), [(10.0, []), (10.1, ["query timeout"])])
def test_a_query_runs_for_query_timeout(ago: float, due: list[str]) -> None:
    pool = make_pool(query_timeout=10.0)
    add_link(pool, Client(request_time=NOW - ago, query_start=1.0), Server(ready=False))
    assert due_active(pool) == due


def test_a_replication_stream_has_no_timeout() -> None:
    timeouts = ("query_timeout", "transaction_timeout", "idle_transaction_timeout")
    pool = make_pool(**dict.fromkeys(timeouts, 10.0))
    add_link(pool, Client(request_time=NOW - 100), Server(ready=False))
    assert due_active(pool) == []


def test_query_timeout_does_not_end_an_idle_transaction() -> None:
    pool = make_pool(query_timeout=10.0)
    add_link(pool, Client(request_time=NOW - 100), Server(ready=False, idle_tx=True))
    assert due_active(pool) == []


@pytest.mark.parametrize(("ago", "due"), [(10.0, []), (10.1, ["idle transaction timeout"])])
def test_a_transaction_idles_for_idle_transaction_timeout(ago: float, due: list[str]) -> None:
    pool = make_pool(idle_transaction_timeout=10.0)
    add_link(pool, Client(), Server(ready=False, idle_tx=True, request_time=NOW - ago))
    assert due_active(pool) == due


def test_a_transaction_at_work_does_not_idle() -> None:
    pool = make_pool(idle_transaction_timeout=10.0)
    add_link(pool, Client(), Server(ready=False, request_time=NOW - 100))
    assert due_active(pool) == []


@pytest.mark.parametrize(("ago", "due"), [(10.0, []), (10.1, ["transaction timeout"])])
@pytest.mark.parametrize("idle_tx", [False, True])
def test_a_transaction_takes_transaction_timeout(ago: float, due: list[str], idle_tx: bool) -> None:
    pool = make_pool(transaction_timeout=10.0)
    client = Client(request_time=NOW, xact_start=NOW - ago)
    add_link(pool, client, Server(ready=False, idle_tx=idle_tx))
    assert due_active(pool) == due


def test_a_client_outside_a_transaction_has_no_transaction_timeout() -> None:
    pool = make_pool(transaction_timeout=10.0)
    add_link(pool, Client(xact_start=0.0), Server(ready=False))
    assert due_active(pool) == []


def test_a_server_that_owes_nothing_has_no_timeout() -> None:
    pool = make_pool(query_timeout=1.0, idle_transaction_timeout=1.0, transaction_timeout=1.0)
    add_link(pool, Client(xact_start=1.0), Server(ready=True))
    assert due_active(pool) == []


def test_server_fast_close_ends_sessions_between_transactions() -> None:
    pool = make_pool()
    add_link(pool, Client(), Server(ready=True, close_needed=True))
    add_link(pool, Client(), Server(ready=False, close_needed=True))
    assert due_active(pool) == []
    assert due_active(pool, Settings(server_fast_close=True)) == ["database configuration changed"]


# Servers that are not linked


@pytest.mark.parametrize("state", [SV_USED, SV_TESTED, SV_IDLE])
@pytest.mark.parametrize(("ago", "due"), [(600.0, []), (600.1, ["server idle timeout"])])
def test_a_server_idles_for_server_idle_timeout(state: int, ago: float, due: list[str]) -> None:
    pool = make_pool()
    add_servers(pool, state, **fresh(ago))
    assert due_unused(pool, server_check_query="") == due


@pytest.mark.parametrize("state", [SV_LOGIN, SV_ACTIVE, SV_BEING_CANCELED])
def test_servers_in_other_states_are_not_unused(state: int) -> None:
    pool = make_pool()
    add_servers(pool, state, **fresh(100_000.0, close_needed=True))
    assert due_unused(pool) == []


@pytest.mark.parametrize("state", [SV_USED, SV_TESTED, SV_IDLE])
def test_a_marked_server_goes_before_all_other_reasons(state: int) -> None:
    pool = make_pool()
    add_servers(pool, state, **fresh(100_000.0, close_needed=True, ready=False))
    assert due_unused(pool) == ["database configuration changed"]


def test_an_unlinked_server_has_to_be_ready() -> None:
    pool = make_pool()
    for state in (SV_USED, SV_TESTED, SV_IDLE):
        add_servers(pool, state, **fresh(ready=False))
    assert due_unused(pool) == ["SV_USED server got dirty", "SV_IDLE server got dirty"]


def test_min_pool_size_outlasts_server_idle_timeout() -> None:
    pool = make_pool(min_pool_size=2)
    add_servers(pool, SV_IDLE, 5, **fresh(601.0))
    assert due_unused(pool, server_check_query="") == ["server idle timeout"] * 3


def test_busy_servers_count_for_min_pool_size() -> None:
    pool = make_pool(min_pool_size=2)
    add_servers(pool, SV_ACTIVE, 2)
    add_servers(pool, SV_IDLE, 1, **fresh(601.0))
    assert due_unused(pool, server_check_query="") == ["server idle timeout"]


def test_a_server_that_goes_for_another_reason_is_not_kept_for_min_pool_size() -> None:
    pool = make_pool(min_pool_size=1)
    add_servers(pool, SV_IDLE, 1, **fresh(601.0, close_needed=True))
    add_servers(pool, SV_IDLE, 1, **fresh(601.0))
    assert due_unused(pool, server_check_query="") == ["database configuration changed"]


def test_server_idle_timeout_0_keeps_servers() -> None:
    pool = make_pool(server_lifetime=100_000.0)
    add_servers(pool, SV_IDLE, **fresh(5000.0))
    assert due_unused(pool, server_idle_timeout=0.0, server_check_query="") == []


@pytest.mark.parametrize(("age", "due"), [(99.9, []), (100.0, ["server lifetime over"])])
def test_a_server_goes_at_the_end_of_its_lifetime(age: float, due: list[str]) -> None:
    pool = make_pool(server_lifetime=100.0)
    add_servers(pool, SV_IDLE, connect_time=NOW - age, request_time=NOW)
    assert due_unused(pool) == due


def test_one_server_a_gap_goes_at_the_end_of_its_lifetime() -> None:
    pool = make_pool(server_lifetime=100.0, pool_size=4)
    add_servers(pool, SV_IDLE, 3, connect_time=NOW - 200, request_time=NOW)
    assert due_unused(pool) == ["server lifetime over"]
    assert due_unused(pool) == []


@pytest.mark.parametrize(("ago", "due"), [(30.0, []), (30.1, [""])])
def test_a_server_needs_its_check_query_after_server_check_delay(
    ago: float, due: list[str]
) -> None:
    pool = make_pool()
    add_servers(pool, SV_IDLE, **fresh(ago))
    assert due_unused(pool) == due


def test_only_idle_servers_come_to_need_the_check_query() -> None:
    pool = make_pool()
    for state in (SV_USED, SV_TESTED):
        add_servers(pool, state, **fresh(100.0))
    assert due_unused(pool) == []


def test_without_a_check_query_none_is_needed() -> None:
    pool = make_pool()
    add_servers(pool, SV_IDLE, **fresh(100.0))
    assert due_unused(pool, server_check_query="") == []


# Beyond pool_size


def test_a_pool_whose_size_was_lowered_gives_up_unused_servers() -> None:
    pool = make_pool(pool_size=2)
    add_servers(pool, SV_ACTIVE)
    idle = add_servers(pool, SV_IDLE, 2)
    used = add_servers(pool, SV_USED)
    due = list(janitor.surplus_servers(pool))
    assert due == [(server, "too many servers in the pool") for server in (used[0], idle[0])]


def test_servers_at_work_stay_though_they_are_too_many() -> None:
    pool = make_pool(pool_size=1)
    add_servers(pool, SV_ACTIVE, 5)
    assert list(janitor.surplus_servers(pool)) == []


def test_servers_of_the_reserve_stay_till_they_idle_for_too_long() -> None:
    pool = make_pool(pool_size=2, reserve_pool_size=3)
    add_servers(pool, SV_IDLE, 6, **fresh())
    assert len(list(janitor.surplus_servers(pool))) == 1


@pytest.mark.parametrize("pool_size", [0, 3])
def test_a_pool_within_its_size_keeps_its_servers(pool_size: int) -> None:
    pool = make_pool(pool_size=pool_size)
    add_servers(pool, SV_IDLE, 3)
    assert list(janitor.surplus_servers(pool)) == []
