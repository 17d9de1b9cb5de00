"""The tables, as they are drawn from pictures."""

from __future__ import annotations

import asyncio

import pytest

from pgmux.monitor.sample import Connections, take_connections
from pgmux.ops.top import panes
from pgmux.ops.top.table import Table, filter_rows, sort_rows
from tests.fixtures.scripted_console import NEW, OLD, ScriptedConsole
from tests.unit.ops.top.pictures import CLIENTS, SERVERS, Answers, changed, take_picture


def shown(table: Table) -> list[dict[str, str]]:
    """The rows as text, by heading."""
    titles = [column.title for column in table.columns]
    cells = [
        [column.show(value) for column, value in zip(table.columns, row.values, strict=True)]
        for row in table.rows
    ]
    return [dict(zip(titles, row, strict=True)) for row in cells]


BUSIER = changed(
    changed(
        changed(NEW, "STATS_TOTALS", xact_count=200, query_count=240, bytes_sent=8000),
        "HISTOGRAMS",
        buckets="1:50,16:59,20480:1",
        count=110,
    ),
    "HISTOGRAMS",
    1,
    buckets="640:120",
    count=120,
)


def test_a_pool_has_its_load_limits_and_times() -> None:
    [row] = shown(panes.pools(take_picture(NEW, BUSIER)))
    assert row == {
        "database": "app",
        "user": "web",
        "clients": "3",
        "waiting": "2",
        "max wait": "1.5s",
        "servers": "4",
        "idle": "2",
        "size": "9",
        "tx/s": "10",
        "query/s": "0",
        "wait p50": "16µs",
        "wait p99": "16µs",
        "tx p99": "640µs",
        "query p99": "–",
        "login": "0",
        "mode": "transaction",
    }


def test_a_first_picture_has_no_rates() -> None:
    [row] = shown(panes.pools(take_picture(NEW)))
    assert (row["tx/s"], row["wait p99"], row["clients"]) == ("–", "–", "3")
    assert shown(panes.databases(take_picture(NEW)))[0]["tx/s"] == "–"
    assert shown(panes.applications(take_picture(NEW)))[0]["held"] == "–"


def test_what_a_pgbouncer_does_not_tell_has_no_column_and_no_pane() -> None:
    picture = take_picture(OLD, OLD)
    assert "wait p99" not in shown(panes.pools(picture))[0]
    told = [pane.name for pane in panes.PANES if pane.is_told(picture)]
    assert told == ["pools", "databases"]
    assert all(pane.is_told(take_picture(NEW)) for pane in panes.PANES)


def test_a_database_has_rates_and_mean_times() -> None:
    [row] = shown(
        panes.databases(take_picture(NEW, changed(BUSIER, "STATS_TOTALS", xact_time=6e6)))
    )
    assert row["tx/s"] == "50"
    assert row["out/s"] == "2.0kB"
    assert row["tx time"] == "10ms"
    assert (row["servers"], row["state"]) == ("6", "disabled")


def test_applications_are_ranked_by_the_server_time_that_they_held() -> None:
    picture = take_picture(NEW, changed(NEW, "APPS", 1, server_time=4_000_000))
    rows = shown(panes.applications(picture))
    assert [(row["application"], row["held"], row["share"]) for row in rows] == [
        ("(none)", "1.5", "100%"),
        ("worker", "0", "0%"),
    ]


def test_an_application_opens_the_pool_of_the_user_that_its_database_forces() -> None:
    forced = changed(NEW, "DATABASES", 1, force_user="owner")
    assert panes.applications(take_picture(forced)).rows[0].pool == ("app", "owner")
    assert panes.applications(take_picture(NEW)).rows[0].pool == ("app", "web")


