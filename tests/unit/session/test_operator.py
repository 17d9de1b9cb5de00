"""What an operator does: PAUSE, RESUME, RECONNECT, KILL, RELOAD."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgmux.config import Database, PoolMode
from pgmux.config.model import PgmuxSettings
from pgmux.errors import ConfigError, PoolerError, Problem
from pgmux.pool.states import (
    CL_WAITING,
    SV_ACTIVE,
    SV_BEING_CANCELED,
    SV_IDLE,
    SV_TESTED,
)
from pgmux.session import operator
from pgmux.wire import build
from tests.unit.session.rig import Rig, configure, idle, linked, with_databases


def session(**settings: Any) -> Rig:
    return Rig(configure(PoolMode.SESSION, **settings))


# PAUSE and RESUME


def test_pause_closes_unused_servers_and_waits_for_the_others() -> None:
    rig = Rig()
    client, unused = idle(rig)
    busy = rig.enter()
    client.query()
    busy.query()
    server = rig.log_in()
    unused.answer()
    assert operator.busy_count(rig.pooler) == 1
    operator.hold(rig.pooler, None, held=True)
    assert (unused.is_closed, server.is_closed, operator.busy_count(rig.pooler)) == (True, False, 1)
    server.answer()
    assert (server.is_closed, operator.busy_count(rig.pooler)) == (True, 0)
    assert not busy.is_closed


def test_who_asks_while_paused_waits_for_resume() -> None:
    rig = Rig()
    client, _ = idle(rig)
    operator.hold(rig.pooler, "app", held=True)
    client.query("SELECT 2")
    rig.pass_time(1.0)
    assert (client.relay.state, rig.pending()) == (CL_WAITING, [])
    operator.hold(rig.pooler, "app", held=False)
    assert rig.log_in().asked() == ["SELECT 2"]


def test_pause_ends_connects_under_way() -> None:
    rig = Rig()
    client = rig.enter()
    (attempt,) = rig.pending()
    operator.hold(rig.pooler, None, held=True)
    assert attempt.canceled == "pause mode"
    assert (rig.pending(), rig.control().pool.failure) == ([], None)
    operator.hold(rig.pooler, None, held=False)
    rig.log_in()
    assert client.kinds() == "RSSSKZ"


def test_a_paused_database_stays_paused_when_another_or_all_resume() -> None:
    rig = Rig(with_databases(Database("a", "x"), Database("b", "x")))
    for name in ("a", "b"):
        rig.enter(database=name)
        rig.log_in()
    operator.hold(rig.pooler, "a", held=True)
    operator.hold(rig.pooler, None, held=True)
    operator.hold(rig.pooler, None, held=False)
    assert rig.control("a").pool.lists.held
    assert not rig.control("b").pool.lists.held
    operator.hold(rig.pooler, None, held=True)
    operator.hold(rig.pooler, "a", held=False)
    assert rig.control("a").pool.lists.held


def test_a_pool_made_while_paused_is_paused() -> None:
    rig = Rig()
    operator.hold(rig.pooler, None, held=True)
    client = rig.enter()
    assert rig.pending() == []
    operator.hold(rig.pooler, None, held=False)
    rig.log_in()
    assert client.kinds() == "RSSSKZ"


def test_pause_ends_a_session_at_its_end_without_a_reset() -> None:
    rig = session()
    client, server = linked(rig)
    server.answer()
    operator.hold(rig.pooler, None, held=True)
    assert not server.is_closed
    client.lose()
    assert server.asked() == []
    assert server.is_closed


def test_a_server_being_tested_or_canceled_is_closed_when_that_is_over() -> None:
    rig = session()
    client, tested = linked(rig)
    tested.answer()
    client.lose()
    assert tested.relay.state == SV_TESTED
    operator.hold(rig.pooler, None, held=True)
    assert (tested.is_closed, operator.busy_count(rig.pooler)) == (False, 1)
    tested.answer("DISCARD ALL")
    assert (tested.is_closed, operator.busy_count(rig.pooler)) == (True, 0)


def test_a_cancel_request_that_is_through_while_paused_frees_no_server() -> None:
    rig = Rig()
    client, server = linked(rig)
    info = client.relay.owner
    rig.pooler.cancel(info.cancel_pid, info.cancel_key, lambda reason: None)
    server.answer()
    assert server.relay.state == SV_BEING_CANCELED
    operator.hold(rig.pooler, None, held=True)
    rig.cancels[0].done()
    assert server.is_closed


def test_what_ends_is_told_to_who_waits_for_it() -> None:
    rig = Rig()
    told: list[int] = []
    rig.pooler.on_change = lambda: told.append(operator.busy_count(rig.pooler))
    _, server = linked(rig)
    operator.hold(rig.pooler, None, held=True)
    server.answer()
    assert told[-1] == 0


# RECONNECT and KILL


def test_reconnect_closes_unused_servers_at_once_and_others_at_their_release() -> None:
    rig = Rig()
    client, unused = idle(rig)
    busy = rig.enter()
    client.query()
    busy.query()
    server = rig.log_in()
    unused.answer()
    operator.reconnect(rig.pooler, "app")
    assert (unused.is_closed, server.is_closed) == (True, False)
    assert operator.close_needed_count(rig.pooler) == 1
    server.answer()
    assert (server.is_closed, operator.close_needed_count(rig.pooler, "app")) == (True, 0)
    assert not busy.is_closed


def test_reconnect_begins_connects_under_way_anew() -> None:
    rig = Rig()
    client = rig.enter()
    (attempt,) = rig.pending()
    operator.reconnect(rig.pooler, None)
    assert attempt.canceled == "database configuration changed"
    assert len(rig.pending()) == 1
    rig.log_in()
    assert client.kinds() == "RSSSKZ"


def test_reconnect_forgets_the_last_failure() -> None:
    rig = Rig()
    rig.enter()
    rig.refuse()
    operator.reconnect(rig.pooler, "app")
    assert len(rig.pending()) == 1


def test_reconnect_closes_a_server_after_its_reset_query() -> None:
    rig = session()
    client, server = linked(rig)
    server.answer()
    client.lose()
    operator.reconnect(rig.pooler, None)
    assert not server.is_closed
    server.answer("DISCARD ALL")
    assert server.is_closed


def test_kill_ends_clients_servers_and_connects_of_one_database() -> None:
    rig = Rig(with_databases(Database("a", "x"), Database("b", "x")))
    ends = [rig.enter(database=name) for name in ("a", "a", "b")]
    for _ in range(2):
        rig.log_in(next(a for a in rig.pending() if a.target.pool.key.database == "a"))
    for end in ends:
        end.messages()
    ends[0].query()
    ends[1].query()
    operator.kill(rig.pooler, "a", "database killed")
    assert [end.is_closed for end in ends] == [True, True, False]
    assert ends[1].error() == ("FATAL", "08P01", "database killed")
    pool = rig.control("a").pool
    assert (pool.server_count(), pool.lists.client_count(), pool.failure) == (0, 0, None)
    assert [a.target.pool.key.database for a in rig.pending()] == ["b"]


def test_kill_client_ends_one_client() -> None:
    rig = Rig()
    client, _ = idle(rig)
    other = rig.enter()
    assert operator.kill_client(rig.pooler, client.relay.owner.id)
    assert client.error() == ("FATAL", "08P01", "admin forced disconnect")
    assert not other.is_closed
    assert not operator.kill_client(rig.pooler, client.relay.owner.id)


# RELOAD


def test_reload_takes_over_settings_at_once() -> None:
    rig = Rig(configure(default_pool_size=1))
    linked(rig)
    waiting = rig.enter()
    waiting.query()
    rig.reload(default_pool_size=2)
    rig.pass_time(0.3)
    assert rig.log_in().asked() == ["SELECT 1"]


def test_reload_changes_the_pool_mode_of_running_pools() -> None:
    rig = Rig()
    _, server = linked(rig)
    rig.reload(pool_mode=PoolMode.SESSION, server_reset_query="")
    server.answer()
    assert server.relay.state == SV_ACTIVE
    rig.reload(pool_mode=PoolMode.TRANSACTION)
    server.relay.linked_client.data_received(build.build_query("SELECT 1"))
    server.answer()
    assert server.relay.state == SV_IDLE


def test_a_new_database_can_be_used() -> None:
    rig = Rig()
    rig.reload(databases={"app": Database("app", "app"), "new": Database("new", "new")})
    rig.enter(database="new")
    assert len(rig.pending()) == 1


def test_a_removed_database_goes_with_all_that_is_in_it() -> None:
    rig = Rig()
    client, server = linked(rig)
    rig.enter(user="eve")
    rig.reload(databases={})
    assert client.error()[2] == "database removed"
    assert server.is_closed
    assert (rig.pooler.databases, rig.pooler.pools, rig.pooler.connects.attempts) == ({}, {}, {})
    assert rig.pooler.client_count == 0
    with pytest.raises(PoolerError, match="no such database"):
        rig.enter()


def test_a_cancel_request_survives_its_database() -> None:
    rig = Rig()
    client, _ = linked(rig)
    info = client.relay.owner
    rig.pooler.cancel(info.cancel_pid, info.cancel_key, lambda reason: None)
    rig.reload(databases={})
    rig.cancels[0].done()
    assert rig.pooler.cancels == {}


@pytest.mark.parametrize(
    ("change", "closed"), [({"host": "new"}, True), ({"dbname": "new"}, True), ({}, False)]
)
def test_a_changed_database_gets_new_servers(change: dict[str, Any], closed: bool) -> None:
    rig = Rig()
    client, server = idle(rig)
    rig.reload(databases={"app": replace(Database("app", "app"), pool_size=5, **change)})
    assert server.is_closed is closed
    assert not client.is_closed
    assert rig.control().pool.limits.pool_size == 5


def test_a_changed_star_gives_its_databases_new_servers() -> None:
    rig = Rig(with_databases(autodb=Database("*", "*", host="old")))
    rig.enter(database="any")
    server = rig.log_in()
    rig.reload(autodb=Database("*", "*", host="new"))
    assert server.is_closed
    assert rig.pooler.databases["any"].config.host == "new"


def test_a_database_of_the_star_that_gets_an_entry_elsewhere_gets_new_servers() -> None:
    rig = Rig(with_databases(autodb=Database("*", "*", host="old")))
    client = rig.enter(database="any")
    server = rig.log_in()
    rig.reload(databases={"any": Database("any", "any", host="new")})
    assert (server.is_closed, client.is_closed) == (True, False)
    assert not rig.pooler.databases["any"].is_auto


def test_a_database_whose_entry_goes_is_the_stars() -> None:
    star = Database("*", "*", host="star")
    rig = Rig(with_databases(Database("app", "app", host="own"), autodb=star))
    client, server = idle(rig)
    rig.reload(databases={})
    assert (server.is_closed, client.is_closed) == (True, False)
    assert rig.pooler.databases["app"].is_auto
    assert rig.pooler.databases["app"].config.host == "star"


def test_a_forced_users_new_password_is_used_for_its_next_connect() -> None:
    rig = Rig(configure(database={"user": "owner", "password": "old"}))
    rig.enter()
    rig.log_in()
    rig.reload(databases={"app": Database("app", "app", user="owner", password="new")})
    login = rig.pooler.server_login(rig.control(user="owner"))
    assert login.secret is not None
    assert login.secret.text == b"new"


def test_a_users_new_password_is_tried_at_once() -> None:
    rig = Rig()
    client, server = idle(rig)
    server.lose()
    client.query()
    rig.refuse()
    other = rig.enter()
    rig.reload(userlist={"bob": "new"})
    other.query()
    assert (other.relay.state, len(rig.pending())) == (CL_WAITING, 2)
    login = rig.pooler.server_login(rig.control())
    assert login.secret is not None
    assert login.secret.text == b"new"


def test_a_connect_under_way_with_the_old_password_is_begun_anew() -> None:
    rig = Rig()
    rig.enter()
    (old,) = rig.pending()
    rig.reload(userlist={"bob": "new"})
    (new,) = rig.pending()
    assert (old.canceled, new is old) == ("password changed", False)


def test_who_logged_in_with_the_old_password_does_not_bring_it_back() -> None:
    rig = Rig()
    rig.enter()
    rig.reload(userlist={"bob": "new"})
    rig.enter(secret="old")
    login = rig.pooler.server_login(rig.control())
    assert login.secret is not None
    assert login.secret.text == b"new"


def test_a_reload_that_fails_changes_nothing() -> None:
    rig = Rig()
    idle(rig)
    before = rig.pooler.config
    broken = replace(before, databases={}, access_problems=(Problem("no such file", "f", 1),))
    with pytest.raises(ConfigError):
        operator.reload(rig.pooler, broken)
    assert rig.pooler.config is before
    assert list(rig.pooler.databases) == ["app"]


def test_startup_parameters_are_those_of_the_database() -> None:
    config = replace(configure(), pgmux=PgmuxSettings(startup_parameters=("work_mem",)))
    rig = Rig(config)
    rig.enter({"work_mem": "1MB", "lock_timeout": "5s"}).query()
    assert rig.log_in().assigned() == {"work_mem": "1MB"}


def test_nothing_of_who_waits_is_run_when_a_database_goes() -> None:
    rig = Rig(configure(PoolMode.SESSION, default_pool_size=1, server_reset_query=""))
    _, server = idle(rig)
    other = rig.enter()
    other.query("DELETE")
    rig.reload(databases={})
    assert other.is_closed and server.is_closed
    assert "DELETE" not in server.asked()


def test_a_pause_can_be_ended_whose_database_has_gone() -> None:
    rig = Rig()
    linked(rig)
    operator.hold(rig.pooler, "app", held=True)
    rig.reload(databases={})
    operator.hold(rig.pooler, "app", held=False)
