"""Pools that share a limit: who gets a server, who gives one up, what clients are told."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

from pgmux.config import Database, PoolMode
from pgmux.config.model import User
from pgmux.errors import PoolerError
from pgmux.metrics.snapshot import COUNTERS
from pgmux.pool.limits import PATIENCE, Quota
from pgmux.pool.states import SV_IDLE
from pgmux.session import operator
from pgmux.session._relay_cy import Counters
from tests.unit.session.rig import ClientEnd, Rig, ServerEnd, configure

MOMENT = 0.01  # long enough for a server to be quiet


def limited(mode: PoolMode = PoolMode.TRANSACTION, **settings: Any) -> Rig:
    """Databases `app` and `crm`, users bob and eve."""
    config = configure(mode, **settings)
    databases = {name: Database(name, name) for name in ("app", "crm")}
    return Rig(replace(config, databases=databases))


def database_quota(rig: Rig, name: str = "app") -> Quota:
    return rig.pooler.databases[name].quota


def owners(rig: Rig) -> list[str]:
    """The users of the connects under way."""
    return [attempt.target.pool.key.user for attempt in rig.pending()]


def working(rig: Rig, user: str = "bob", database: str = "app") -> tuple[ClientEnd, ServerEnd]:
    """A client in the middle of a query, on a server of its own."""
    client = rig.enter(user=user, database=database)
    client.query()
    server = rig.log_in()
    assert server.relay.linked_client is client.relay
    return client, server


def waiting(rig: Rig, user: str, database: str = "app") -> ClientEnd:
    """A client that waits for a server."""
    client = rig.enter(user=user, database=database)
    if client.relay.owner.welcomed:
        client.query()
    return client


# Clients


def test_a_database_has_no_more_clients_than_it_may() -> None:
    rig = limited(max_db_client_connections=2)
    first, _ = rig.enter(user="bob"), rig.enter(user="eve")
    with pytest.raises(PoolerError, match=r"exceeded \(max_db_client_connections\)"):
        rig.enter(user="bob")
    rig.enter(database="crm")
    first.lose()
    rig.enter(user="eve")
    assert database_quota(rig).client_count == rig.pooler.client_count - 1 == 2


def test_a_user_has_no_more_clients_than_it_may_whatever_the_database() -> None:
    rig = limited(max_user_client_connections=2)
    rig.enter(), rig.enter(database="crm")
    with pytest.raises(PoolerError, match=r"exceeded \(max_user_client_connections\)"):
        rig.enter()
    rig.enter(user="eve")


def test_a_client_that_is_refused_leaves_nothing_behind() -> None:
    rig = limited(max_user_client_connections=1)
    rig.enter(database="crm")
    with pytest.raises(PoolerError):
        rig.enter()
    assert (database_quota(rig).client_count, rig.pooler.client_count) == (0, 1)
    assert [key.database for key in rig.pooler.pools] == ["crm"]
    assert len(rig.pending()) == 1


def test_a_client_counts_until_it_is_gone_however_that_came_about() -> None:
    rig = limited()
    working(rig)[0].lose()  # from now on clients are welcomed at once
    for end in (
        lambda client: client.lose(),
        lambda client: client.send(b"X\0\0\0\4"),
        lambda client: client.send(b"\xff\xff\xff\xff\xff"),
        lambda client: operator.kill(rig.pooler, "app", "x"),
        lambda client: operator.kill_client(rig.pooler, client.relay.owner.id),
        lambda client: rig.reload(databases={"crm": Database("crm", "crm")}),
    ):
        client = rig.enter()
        user = rig.pooler.quotas.of_user("bob")
        database = database_quota(rig)
        assert (database.client_count, user.client_count) == (1, 1)
        end(client)
        assert (database.client_count, user.client_count) == (0, 0)


def test_a_lowered_limit_keeps_new_clients_out_and_ends_nobody() -> None:
    rig = limited()
    clients = [rig.enter() for _ in range(3)]
    rig.reload(max_db_client_connections=2)
    assert not any(client.is_closed for client in clients)
    clients[0].lose()
    with pytest.raises(PoolerError):
        rig.enter()


def test_the_consoles_limit_follows_a_reload() -> None:
    rig = limited()
    rig.reload(max_db_client_connections=2)
    assert rig.pooler.quotas.console.max_clients == 2


def test_the_users_own_limit_goes_before_the_setting() -> None:
    rig = limited(max_user_client_connections=1)
    rig.pooler.use_config(
        replace(rig.pooler.config, users={"eve": User("eve", max_user_client_connections=2)})
    )
    rig.enter(user="eve"), rig.enter(user="eve")
    with pytest.raises(PoolerError):
        rig.enter(user="eve")


def test_a_user_is_forgotten_once_nothing_is_left_of_it() -> None:
    rig = limited(pool_idle_timeout=10.0)
    client = rig.enter(user="eve")
    rig.refuse()
    client.lose()
    assert "eve" in rig.pooler.quotas.users
    rig.pass_time(1.0)
    rig.pass_time(11.0)
    del client
    rig.connects.clear()
    gc.collect()
    assert "eve" not in rig.pooler.quotas.users


# Servers: places and eviction


@pytest.mark.parametrize(
    ("setting", "rival"),
    [("max_db_connections", ("eve", "app")), ("max_user_connections", ("bob", "crm"))],
)
def test_an_unused_server_goes_for_a_client_of_another_pool(
    setting: str, rival: tuple[str, str]
) -> None:
    rig = limited(**{setting: 1})
    _, server = working(rig)
    server.answer()
    rig.pass_moment(MOMENT)
    client = waiting(rig, *rival)
    assert server.is_closed
    assert any(
        line.split(" ", 2)[2].startswith("closing because: evicted") for line in rig.log.lines
    )
    rig.log_in()
    assert client.relay.owner.welcomed


def test_a_server_that_has_just_answered_goes_a_moment_later() -> None:
    rig = limited(max_db_connections=1)
    _, server = working(rig)
    server.answer()
    waiting(rig, "eve")
    assert not server.is_closed
    rig.pass_moment(MOMENT)
    assert server.is_closed
    assert owners(rig) == ["eve"]


def test_a_server_whose_client_asks_again_at_once_stays() -> None:
    rig = limited(max_db_connections=1)
    client, server = working(rig)
    server.answer()
    waiting(rig, "eve")
    client.query()
    rig.pass_moment(MOMENT)
    assert not server.is_closed
    server.answer()
    rig.pass_moment(MOMENT)
    assert server.is_closed


def test_nobody_is_looked_after_when_nobody_contends() -> None:
    rig = limited(max_db_connections=1)
    _, server = working(rig)
    server.answer()
    assert rig.alarms == []
    waiting(rig, "eve").lose()
    rig.pass_moment(MOMENT)
    assert (rig.alarms, server.is_closed) == ([], False)


def test_connects_under_way_have_their_places() -> None:
    rig = limited(max_db_connections=2)
    waiting(rig, "bob"), waiting(rig, "bob"), waiting(rig, "eve")
    assert owners(rig) == ["bob", "bob"]


def test_a_busy_database_lets_who_is_new_wait() -> None:
    rig = limited(max_db_connections=1)
    working(rig)
    client = waiting(rig, "eve")
    assert rig.pending() == []
    assert not client.is_closed


def test_nothing_is_evicted_for_who_could_not_connect_anyway() -> None:
    rig = limited(max_db_connections=1, max_user_connections=1)
    _, server = working(rig, "bob", "app")
    server.answer()
    working(rig, "eve", "crm")
    waiting(rig, "eve", "app")  # eve has no place
    assert not server.is_closed


def test_a_pool_that_lacks_two_places_gets_both() -> None:
    rig = limited(max_db_connections=1, max_user_connections=1)
    _, one = working(rig, "bob", "app")
    _, two = working(rig, "eve", "crm")
    waiting(rig, "eve", "app")
    one.answer()
    rig.pass_moment(MOMENT)
    assert not one.is_closed
    two.answer()
    rig.pass_moment(MOMENT)
    assert one.is_closed
    assert two.is_closed
    assert owners(rig) == ["eve"]


def test_a_place_given_up_for_the_users_other_database_goes_there() -> None:
    rig = limited(max_db_connections=1, max_user_connections=1)
    _, server = working(rig, database="app")
    waiting(rig, "bob", "crm")
    rig.pass_moment(2 * PATIENCE)
    waiting(rig, "bob", "app")
    server.answer()
    assert server.is_closed
    assert [attempt.target.pool.key.database for attempt in rig.pending()] == ["crm"]


def test_a_failed_connect_gives_its_place_to_others() -> None:
    rig = limited(max_db_connections=1)
    waiting(rig, "bob"), waiting(rig, "eve")
    assert owners(rig) == ["bob"]
    rig.refuse()
    assert owners(rig) == ["eve"]


def test_a_connect_that_is_given_up_gives_its_place_to_others() -> None:
    rig = limited(max_db_connections=1, server_connect_timeout=15.0)
    waiting(rig, "bob"), waiting(rig, "eve")
    rig.pass_time(16.0)
    assert owners(rig) == ["eve"]


def test_a_pool_whose_server_keeps_silent_leaves_the_place_to_others_between_its_attempts() -> None:
    rig = limited(max_user_connections=1, server_connect_timeout=15.0, server_login_retry=15.0)
    waiting(rig, "bob", "crm")
    rig.now += 1
    clients = [waiting(rig, "bob", "app"), waiting(rig, "bob", "app")]
    rig.pass_time(16.0)
    assert [attempt.target.pool.key.database for attempt in rig.pending()] == ["app"]
    server = rig.log_in()
    for client in clients:
        client.query()
    rig.pass_time(14.0)
    server.answer()
    assert not server.is_closed  # though the other's client has waited longest
    clients[0].query()
    rig.pass_time(2.0)
    server.answer()
    assert [attempt.target.pool.key.database for attempt in rig.pending()] == ["crm"]


@pytest.mark.parametrize("how", ["kill", "crash", "reconnect"])
def test_a_server_that_goes_leaves_its_place_to_whose_client_has_waited_longest(how: str) -> None:
    rig = limited(max_db_connections=1, default_pool_size=5)
    client, server = working(rig)
    rig.now += 1
    waiting(rig, "eve")
    rig.now += 1
    waiting(rig, "bob")
    if how == "kill":
        operator.kill_client(rig.pooler, client.relay.owner.id)
    elif how == "crash":
        server.lose()
    else:
        operator.reconnect(rig.pooler, "app")
        server.answer()
    assert owners(rig) == ["eve"]


def test_a_pool_that_lacks_several_places_gets_each_as_it_becomes_free() -> None:
    rig = limited(max_db_connections=2)
    servers = [working(rig)[1] for _ in range(2)]
    waiting(rig, "eve"), waiting(rig, "eve")
    for server in servers:
        server.lose()
    assert owners(rig) == ["eve", "eve"]


def test_pause_makes_room_for_nobody_of_the_database_and_for_others_of_the_user() -> None:
    rig = limited(max_user_connections=1)
    _, server = working(rig, "bob", "app")
    waiting(rig, "bob", "crm")
    waiting(rig, "bob", "app")
    operator.hold(rig.pooler, "app", held=True)
    server.answer()
    assert [attempt.target.pool.key.database for attempt in rig.pending()] == ["crm"]


def test_after_pause_and_after_a_raised_limit_the_longest_waiting_come_first() -> None:
    rig = limited(max_db_connections=1, default_pool_size=5)
    _, server = working(rig)
    for user in ("bob", "eve", "bob", "eve"):
        rig.now += 1
        waiting(rig, user)
    operator.hold(rig.pooler, None, held=True)
    server.answer()
    rig.reload(max_db_connections=3)
    assert rig.pending() == []
    operator.hold(rig.pooler, None, held=False)
    assert owners(rig) == ["bob", "eve", "bob"]
    rig.reload(max_db_connections=4)
    assert owners(rig) == ["bob", "eve", "bob", "eve"]


def test_a_raised_limit_counts_at_once() -> None:
    rig = limited(max_db_connections=1)
    working(rig)
    waiting(rig, "eve")
    rig.reload(max_db_connections=2)
    assert owners(rig) == ["eve"]


def test_a_lowered_limit_ends_servers_as_they_become_free() -> None:
    rig = limited(max_db_connections=3)
    _, busy = working(rig)
    _, other = working(rig)
    _, unused = working(rig, "eve")
    unused.answer()
    rig.reload(max_db_connections=1)
    rig.pass_time(0.4)
    assert (unused.is_closed, busy.is_closed) == (True, False)
    busy.answer()
    assert busy.is_closed
    other.answer()
    assert not other.is_closed
    assert database_quota(rig).server_count == 1


def test_a_lowered_pool_size_ends_servers_that_are_never_unused_as_they_are_released() -> None:
    rig = limited(default_pool_size=3)
    servers = [working(rig)[1] for _ in range(3)]
    for _ in range(3):
        waiting(rig, "bob")
    rig.reload(default_pool_size=1)
    for server in servers:
        server.answer()
    assert [server.is_closed for server in servers] == [True, True, False]


def test_a_limit_lowered_by_hundreds_makes_room_for_who_waits() -> None:
    rig = limited(max_db_connections=400, default_pool_size=400)
    for server in [working(rig)[1] for _ in range(400)]:
        server.answer()
    rig.pass_moment(MOMENT)
    rig.reload(max_db_connections=1)
    waiting(rig, "eve")
    assert owners(rig) == ["eve"]
    assert database_quota(rig).server_count == 1


def test_min_pool_size_evicts_nobody() -> None:
    rig = limited(max_db_connections=1, min_pool_size=2)
    _, server = working(rig)
    server.answer()
    rig.enter(user="eve").lose()
    rig.pass_time(0.4)
    assert database_quota(rig).server_count == 1


def test_session_mode_gives_a_place_on_when_its_client_has_left() -> None:
    rig = limited(PoolMode.SESSION, max_db_connections=1)
    client, server = working(rig)
    server.answer()
    waiting(rig, "eve")
    rig.pass_moment(MOMENT)
    assert rig.pending() == []
    client.lose()
    assert server.is_closed
    assert owners(rig) == ["eve"]


# Fairness: pools that are always busy


def busy_pool(rig: Rig) -> tuple[ServerEnd, list[ClientEnd]]:
    """One server, and more clients than it can serve."""
    client, server = working(rig)
    return server, [client, *(waiting(rig, "bob") for _ in range(3))]


def run(rig: Rig, server: ServerEnd, clients: list[ClientEnd], seconds: float) -> None:
    """Time passes; each query takes 10 ms, and whose is answered asks again."""
    for _ in range(round(seconds * 100)):
        client = server.relay.linked_client
        rig.now += 0.01
        server.answer()
        if server.is_closed:
            return
        next(c for c in clients if c.relay is client).query()


def test_a_busy_pool_gives_up_a_server_for_who_has_waited_longer() -> None:
    rig = limited(max_db_connections=1)
    server, clients = busy_pool(rig)
    waiting(rig, "eve")
    run(rig, server, clients, 1.0)
    assert server.is_closed
    assert owners(rig) == ["eve"]


def test_a_busy_pool_keeps_its_server_for_who_has_waited_as_long_as_its_own() -> None:
    rig = limited(max_db_connections=1)
    server, clients = busy_pool(rig)
    waiting(rig, "eve")
    run(rig, server, clients, PATIENCE)
    assert not server.is_closed


def test_two_busy_pools_take_turns_and_do_not_reconnect_for_each_transaction() -> None:
    rig = limited(max_db_connections=1)
    server, bobs = busy_pool(rig)
    eves = [waiting(rig, "eve") for _ in range(4)]
    answers = {"bob": 0, "eve": 0}
    clients = bobs
    for _ in range(20):
        run(rig, server, clients, 1.0)
        assert server.is_closed
        user = owners(rig)[0]
        clients = bobs if user == "bob" else eves
        rig.now += 0.005
        server = rig.log_in()
        for client in clients:
            if client.relay.linked_server is None and client.relay.state == 0:
                client.query()
        answers[user] += 1
    assert answers == {"bob": 10, "eve": 10}
    assert rig.now - 1000.0 > 20 * PATIENCE


def test_once_nobody_contends_servers_are_released_without_asking() -> None:
    rig = limited(max_db_connections=1)
    server, clients = busy_pool(rig)
    rival = waiting(rig, "eve")
    assert server.relay.special
    rival.lose()
    run(rig, server, clients, 0.1)
    assert not server.relay.special


def test_a_pool_that_is_alone_releases_servers_without_asking_however_many_wait() -> None:
    rig = limited(max_db_connections=1, default_pool_size=5)
    server, _ = busy_pool(rig)
    assert not server.relay.special


def test_a_new_server_serves_before_it_can_be_taken_away() -> None:
    rig = limited(max_db_connections=1)
    _, server = working(rig, "eve")
    server.answer()
    rig.pass_moment(MOMENT)
    server, clients = busy_pool(rig)
    eve = waiting(rig, "eve")
    run(rig, server, clients, 1.0)
    rig.now += 30.0
    server = rig.log_in()
    assert server.relay.linked_client is eve.relay
    server.answer()
    assert not server.is_closed
    rig.pass_moment(MOMENT)
    assert server.is_closed
    assert owners(rig) == ["bob"]


# The reserve


def test_a_reserve_connection_is_logged_with_its_client() -> None:
    rig = limited(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=5.0)
    working(rig)
    client = waiting(rig, "bob")
    rig.pass_time(4.0)
    assert rig.pending() == []
    rig.pass_time(1.0)
    assert owners(rig) == ["bob"]
    name = f"C-{client.relay.owner.id:#x}: app/bob@10.0.0.9:4711"
    assert f"{name} taking connection from reserve_pool" in rig.log.lines


def test_the_reserve_is_within_the_limit_of_the_database() -> None:
    rig = limited(default_pool_size=1, reserve_pool_size=1, max_db_connections=1)
    working(rig)
    waiting(rig, "bob")
    rig.pass_time(20.0)
    assert rig.pending() == []
    assert not any("reserve_pool" in line for line in rig.log.lines)


# Pools that nobody uses


def test_an_unused_pool_goes_after_pool_idle_timeout() -> None:
    rig = limited(pool_idle_timeout=60.0, server_idle_timeout=10.0)
    client, server = working(rig)
    server.answer()
    client.lose()
    rig.pass_time(11.0)
    assert rig.servers(SV_IDLE) == []
    rig.pass_time(60.0)
    assert rig.pooler.pools != {}
    rig.pass_time(0.4)
    assert rig.pooler.pools == {}
    text = "cleaning up idle pool for user bob on db app because: pool idle timeout (age= 60s)"
    assert text in rig.log.lines


def test_nothing_of_a_pool_that_contends_stays_when_its_database_is_dropped() -> None:
    rig = limited(max_user_connections=1)
    working(rig, database="app")
    waiting(rig, "bob", "crm")
    pool = weakref.ref(rig.control("crm").pool)
    operator.drop_database(rig.pooler, "crm")
    gc.collect()
    assert pool() is None


def test_what_a_pool_has_counted_stays_when_it_goes() -> None:
    rig = limited(pool_idle_timeout=60.0, server_idle_timeout=10.0)
    for _ in range(2):
        client, server = working(rig)
        server.answer()
        client.lose()
        for _ in range(3):
            rig.pass_time(61.0)
    counters = rig.pooler.databases["app"].counters
    assert counters is not None
    assert (rig.pooler.pools, counters.xact_count, counters.query_count) == ({}, 2, 2)


def test_every_number_of_show_stats_outlives_its_pool() -> None:
    one, other = Counters(), Counters()
    for counters in (one, other):
        for value, name in enumerate(COUNTERS, 1):
            setattr(counters, name, value)
    one.add(other)
    assert [getattr(one, name) for name in COUNTERS] == [
        2 * value for value in range(1, len(COUNTERS) + 1)
    ]


@pytest.mark.parametrize("timeout", [0.0, 60.0])
def test_a_pool_stays_while_it_is_used_or_the_timeout_is_0(timeout: float) -> None:
    rig = limited(pool_idle_timeout=timeout, server_idle_timeout=10.0)
    client, server = working(rig)
    server.answer()
    if not timeout:
        client.lose()
    for _ in range(3):
        rig.pass_time(100.0)
    assert len(rig.pooler.pools) == 1


def test_a_pool_that_is_to_have_servers_stays_though_it_gets_none() -> None:
    config = configure(database={"user": "eve", "min_pool_size": 1}, pool_idle_timeout=5.0)
    rig = Rig(config)
    rig.pass_time(1.0)
    rig.refuse()
    for _ in range(3):
        rig.pass_time(6.0)
    assert len(rig.pooler.pools) == 1