def test_waiters_come_with_who_holds_the_servers() -> None:
    rows = shown(panes.waiters(take_picture(NEW)))
    assert [(row["role"], row["for"], row["state"], row["server pid"]) for row in rows] == [
        ("waiting", "1.5s", "pool_size", ""),
        ("holding", "1m01s", "idle in transaction", "4711"),
    ]
    of_pool = panes.waiters_of(take_picture(NEW), ("app", "web"))
    assert len(of_pool.rows) == 2
    assert panes.waiters_of(take_picture(NEW), ("app", "other")).rows == []


def test_errors_that_come_now_are_first() -> None:
    rows = shown(panes.errors(take_picture(NEW, changed(NEW, "ERRORS", count=7))))
    assert [(row["error"], row["per s"], row["count"]) for row in rows] == [
        ("no more connections allowed (max_client_conn)", "2.0", "7"),
        ("unique_violation", "0", "5"),
    ]


def test_connects_and_hosts_are_shown() -> None:
    assert shown(panes.connects(take_picture(NEW)))[1]["reason"] == "client close request"
    rows = shown(panes.hosts(take_picture(NEW)))
    assert [row["max_connections"] for row in rows] == ["100", "–"]


def connections() -> Connections:
    console = ScriptedConsole(NEW | {"CLIENTS": CLIENTS, "SERVERS": SERVERS})
    return asyncio.run(take_connections(console, take_picture(NEW).sample, ("app", "web")))


def test_a_pools_connections_are_those_that_work_or_wait_first() -> None:
    clients = shown(panes.clients_of(connections()))
    assert [(row["state"], row["wait"], row["port"]) for row in clients] == [
        ("waiting", "2.2s", "40002"),
        ("active", "0", "40001"),
    ]
    servers = shown(panes.servers_of(connections()))
    assert [(row["state"], row["pid"]) for row in servers] == [("active", "4711"), ("idle", "4710")]


HOSTILE = "\x1b[31m\u202eevil\n[red]bold[/red]" + "€"


@pytest.mark.parametrize("answers", [changed(NEW, "APPS", application_name=HOSTILE)])
def test_a_hostile_name_is_written_out(answers: Answers) -> None:
    row = shown(panes.applications(take_picture(answers)))[0]
    assert row["application"] == "\\x1B[31m\\u202Eevil\\x0A[red]bold[/red]€"


# Sorting and filtering


def many() -> Table:
    pool = NEW["POOLS"][0]
    answers = NEW | {
        "POOLS": [
            pool | {"database": name, "cl_active": str(number)}
            for number, name in enumerate(("beta", "Alpha", "gamma"))
        ]
    }
    return panes.pools(take_picture(answers))


def first_names(table: Table, column: int | None, *, is_reversed: bool = False) -> list[object]:
    return [row.values[0] for row in sort_rows(table, column, is_reversed=is_reversed)]


def test_numbers_sort_from_the_highest_and_text_from_a() -> None:
    assert first_names(many(), None) == ["gamma", "Alpha", "beta"]
    assert first_names(many(), 2) == ["gamma", "Alpha", "beta"]
    assert first_names(many(), 2, is_reversed=True) == ["beta", "Alpha", "gamma"]
    assert first_names(many(), 0) == ["Alpha", "beta", "gamma"]
    assert first_names(many(), 0, is_reversed=True) == ["gamma", "beta", "Alpha"]


def test_what_is_not_told_sorts_last_either_way() -> None:
    table = panes.hosts(take_picture(NEW))
    column = [column.title for column in table.columns].index("max_connections")
    for is_reversed in (False, True):
        assert first_names(table, column, is_reversed=is_reversed) == ["db1", "db2"]


def test_a_filter_looks_into_names_in_any_case() -> None:
    table = many()
    assert [row.values[0] for row in filter_rows(table, table.rows, "ALPH")] == ["Alpha"]
    assert filter_rows(table, table.rows, "4") == []  # numbers aren't names
    assert len(filter_rows(table, table.rows, "")) == 3
    apps = panes.applications(take_picture(NEW))
    assert len(filter_rows(apps, apps.rows, "(none)")) == 1
