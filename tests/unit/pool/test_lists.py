"""The lists of a pool: one mover, and who is given which server."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pgmux.errors import LocalProtocolError
from pgmux.pool._pool_cy import PoolLists
from pgmux.pool.states import (
    CL_ACTIVE,
    CL_GONE,
    CL_WAITING,
    SV_ACTIVE,
    SV_GONE,
    SV_IDLE,
    SV_LOGIN,
    SV_TESTED,
    SV_USED,
)


@dataclass(eq=False)
class Connection:
    name: str
    state: int = -1


def idle_servers(lists: PoolLists, count: int) -> list[Connection]:
    servers = [Connection(f"s{i}") for i in range(count)]
    for server in servers:
        lists.add_server(server)
        lists.move_server(server, SV_IDLE)
    return servers


def clients(lists: PoolLists, count: int) -> list[Connection]:
    made = [Connection(f"c{i}") for i in range(count)]
    for client in made:
        lists.add_client(client)
    return made


def test_a_new_server_logs_in_before_it_idles() -> None:
    lists = PoolLists()
    server = Connection("s")
    lists.add_server(server)
    assert (server.state, lists.idle) == (SV_LOGIN, [])
    lists.move_server(server, SV_IDLE)
    assert (lists.idle, lists.idle_count()) == ([server], 1)
    lists.move_server(server, SV_ACTIVE)
    assert (server.state, lists.idle) == (SV_ACTIVE, [])


def test_a_server_taken_from_the_idle_ones_is_active() -> None:
    lists = PoolLists()
    one, two = idle_servers(lists, 2)
    assert lists.idle.pop() is two
    two.state = SV_ACTIVE
    assert (lists.servers(SV_IDLE), lists.servers(SV_ACTIVE)) == ([one], [two])
    assert (lists.server_count(SV_IDLE), lists.server_count(SV_ACTIVE)) == (1, 1)
    assert (lists.oldest_server(SV_ACTIVE), lists.all_servers()) == (two, [one, two])
    lists.move_server(two, SV_GONE)
    assert (lists.oldest_server(SV_ACTIVE), lists.total_servers()) == (None, 1)


def test_nothing_is_to_be_done_for_who_waits_while_all_servers_of_the_pool_work() -> None:
    lists = PoolLists()
    for server in idle_servers(lists, 2):
        lists.move_server(server, SV_ACTIVE)
    one, two, three, four, five = clients(lists, 5)
    assert lists.wait(one)  # a pool without a limit may connect
    lists.most_servers = 3
    assert lists.wait(two)
    lists.most_servers = 2
    assert not lists.wait(three)
    spare = Connection("s")
    lists.add_server(spare)
    lists.move_server(spare, SV_USED)  # to be checked, and then whose turn it is has it
    assert lists.wait(four)
    lists.move_server(spare, SV_GONE)
    dedicated = Connection("c")
    lists.add_client(dedicated)
    lists.wait_dedicated(dedicated)
    assert lists.wait(five)


def test_next_waiting_empties_the_queue_in_order() -> None:
    lists = PoolLists()
    for client in clients(lists, 3):
        lists.wait(client)
    assert [client.name for client in iter(lists.next_waiting, None)] == ["c0", "c1", "c2"]
    assert lists.waiting_count() == 0


def test_a_client_leaves_the_queue_whatever_its_place() -> None:
    lists = PoolLists()
    one, two, three = clients(lists, 3)
    for client in (one, two, three):
        lists.wait(client)
    lists.stop_waiting(two)
    assert two.state == CL_ACTIVE
    assert lists.waiting_clients() == [one, three]
    assert lists.active_clients() == [two]


def test_clients_are_counted_in_both_lists() -> None:
    lists = PoolLists()
    one, two, three = clients(lists, 3)
    lists.wait(two)
    assert (lists.client_count(), lists.waiting_count()) == (3, 1)
    lists.remove_client(two)
    lists.remove_client(one)
    assert (lists.client_count(), lists.waiting_count()) == (1, 0)
    assert (one.state, two.state, three.state) == (CL_GONE, CL_GONE, CL_ACTIVE)


def test_servers_are_listed_by_state_oldest_first() -> None:
    lists = PoolLists()
    one, two, three = idle_servers(lists, 3)
    lists.move_server(one, SV_USED)
    lists.move_server(three, SV_USED)
    lists.move_server(two, SV_TESTED)
    assert lists.servers(SV_USED) == [one, three]
    assert lists.server_count(SV_USED) == 2
    assert lists.all_servers() == [one, three, two]
    assert lists.total_servers() == 3
    lists.move_server(one, SV_GONE)
    assert (one.state, lists.total_servers()) == (SV_GONE, 2)


def test_what_the_lists_return_is_a_copy() -> None:
    lists = PoolLists()
    idle_servers(lists, 1)
    (client,) = clients(lists, 1)
    lists.servers(SV_IDLE).clear()
    lists.all_servers().clear()
    lists.active_clients().clear()
    assert (lists.total_servers(), lists.client_count()) == (1, 1)
    lists.wait(client)
    lists.waiting_clients().clear()
    assert lists.waiting_count() == 1


def test_a_server_that_is_not_where_it_says_does_not_move() -> None:
    lists = PoolLists()
    stranger = Connection("s", SV_ACTIVE)
    with pytest.raises(LocalProtocolError, match="moves to idle, but is not in active"):
        lists.move_server(stranger, SV_IDLE)
    assert stranger.state == SV_ACTIVE


def test_a_server_that_has_gone_does_not_come_back() -> None:
    lists = PoolLists()
    (server,) = idle_servers(lists, 1)
    lists.move_server(server, SV_GONE)
    for state in (SV_IDLE, SV_GONE):
        with pytest.raises(LocalProtocolError, match="but is not in gone"):
            lists.move_server(server, state)


def test_a_client_waits_once() -> None:
    lists = PoolLists()
    (client,) = clients(lists, 1)
    lists.wait(client)
    with pytest.raises(LocalProtocolError, match="client waits, but is waiting"):
        lists.wait(client)
    with pytest.raises(LocalProtocolError, match="client waits, but is active"):
        lists.wait(Connection("stranger", CL_ACTIVE))


def test_only_who_waits_stops_waiting() -> None:
    lists = PoolLists()
    (client,) = clients(lists, 1)
    with pytest.raises(LocalProtocolError, match="client stops waiting, but is active"):
        lists.stop_waiting(client)


def test_a_client_leaves_once() -> None:
    lists = PoolLists()
    (client,) = clients(lists, 1)
    lists.remove_client(client)
    with pytest.raises(LocalProtocolError, match="client leaves, but is gone"):
        lists.remove_client(client)


# Clients that wait for a server of their own


def test_who_waits_for_its_own_server_gets_no_other() -> None:
    lists = PoolLists()
    (dedicated,) = clients(lists, 1)
    lists.wait_dedicated(dedicated)
    assert lists.next_waiting() is None
    assert (lists.waiting_count(), lists.dedicated_count(), lists.client_count()) == (0, 1, 1)
    assert lists.waiting_clients() == [dedicated]
    assert dedicated.state == CL_WAITING


def test_the_next_own_server_is_for_who_waits_longest_without_a_connect() -> None:
    lists = PoolLists()
    first, second = clients(lists, 2)
    for client in (first, second):
        lists.wait_dedicated(client)
    lists.set_connecting(first, True)
    assert lists.next_dedicated() is second
    lists.set_connecting(second, True)
    assert lists.next_dedicated() is None
    lists.set_connecting(first, False)
    assert lists.next_dedicated() is first


@pytest.mark.parametrize("leaves", ["stop_waiting", "remove_client"])
def test_who_stops_waiting_for_its_own_server_needs_none(leaves: str) -> None:
    lists = PoolLists()
    (client,) = clients(lists, 1)
    lists.wait_dedicated(client)
    getattr(lists, leaves)(client)
    lists.set_connecting(client, False)  # its connect was given up
    assert (lists.next_dedicated(), lists.dedicated_count()) == (None, 0)


def test_only_a_client_that_does_not_wait_yet_can_wait_for_its_own_server() -> None:
    lists = PoolLists()
    (client,) = clients(lists, 1)
    lists.wait(client)
    with pytest.raises(LocalProtocolError):
        lists.wait_dedicated(client)
