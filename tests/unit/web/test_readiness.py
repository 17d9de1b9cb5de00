"""When a pooler counts as ready, by its own checks or by what a PgBouncer shows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from pgmux.monitor.console import Row
from pgmux.web.readiness import Check, Readiness, read_readiness
from tests.unit.web.rows import DATABASE, POOL, TABLES, FakeConsole

UP = Check("listening", "", True)
GOOD, BAD = Check("database", "good", True), Check("database", "bad", False, "refused")
OLD_CONFIG = Check("configuration", "", False, "line 3")


def why_not(*checks: Check, strict: bool = False, database: str | None = None) -> str:
    return Readiness(checks).why_not(strict=strict, database=database)


def test_a_pooler_that_listens_and_can_have_a_server_is_ready() -> None:
    assert why_not(UP, GOOD) == ""
    assert why_not(UP) == ""  # no database has been asked for yet


def test_one_database_of_several_may_fail_but_for_the_strict() -> None:
    assert why_not(UP, GOOD, BAD) == ""
    assert why_not(UP, GOOD, BAD, strict=True) == "database bad: refused"


def test_without_any_database_it_is_not_ready() -> None:
    assert why_not(UP, BAD) == "no database can have a server: database bad: refused"


def test_a_bad_configuration_is_for_the_strict_alone() -> None:
    assert why_not(UP, GOOD, OLD_CONFIG) == ""
    assert why_not(UP, GOOD, OLD_CONFIG, strict=True) == "configuration: line 3"


def test_who_does_not_listen_is_not_ready() -> None:
    down = Check("listening", "", False, "shutting down")
    assert why_not(down, GOOD) == "listening: shutting down"
    assert why_not(down, GOOD, database="good") == "listening: shutting down"


def test_one_database_can_be_asked_about() -> None:
    assert why_not(UP, GOOD, BAD, database="good") == ""
    assert why_not(UP, GOOD, BAD, database="bad") == "database bad: refused"
    assert why_not(UP, GOOD, database="none") == "no such database: none"


def test_no_checks_at_all_are_no_yes() -> None:
    assert why_not() == "the console has told nothing"
    assert why_not(Check("", "", False)) == "the console has not told whether the pooler listens"


def ask(tables: Mapping[str, Sequence[Row]], *, is_gone: bool = False) -> Readiness:
    return asyncio.run(read_readiness(FakeConsole(tables, is_gone=is_gone)))


def test_a_console_that_cannot_be_reached_is_the_reason() -> None:
    assert ask(TABLES, is_gone=True).why_not() == "no connection to the console at db1:6432"


def test_the_poolers_own_checks_are_taken_where_it_has_them() -> None:
    row: Row = {"check": "listening", "name": "", "ready": "0", "reason": "shutting down"}
    assert ask(TABLES | {"READINESS": [row]}).why_not() == "listening: shutting down"


NO_SERVERS = {name: "0" for name in POOL if name.startswith("sv_")}


@pytest.mark.parametrize(
    ("database", "pool", "reason"),
    [
        ({"disabled": "0"}, {}, ""),
        ({"disabled": "1"}, {}, "disabled"),
        ({"disabled": "0", "paused": "1"}, {}, "paused"),
        ({"disabled": "0"}, NO_SERVERS, "clients wait and there is no server connection"),
        ({"disabled": "0"}, NO_SERVERS | {"cl_waiting": "0"}, ""),
        ({"disabled": "0"}, NO_SERVERS | {"database": "another"}, ""),
    ],
)
def test_of_a_pgbouncer_it_is_inferred(
    database: dict[str, str], pool: dict[str, str], reason: str
) -> None:
    console: Row = {"name": "pgbouncer", "paused": "1"}
    tables = {"DATABASES": [console, DATABASE | database], "POOLS": [POOL | pool]}
    checks = ask(TABLES | tables).checks
    assert list(checks) == [UP, Check("database", "db", not reason, reason)]


def test_a_suspended_pgbouncer_does_not_listen() -> None:
    tables = {"STATE": [{"key": "suspended", "value": "yes"}]}
    assert ask(TABLES | tables).why_not() == "listening: suspended"
