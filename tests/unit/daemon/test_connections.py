"""Rows of connections: made one by one, and none for who has gone by then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pgmux.daemon.connections import Connections
from tests.unit.session.rig import Rig, configure, idle, linked


def connections(rig: Rig) -> Connections:
    """Without logins under way and without consoles."""
    nobody: Any = SimpleNamespace(logins={}, open={})
    return Connections(rig.pooler, nobody, nobody)


def test_a_link_is_seen_from_both_sides() -> None:
    rig = Rig()
    linked(rig)
    rows = connections(rig)
    (client,), (server,) = rows.clients(), rows.servers()
    assert (client.type, client.state, server.type, server.state) == ("C", "active", "S", "active")
    assert (client.link, server.link) == (server.ptr, client.ptr)
    assert client.id != server.id


def test_who_has_gone_since_the_rows_were_asked_for_has_none() -> None:
    rig = Rig()
    client, server = linked(rig)
    rig.enter().query()
    rows = connections(rig)
    clients, servers, sockets = rows.clients(), rows.servers(), rows.sockets()
    client.lose()
    assert len(list(clients)) == 1
    assert [row for row in servers if row.id == server.relay.owner.id] == []
    assert "sv_active" not in [row.state for row in sockets]


def test_a_row_says_how_it_is_when_it_is_made() -> None:
    rig = Rig()
    _, server = linked(rig)
    clients, servers = connections(rig).clients(), connections(rig).servers()
    server.answer()
    assert [row.state for row in clients] == ["idle"]
    assert [(row.state, row.link) for row in servers] == [("idle", None)]


@pytest.mark.parametrize("round_robin", [False, True])
def test_of_idle_servers_the_next_to_be_used_stands_first(round_robin: bool) -> None:
    rig = Rig(configure(server_round_robin=round_robin))
    for server in [linked(rig)[1] for _ in range(2)]:
        server.answer()
    idle_ids = [row.id for row in connections(rig).servers() if row.state == "idle"]
    found = rig.control().relay.find_server()
    assert idle_ids[0] == found.owner.id and len(idle_ids) == 2


def test_sockets_count_what_is_unsent() -> None:
    rig = Rig()
    client, server = idle(rig)
    quiet = list(connections(rig).sockets())
    assert [row.state for row in quiet] == ["cl_active", "sv_idle"]
    assert not any(row.is_active for row in quiet)
    client.transport.unsent = 70
    (row,) = (row for row in connections(rig).sockets() if row.is_active)
    assert (row.state, row.send_avail, row.pkt_pos, row.recv_pos) == ("cl_active", 70, 70, 70)
    client.query()
    (row,) = (row for row in connections(rig).sockets() if row.is_active)
    assert (row.state, row.send_avail) == ("sv_active", 70)
    assert row.id == server.relay.owner.id


def test_sockets_count_what_is_kept_and_what_is_to_come() -> None:
    rig = Rig()
    client, _ = linked(rig)
    client.relay.data_received(b"Q\0\0\0\x64SELECT")
    (row,) = (row for row in connections(rig).sockets() if row.is_active)
    assert (row.state, row.pkt_remain, row.pkt_avail) == ("cl_active", 0x64 + 1 - 11, 0)
