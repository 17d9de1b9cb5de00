"""SHOW WAITERS: who waits and why, who holds the servers."""

from __future__ import annotations

import pytest

from pgmux.config import Database, PoolMode
from pgmux.daemon import waiters
from pgmux.daemon.activity import app_rows
from pgmux.daemon.waiters import waiter_rows
from pgmux.metrics.snapshot import WaiterRow
from tests.unit.session.rig import Rig, configure, idle, linked


def rows(rig: Rig) -> list[WaiterRow]:
    return list(waiter_rows(rig.pooler))


def one_of_each(**settings: object) -> Rig:
    rig = Rig(configure(default_pool_size=1, **settings))
    linked(rig, {"application_name": "holder"})
    rig.enter({"application_name": "waiter"}).query()
    return rig


def test_where_nobody_waits_nobody_is_shown() -> None:
    rig = Rig()
    linked(rig)
    assert rows(rig) == []


def test_who_waits_and_who_holds() -> None:
    rig = one_of_each()
    rig.now += 2.5
    waiter, holder = rows(rig)
    assert (waiter.role, waiter.application_name, waiter.state) == (
        *("waiting", "waiter"),
        "pool_size",
    )
    assert (waiter.database, waiter.user, waiter.addr, waiter.port) == (
        *("app", "bob", "10.0.0.9"),
        4711,
    )
    assert (waiter.duration, waiter.server_pid) == (2.5, None)
    assert (holder.role, holder.application_name, holder.state) == ("holding", "holder", "active")
    assert (holder.duration, holder.server_pid) == (2.5, 0)
    assert {waiter.client_id, holder.client_id} == {
        client.owner.id
        for client in (
            *rig.control().pool.lists.waiting_clients(),
            *rig.control().pool.lists.active_clients(),
        )
    }


def test_who_waits_for_the_pools_first_server_has_its_name() -> None:
    rig = Rig()
    rig.enter({"application_name": "early"})
    (waiter,) = rows(rig)
    assert (waiter.role, waiter.application_name) == ("waiting", "early")


def test_the_queue_comes_in_its_order_and_the_longest_holder_first() -> None:
    rig = Rig(configure(default_pool_size=2))
    for name in ("first", "second"):
        rig.enter({"application_name": name}).query()
        if rig.pending():
            rig.log_in()
        rig.now += 1
    for name in ("third", "fourth"):
        rig.enter({"application_name": name}).query()
        rig.now += 1
    found = [(row.role, row.application_name, row.duration) for row in rows(rig)]
    assert found == [
        ("waiting", "third", 2.0),
        ("waiting", "fourth", 1.0),
        ("holding", "first", 4.0),
        ("holding", "second", 3.0),
    ]


def test_an_idle_transaction_is_told_from_one_that_works() -> None:
    rig = Rig(configure(default_pool_size=1))
    _, server = linked(rig)
    server.answer("BEGIN", ord("T"))
    rig.enter().query()
    assert [row.state for row in rows(rig)] == ["pool_size", "idle in transaction"]


def test_a_session_that_asks_nothing_is_idle() -> None:
    rig = Rig(configure(PoolMode.SESSION, default_pool_size=1))
    _, server = linked(rig)
    server.answer()
    rig.enter().query()
    assert [row.state for row in rows(rig)] == ["pool_size", "idle"]


def test_who_waits_for_a_login_is_told_from_who_waits_for_a_place() -> None:
    rig = Rig(configure(default_pool_size=1))
    for _ in range(2):
        rig.enter().query()
    assert [row.state for row in rows(rig)] == ["server login", "pool_size"]


def test_a_limit_is_named() -> None:
    rig = Rig(configure(max_user_connections=1))
    linked(rig)
    rig.enter().query()
    assert rows(rig)[0].state == "max_user_connections"
    rig = Rig(configure(max_db_connections=1))
    linked(rig)
    rig.enter().query()
    assert rows(rig)[0].state == "max_db_connections"


def test_a_pause_and_a_server_that_is_down_are_named() -> None:
    rig = one_of_each()
    rig.control().hold(True)
    assert rows(rig)[0].state == "paused"
    rig = Rig()
    rig.enter().query()
    rig.refuse()
    assert rows(rig)[0].state == "server_login_retry"


def test_a_hostile_name_is_printable_and_short() -> None:
    rig = Rig(configure(default_pool_size=1))
    linked(rig)
    rig.enter({"application_name": "a\n\x1b[31m\u202e\udcff" + "x" * 3_000_000}).query()
    (name,) = (row.application_name for row in rows(rig) if row.role == "waiting")
    assert name.startswith("a??[31m??xxx") and len(name) == 63


def test_who_is_served_meanwhile_is_left_out() -> None:
    rig = Rig(configure(default_pool_size=1))
    first, server = linked(rig)
    for name in ("second", "third"):
        rig.enter({"application_name": name}).query()
    found = waiter_rows(rig.pooler)
    assert next(found).application_name == "second"
    server.answer()
    assert [row.application_name for row in found] == ["third"]
    assert first.relay.linked_server is None


def test_of_ten_thousand_waiters_a_row_is_made_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(configure(default_pool_size=1, max_client_conn=20_000))
    idle(rig)
    rig.control().hold(True)
    for _ in range(10_000):
        rig.enter().query()
    made = []
    monkeypatch.setattr(waiters, "wall_time", lambda ago: made.append(ago) or "")
    found = waiter_rows(rig.pooler)
    for count in range(1, 4):
        next(found)
        assert len(made) == count
    assert sum(1 for _ in found) == 9_997


def contended() -> Rig:
    """The database's one server is bob's, and eve waits."""
    rig = Rig(configure(max_db_connections=1))
    linked(rig, {"application_name": "holder"})
    rig.enter({"application_name": "waiter"}, user="eve").query()
    return rig


def test_who_waits_for_a_place_of_the_database_waits_for_holders_in_other_pools() -> None:
    waiter, holder = rows(contended())
    assert (waiter.user, waiter.role, waiter.state) == ("eve", "waiting", "max_db_connections")
    assert (holder.user, holder.role, holder.application_name) == ("bob", "holding", "holder")


def test_a_holder_that_several_pools_wait_for_is_shown_once() -> None:
    rig = contended()
    rig.enter(user="mallory").query()
    rig.enter().query()
    found = [(row.user, row.role) for row in rows(rig)]
    assert found == [
        ("bob", "waiting"),
        ("bob", "holding"),
        ("eve", "waiting"),
        ("mallory", "waiting"),
    ]


def test_who_holds_a_place_of_the_database_has_caused_the_waits_in_other_pools() -> None:
    rig = contended()
    for _ in range(4):
        rig.pass_time(0.5)
    apps = {row.application_name: row for row in app_rows(rig.pooler) if row is not None}
    assert apps["holder"].wait_caused_time == 2.0
    assert apps["waiter"].wait_caused_time == 0.0


def test_a_pause_is_nobodys_fault() -> None:
    rig = one_of_each()
    rig.control().hold(True)
    rig.pass_time(0.5)
    assert [row.wait_caused_time for row in app_rows(rig.pooler) if row is not None] == [0.0, 0.0]


def test_pools_come_by_database_and_user() -> None:
    databases = {name: Database(name, name) for name in ("b", "a")}
    rig = Rig(configure())
    rig.reload(databases=databases)
    for database, user in (("b", "bob"), ("a", "eve"), ("a", "bob")):
        rig.enter(database=database, user=user).query()
    found = [(row.database, row.user) for row in rows(rig)]
    assert found == [("a", "bob"), ("a", "eve"), ("b", "bob")]
