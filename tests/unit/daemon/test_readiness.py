"""SHOW READINESS: which databases a client could work in now, and why not in the others."""

from __future__ import annotations

from pgmux.config.model import Database
from pgmux.daemon.readiness import UNTRIED, Readiness
from pgmux.pool.pool import Failure
from pgmux.session import operator
from tests.unit.session.rig import Rig, linked, with_databases

REFUSED = Failure("connect failed: Connection refused")


def rows(rig: Rig, listening: str = "", reload: str = "") -> list[tuple[str, str, bool, str]]:
    readiness = Readiness(rig.pooler, lambda: listening, lambda: reload)
    return [(row.check, row.name, row.ready, row.reason) for row in readiness.rows()]


def database(rig: Rig, name: str = "app") -> tuple[bool, str]:
    (found,) = [row[2:] for row in rows(rig) if row[:2] == ("database", name)]
    return found


def test_a_database_that_nobody_has_used_is_ready_as_far_as_is_known() -> None:
    rig = Rig(with_databases(Database("app", "app")))
    assert database(rig) == (True, UNTRIED)


def test_a_database_with_a_server_is_ready_also_when_it_is_busy() -> None:
    rig = Rig()
    linked(rig)
    assert database(rig) == (True, "")


def test_one_whose_server_refuses_is_not_and_says_why_till_it_is_connected() -> None:
    rig = Rig()
    rig.enter().query()
    rig.refuse("connect failed: Connection refused")
    assert database(rig) == (False, "connect failed: Connection refused")
    rig.pass_time(15)
    rig.log_in()
    assert database(rig) == (True, "")


def test_a_failed_connect_beside_a_server_is_no_reason() -> None:
    rig = Rig()
    linked(rig)
    for control in rig.pooler.pools.values():
        control.pool.failure = REFUSED
    assert database(rig) == (True, "")


def test_pause_and_disable_are_reasons() -> None:
    rig = Rig()
    linked(rig)
    operator.hold(rig.pooler, "app", held=True)
    assert database(rig) == (False, "paused")
    operator.hold(rig.pooler, "app", held=False)
    operator.hold(rig.pooler, None, held=True)
    assert database(rig) == (False, "paused")
    operator.hold(rig.pooler, None, held=False)
    rig.pooler.databases["app"].disabled = True
    assert database(rig) == (False, "disabled")


def test_a_name_that_a_client_has_made_up_makes_nothing_unready() -> None:
    rig = Rig()
    rig.enter().query()
    rig.pooler.databases["app"].is_auto = True
    rig.refuse("server login failed", "3D000", 'database "app" does not exist')
    assert database(rig)[0]
    rig.pooler.databases["app"].is_auto = False
    assert database(rig) == (False, 'database "app" does not exist')


def test_the_process_and_its_configuration_come_first() -> None:
    rig = Rig()
    assert rows(rig)[:2] == [("listening", "", True, ""), ("configuration", "", True, "")]
    assert rows(rig, "the pooler is shutting down", "x.ini:3: unknown parameter")[:2] == [
        ("listening", "", False, "the pooler is shutting down"),
        ("configuration", "", False, "x.ini:3: unknown parameter"),
    ]
