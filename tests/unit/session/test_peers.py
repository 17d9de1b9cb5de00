"""Cancel requests for clients of other poolers: to whom they go, how many at a time, how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgmux.config import Peer
from pgmux.session.cancel import build_key
from pgmux.session.peers import MAX_WAITING, PeerPool
from tests.unit.session.rig import Rig, configure, linked

OWN, OTHER = 1, 2
PEERS = {OWN: Peer(OWN, "/run/1"), OTHER: Peer(OTHER, "host2", 6433)}
# a random client's key, of a pooler of the group
PID, KEY = build_key(b"\x01\x02\x03\x04\x05\x06\x07\xfc", OTHER)
SENT = "successfully sent cancel request"


def group(**settings: Any) -> Rig:
    return Rig(replace(configure(peer_id=OWN, **settings), peers=PEERS))


class Request:
    """A cancel request that has come to the pooler, and what it was told."""

    def __init__(self, rig: Rig, pid: int = PID, key: bytes = KEY) -> None:
        self.told: list[str] = []
        self.forward = rig.pooler.cancel(pid, key, self.told.append)


def pool(rig: Rig) -> PeerPool:
    return rig.pooler.peers.pools[OTHER]


# To whom


def test_a_request_for_a_peers_client_goes_there_with_one_time_less_to_be_passed_on() -> None:
    rig = group()
    request = Request(rig)
    (sent,) = rig.forwards
    assert (sent.target.peer, sent.target.pid) == (PEERS[OTHER], PID)
    assert (KEY[-1], sent.target.key) == (0xFF, KEY[:3] + b"\xfe")
    assert request.told == []
    sent.done()
    assert request.told == [SENT]
    assert not pool(rig).running


def test_the_last_pooler_that_it_may_come_to_does_not_pass_it_on() -> None:
    rig = group()
    request = Request(rig, key=KEY[:3] + b"\xfc")
    assert request.told == ["failed to forward cancel request because its TTL was exhausted"]
    assert rig.forwards == []


def test_a_peer_that_is_not_configured_is_said() -> None:
    rig = group()
    pid, key = build_key(bytes(8), 3)
    assert Request(rig, pid, key).told == ["could not find peer to forward request to"]
    assert (rig.forwards, rig.pooler.peers.pools) == ([], {})


@pytest.mark.parametrize("ttl", range(4))
def test_a_request_for_a_client_of_ones_own_is_carried_out_however_often_passed_on(
    ttl: int,
) -> None:
    rig = group()
    client, _ = linked(rig)
    info = client.relay.owner
    Request(rig, info.cancel_pid, info.cancel_key[:3] + bytes([info.cancel_key[3] - ttl]))
    assert (len(rig.cancels), rig.forwards) == (1, [])


def test_a_client_from_before_there_were_peers_is_found_and_asked_of_nobody() -> None:
    rig = Rig()
    client, _ = linked(rig)
    info = client.relay.owner
    rig.reload(peer_id=OWN, peers=PEERS)
    Request(rig, info.cancel_pid, info.cancel_key)
    assert (len(rig.cancels), rig.forwards) == (1, [])


def test_ones_own_number_with_a_wrong_key_is_passed_on_to_nobody() -> None:
    rig = group()
    pid, key = build_key(bytes(8), OWN)
    assert Request(rig, pid, key).told == ["failed cancel request"]
    assert rig.forwards == []


def test_without_a_number_of_ones_own_nothing_is_passed_on() -> None:
    rig = Rig(replace(configure(), peers=PEERS))
    assert Request(rig).told == ["failed cancel request"]
    assert rig.forwards == []


def test_a_key_of_any_length_is_passed_on_whole() -> None:
    rig = group()
    Request(rig, key=KEY + b"long")
    assert rig.forwards[0].target.key == KEY[:3] + b"\xfelong"


# How many


def test_a_request_has_a_connection_of_its_own_and_pool_size_bounds_them() -> None:
    rig = group(default_pool_size=2)
    requests = [Request(rig) for _ in range(3)]
    assert [forward.target for forward in rig.forwards] == [r.forward for r in requests[:2]]
    assert len(pool(rig).waiting) == 1
    rig.forwards[1].done()
    assert rig.forwards[2].target is requests[2].forward
    assert [request.told for request in requests] == [[], [SENT], []]


def test_a_peer_has_a_pool_size_of_its_own_which_a_reload_changes() -> None:
    rig = group()
    rig.reload(peers={OTHER: Peer(OTHER, "host2", pool_size=1)})
    for _ in range(3):
        Request(rig)
    assert len(rig.forwards) == 1
    rig.reload(peers={OTHER: Peer(OTHER, "host3", pool_size=2)})
    assert [forward.target.peer.host for forward in rig.forwards] == ["host2", "host2"]


@pytest.mark.parametrize("pool_size", [0, 1])
def test_who_floods_is_turned_away(pool_size: int) -> None:
    rig = group(default_pool_size=pool_size)
    while not (request := Request(rig)).told:
        assert len(rig.forwards) <= MAX_WAITING
    assert request.told == ["too many cancel requests for this peer"]
    assert len(rig.forwards) == (pool_size or MAX_WAITING)
    assert len(pool(rig).waiting) == MAX_WAITING


# How long


def test_who_cannot_be_reached_fails_the_request_and_the_next_one_has_its_turn() -> None:
    rig = group(default_pool_size=1)
    first, second = Request(rig), Request(rig)
    (forward,) = rig.forwards
    rig.pooler.peers._on_done(pool(rig), forward.target, "failed to forward cancel request")
    assert first.told == ["failed to forward cancel request"]
    assert rig.forwards[1].target is second.forward


def test_cancel_wait_timeout_ends_requests_that_wait_and_those_that_are_sent() -> None:
    rig = group(default_pool_size=1, cancel_wait_timeout=10)
    requests = [Request(rig), Request(rig)]
    rig.forwards[0].target.is_sent = True
    rig.pass_time(9.9)
    assert [request.told for request in requests] == [[], []]
    rig.pass_time(0.2)
    assert [request.told for request in requests] == [["cancel_wait_timeout"]] * 2
    assert [forward.canceled for forward in rig.forwards] == ["cancel_wait_timeout"]


def test_server_connect_timeout_ends_connects_alone() -> None:
    rig = group(default_pool_size=2, cancel_wait_timeout=0, server_connect_timeout=5)
    requests = [Request(rig), Request(rig), Request(rig)]
    rig.forwards[0].target.is_sent = True
    rig.pass_time(5.1)
    assert [request.told for request in requests] == [[], ["connect timeout"], []]
    assert rig.forwards[2].target is requests[2].forward


# RELOAD


def test_a_peer_that_is_added_gets_its_requests() -> None:
    rig = group()
    pid, key = build_key(bytes(8), 3)
    rig.reload(peers=PEERS | {3: Peer(3, "host3")})
    Request(rig, pid, key)
    assert rig.forwards[0].target.peer.host == "host3"


def test_a_peer_that_is_removed_ends_its_requests() -> None:
    rig = group(default_pool_size=1)
    requests = [Request(rig), Request(rig)]
    rig.reload(peers={OWN: PEERS[OWN]})
    assert [request.told for request in requests] == [["peer removed"]] * 2
    assert [forward.canceled for forward in rig.forwards] == ["peer removed"]
    assert rig.pooler.peers.pools == {}
    assert "dropping peer 2 as it does not exist anymore" in rig.log.lines
