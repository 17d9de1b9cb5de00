"""What the page is told of a reading."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pgmux.monitor.sample import take_sample
from pgmux.web.readings import Reading, Readings
from pgmux.web.view import MAX_OF_A_POOL, MAX_POOLS, rank_pools, view_pools, view_reading
from tests.fixtures.scripted_console import NEW, OLD, Row, ScriptedConsole

Answers = dict[str, list[Row]]


def read(*samples: Answers, every: float = 2.0) -> Reading:
    """The last of these samples, taken one after another."""

    async def take() -> Reading:
        readings = Readings()
        for step, answers in enumerate(samples):
            sample = await take_sample(ScriptedConsole(answers), 100.0 + step * every)
            reading = readings.add(sample)
        return reading

    return asyncio.run(take())


def changed(answers: Answers, name: str, **values: int | str) -> Answers:
    """The answers with other values in all rows of a table."""
    rows = [row | {key: str(value) for key, value in values.items()} for row in answers[name]]
    return answers | {name: rows}


def view(reading: Reading) -> Any:
    """As the page gets it."""
    return json.loads(json.dumps(view_reading(reading)))


def pools(reading: Reading, text: str = "") -> Any:
    return json.loads(json.dumps(view_pools(rank_pools(reading), text)))


def many(count: int, **values: int | str) -> Answers:
    """A console with that many pools beside the first."""
    row = NEW["POOLS"][0] | {"cl_waiting": "0", "maxwait": "0", "maxwait_us": "0"}
    rows = [row | {"database": f"tenant_{i}", "user": "web"} for i in range(count)]
    rows[0] = rows[0] | {key: str(value) for key, value in values.items()}
    return NEW | {"POOLS": [*NEW["POOLS"], *rows]}


def test_a_pool_is_told_with_its_limit_and_times_in_microseconds() -> None:
    (row,) = pools(read(NEW))["rows"]
    assert (row["database"], row["user"], row["limit"]) == ("app", "web", 9)
    assert (row["sv_active"], row["sv_idle"], row["sv_other"]) == (4, 2, 0)
    assert (row["cl_waiting"], row["maxwait"]) == (2, 1_500_000)


def test_the_consoles_own_pool_is_not_shown() -> None:
    assert [row["database"] for row in pools(read(NEW))["rows"]] == ["app"]
    assert view(read(NEW))["totals"]["cl_active"] == 3


def test_a_first_sample_has_no_rates_and_says_so_by_none() -> None:
    totals = view(read(NEW))["totals"]
    assert (totals["xacts"], totals["wait_p99"], totals["cl_waiting"]) == (None, None, 2)


def test_rates_are_of_the_last_seconds() -> None:
    reading = read(NEW, changed(NEW, "STATS_TOTALS", xact_count=150))
    assert view(reading)["totals"]["xacts"] == 25.0


def test_of_a_thousand_pools_the_first_are_shown_and_who_waits_is_among_them() -> None:
    reading = read(many(1000, cl_waiting=1, maxwait=30))
    shown = pools(reading)
    assert (shown["all"], shown["matching"], len(shown["rows"])) == (1001, 1001, MAX_POOLS)
    assert [row["database"] for row in shown["rows"][:2]] == ["tenant_0", "app"]
    assert len(json.dumps(shown)) < 30_000


def test_a_filter_finds_databases_and_users_in_any_case() -> None:
    reading = read(many(1000))
    shown = pools(reading, "TENANT_77")
    assert shown["matching"] == 11
    assert pools(reading, "web")["matching"] == 1001
    assert pools(reading, "nobody") == {"rows": [], "matching": 0, "all": 1001}


def test_what_pgbouncer_does_not_have_is_none_and_not_empty() -> None:
    shown = view(read(OLD, OLD))
    assert not shown["is_pgmux"]
    assert [name for name, part in shown.items() if part is None] == [
        *("apps", "waiters", "errors", "hosts", "readiness")
    ]
    assert shown["totals"]["wait_p99"] is None


def test_pgbouncers_pools_have_the_rates_of_databases_with_a_single_pool() -> None:
    busier = changed(OLD, "STATS_TOTALS", xact_count=150)
    (row,) = pools(read(OLD, busier))["rows"]
    assert (row["xacts"], row["wait_p99"]) == (25.0, None)
    second = OLD["POOLS"][0] | {"user": "other"}
    rows = pools(read(OLD, busier | {"POOLS": [*OLD["POOLS"], second]}))["rows"]
    assert [row["xacts"] for row in rows] == [None, None]


def test_applications_are_ranked_by_server_time_held_over_the_last_minute() -> None:
    def after(seconds: int) -> Answers:
        worker, nameless = NEW["APPS"]
        return NEW | {
            "APPS": [
                worker | {"server_time": str(6_000_000 + seconds * 500_000)},
                nameless | {"server_time": str(1_000_000 + seconds * 2_000_000)},
            ]
        }

    shown = view(read(*(after(2 * step) for step in range(60))))["apps"]
    assert 55 <= shown["seconds"] <= 66
    assert [row["application_name"] for row in shown["rows"]] == ["", "worker"]
    assert [round(row["held"], 3) for row in shown["rows"]] == [2.0, 0.5]
    assert shown["rows"][0]["share"] == 0.8


def test_an_application_that_has_gone_is_shown_for_a_minute() -> None:
    gone = changed(NEW, "APPS", cl_active=0, cl_waiting=0)
    later = changed(gone, "APPS", server_time=9_000_000)
    assert view(read(gone, later))["apps"]["all"] == 2
    assert view(read(gone, *[later] * 60))["apps"]["all"] == 0


def test_errors_of_the_last_minutes_come_first_and_are_forgotten_after_five() -> None:
    def after(step: int) -> Answers:
        refused, violation = NEW["ERRORS"]
        return NEW | {"ERRORS": [refused, violation | {"count": str(5 + min(step, 3))}]}

    shown = view(read(*map(after, range(10))))["errors"]
    assert shown["lately"] == 3
    assert [(row["error"], row["lately"], row["count"]) for row in shown["rows"]] == [
        ("unique_violation", 3, 8),
        ("no more connections allowed (max_client_conn)", 0, 3),
    ]
    assert view(read(*map(after, range(40)), every=10.0))["errors"]["lately"] == 0


def test_one_long_queue_does_not_hide_who_holds_the_servers() -> None:
    waiter, holder = NEW["WAITERS"]
    queue = [waiter | {"client_id": str(i)} for i in range(500)]
    shown = view(read(NEW | {"WAITERS": [*queue, holder]}))["waiters"]
    assert (shown["waiting"], shown["holding"], shown["all"]) == (500, 1, 501)
    roles = [row["role"] for row in shown["rows"]]
    assert roles == ["waiting"] * MAX_OF_A_POOL + ["holding"]


def test_hosts_are_told_without_what_is_reserved_and_the_fullest_first() -> None:
    rows = view(read(NEW))["hosts"]["rows"]
    assert [(row["host"], row["usable"], row["connections"]) for row in rows] == [
        ("db1", 97, 6),
        ("db2", None, 0),
    ]


def test_what_is_not_ready_is_said_with_its_reason() -> None:
    condition = view(read(NEW))["condition"]
    assert condition["kind"] == "bad"
    assert condition["text"] == "1 not ready"
    assert condition["trouble"] == ["database app: server login failed."]


def test_paused_is_said_before_anything_else() -> None:
    paused = changed(NEW, "STATE", value="no")
    paused["STATE"][1] = {"key": "paused", "value": "yes"}
    assert view(read(paused))["condition"] == {
        "text": "paused",
        "kind": "bad",
        "trouble": ["database app: server login failed."],
    }


@pytest.mark.parametrize(
    ("check", "reason", "text"),
    [
        ("listening", "the pooler is shutting down", "shutting down"),
        ("listening", "no socket", "not listening"),
        ("configuration", "the last RELOAD failed", "configuration not ready"),
    ],
)
def test_the_word_beside_the_name_says_what_keeps_the_pooler_from_being_ready(
    check: str, reason: str, text: str
) -> None:
    (row,) = NEW["READINESS"]
    own = row | {"check": check, "name": "", "reason": reason}
    condition = view(read(NEW | {"READINESS": [own, row]}))["condition"]
    assert (condition["text"], condition["trouble"][0]) == (text, f"{check}: {reason}.")


def test_a_long_list_of_troubles_is_cut() -> None:
    (row,) = NEW["READINESS"]
    reading = read(NEW | {"READINESS": [row | {"name": f"db{i}"} for i in range(100)]})
    trouble = view(reading)["condition"]["trouble"]
    assert (len(trouble), trouble[-1]) == (6, "And 95 more.")
    assert view(reading)["readiness"] == "Ready: databases: 0 of 100"


def test_whole_samples_are_kept_for_seconds_only() -> None:
    readings = Readings()

    async def take(step: int) -> None:
        readings.add(await take_sample(ScriptedConsole(NEW), 100.0 + 2 * step))

    for step in range(200):
        asyncio.run(take(step))
    assert len(readings._lately) <= 4
    assert len(readings._minute) <= 15
    assert not any(sample.histograms for sample in readings._minute)
