"""Who is linked to whom, who waits, who is read, and what is held in memory meanwhile."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from typing import Any

import pytest

from pgmux.pool.states import CL_WAITING
from tests.forms import messages as m
from tests.forms.messages import B, C, E, F, P, Q, S
from tests.forms.rig import SESSION, Form, Rig

ROWS = m.rows + m.IDLE


@pytest.fixture
def rig(form: Form) -> Rig:
    return Rig(form)


def linked(rig: Rig) -> tuple[Any, Any]:
    """A client in a transaction, and its server; nothing of that is in what they have got."""
    client = rig.add_client()
    client.data_received(Q("BEGIN"))
    server = client.linked_server
    server.data_received(m.done("BEGIN") + m.BLOCK)
    client.transport.take(), server.transport.take()
    return client, server


# ---- waiting


def test_the_longest_waiting_client_gets_the_server_in_the_same_call(rig: Rig) -> None:
    clients = [rig.add_client() for _ in range(3)]
    for number, client in enumerate(clients):
        client.data_received(Q(str(number)))
    assert rig.lists.waiting_clients() == clients[1:]
    for number, client in enumerate(clients):
        assert rig.servers[0].transport.take() == Q(str(number))
        assert rig.servers[0].linked_client is client
        rig.servers[0].data_received(ROWS)
        assert client.transport.take() == ROWS
    assert rig.idle() == rig.servers


def test_what_a_waiting_client_sends_is_kept_up_to_a_limit(rig: Rig) -> None:
    _, server = linked(rig)
    client = rig.add_client()
    query = Q("x" * 30000)
    for _ in range(3):
        assert client.transport.is_reading
        client.data_received(query)
    assert not client.transport.is_reading
    server.linked_client.data_received(S)
    server.transport.take()
    server.data_received(m.IDLE)
    assert server.transport.take() == query * 3
    assert client.transport.is_reading


def test_waiting_time_and_queries_are_counted(rig: Rig) -> None:
    first, second = rig.add_client(), rig.add_client()
    first.data_received(Q())
    second.data_received(Q())
    rig.now += 2
    rig.servers[0].data_received(ROWS)
    rig.now += 3
    rig.servers[0].data_received(ROWS)
    counts = rig.counts()
    assert (counts["xact_count"], counts["query_count"]) == (2, 2)
    assert (counts["wait_time"], counts["query_time"], counts["xact_time"]) == (2, 7, 7)


def test_a_transaction_counts_once_and_its_bursts_each(rig: Rig) -> None:
    client, server = linked(rig)
    rig.now += 1
    client.data_received(P() + B() + E + S)
    server.data_received(m.one + m.two + m.done() + m.BLOCK)
    client.data_received(Q("COMMIT"))
    server.data_received(m.done("COMMIT") + m.IDLE)
    counts = rig.counts()
    assert (counts["xact_count"], counts["query_count"], counts["xact_time"]) == (1, 3, 1)


@pytest.mark.parametrize("pending", [Q(), P() + B() + E + S, F, m.d() + Q()])
def test_whole_requests_of_a_waiting_client_can_be_dropped(rig: Rig, pending: bytes) -> None:
    _, server = linked(rig)
    client = rig.add_client()
    client.data_received(Q()[:3])
    client.data_received(Q()[3:])
    assert client.drop_pending()
    rig.lists.stop_waiting(client)
    client.data_received(pending)
    assert client.state == CL_WAITING
    assert client.drop_pending()
    assert server.transport.take() == b""
    assert not client.drop_pending()


@pytest.mark.parametrize(
    "pending", [Q() * 2, P() + B(), Q() + S, Q() + Q()[:7], S + m.message(b"Q")[:4]]
)
def test_other_requests_of_a_waiting_client_can_not(rig: Rig, pending: bytes) -> None:
    linked(rig)
    client = rig.add_client()
    client.data_received(pending)
    assert not client.drop_pending()


@pytest.mark.parametrize("special", [False, True])
def test_ten_thousand_waiting_clients_that_fail_do_not_recurse(rig: Rig, special: bool) -> None:
    first, server = linked(rig)
    clients = [rig.add_client() for _ in range(10_000)]
    for client in clients:
        client.data_received(Q())
    rig.pool.disable_pqexec = True  # as by RELOAD: now each is refused when its turn comes
    server.special = special
    first.data_received(S)
    server.data_received(m.IDLE)
    assert all(client.closed for client in clients)
    assert rig.idle() == [server]


# ---- the end of one side


def test_a_client_that_leaves_between_requests_leaves_its_server(rig: Rig) -> None:
    client, server = rig.add_client(), rig.servers[0]
    client.data_received(Q())
    server.data_received(ROWS)
    client.connection_lost(None)
    assert rig.idle() == [server] and not server.closed


@pytest.mark.parametrize("sent", [Q(), Q()[:-3], P("a"), P("b") + S, m.d() + Q()])
def test_a_client_that_leaves_with_something_unanswered_takes_its_server(
    rig: Rig, sent: bytes
) -> None:
    client, server = rig.add_client(), rig.servers[0]
    client.data_received(sent)
    client.connection_lost(None)
    assert server.closed


def test_a_client_that_leaves_within_a_message_takes_its_server(form: Form) -> None:
    rig = Rig(form, SESSION)
    client, server = rig.add_client(), rig.servers[0]
    client.data_received(Q())
    server.data_received(ROWS)
    client.data_received(m.d(b"x" * 100)[:50])
    client.connection_lost(None)
    assert server.closed


def test_the_rest_of_a_message_does_not_reach_the_next_client(form: Form) -> None:
    rig = Rig(form, SESSION)
    client, server = rig.add_client(), rig.servers[0]
    client.data_received(Q())
    server.data_received(ROWS + m.notice[:12])
    client.connection_lost(None)
    other = rig.add_client()
    other.data_received(Q())
    server.data_received(m.notice[12:] + ROWS)
    assert other.transport.take() == ROWS


def test_an_idle_server_that_speaks_is_heard_by_control_alone(rig: Rig) -> None:
    server = rig.servers[0]
    for data in (m.notice, m.notification, m.status(), m.notice[:7], m.notice[7:]):
        server.data_received(data)
    assert rig.events == ["private N", "private A", "private S", "private N"]
    assert rig.idle() == [server]


def test_private_answers_reach_no_client(rig: Rig) -> None:
    server = rig.servers[0]
    server.send_private(Q("check"))
    server.data_received(m.columns + m.row(b"x" * 100_000) + m.done() + m.status() + m.IDLE)
    assert rig.events == ["private T", "private C", "private S", "private ready"]
    assert server.ready


# ---- session parameters


def test_a_client_is_held_until_its_parameters_are_set(rig: Rig) -> None:
    client, server = rig.add_client(), rig.servers[0]
    client.vars = "other"
    client.data_received(P("a") + B("a"))
    client.data_received(E + S)
    assert server.transport.take() == Q("SET other")
    for byte in m.done("SET") + m.IDLE:
        server.data_received(bytes([byte]))
    assert server.transport.take() == P("PGBOUNCER_1") + B("PGBOUNCER_1") + E + S
    server.data_received(m.one + m.two + m.done() + m.IDLE)
    assert client.transport.take() == m.one + m.two + m.done() + m.IDLE
    client.data_received(Q())
    assert server.transport.take() == Q()


def test_a_waiting_client_is_held_until_its_parameters_are_set(rig: Rig) -> None:
    first, server = linked(rig)
    client = rig.add_client()
    client.vars = "other"
    client.data_received(Q())
    first.data_received(Q("COMMIT"))
    server.transport.take()
    server.data_received(m.done("COMMIT") + m.IDLE)
    assert server.transport.take() == Q("SET other")
    server.data_received(m.done("SET") + m.IDLE)
    assert server.transport.take() == Q()


# ---- backpressure


def test_a_slow_client_stops_its_server_until_it_has_read(rig: Rig) -> None:
    client, server = linked(rig)
    client.pause_writing()
    assert not server.transport.is_reading and not client.transport.is_reading
    client.resume_writing()
    assert server.transport.is_reading and client.transport.is_reading


def test_a_slow_server_stops_its_client_until_it_has_read(rig: Rig) -> None:
    client, server = linked(rig)
    server.pause_writing()
    assert not client.transport.is_reading and server.transport.is_reading
    server.resume_writing()
    assert client.transport.is_reading


def test_a_server_is_read_again_when_its_slow_client_leaves_it(rig: Rig) -> None:
    client, server = linked(rig)
    client.data_received(Q("COMMIT"))
    client.pause_writing()
    server.data_received(m.done("COMMIT") + m.IDLE)
    assert server.transport.is_reading and not client.transport.is_reading
    other = rig.add_client()
    other.data_received(Q())
    client.resume_writing()
    assert server.linked_client is other and client.transport.is_reading


def test_the_next_server_of_a_slow_client_is_not_read_either(rig: Rig) -> None:
    client, server = rig.add_client(), rig.servers[0]
    client.pause_writing()
    client.data_received(Q())
    assert not server.transport.is_reading
    client.resume_writing()
    assert server.transport.is_reading


def test_the_next_client_of_a_slow_server_is_not_read_either(rig: Rig) -> None:
    client, server = linked(rig)
    server.pause_writing()
    client.data_received(S)
    server.data_received(m.IDLE)
    assert client.transport.is_reading
    client.data_received(Q())
    assert not client.transport.is_reading
    server.resume_writing()
    assert client.transport.is_reading


@pytest.mark.parametrize("is_linked", [False, True])
def test_made_up_answers_that_nobody_reads_stop_the_client(rig: Rig, is_linked: bool) -> None:
    client = linked(rig)[0] if is_linked else rig.add_client()
    client.transport.full = True
    client.data_received(C("a"))
    assert client.transport.take() == m.three
    assert not client.transport.is_reading


# ---- memory


def test_chunks_go_through_as_the_very_object(rig: Rig) -> None:
    client, server = linked(rig)
    query = Q("x" * 1000)
    client.data_received(query)
    assert server.transport.chunks[-1] is query
    answer = m.columns + m.row() * 1000
    server.data_received(answer)
    assert client.transport.chunks[-1] is answer


def drain(rig: Rig, relay: Any, chunk: bytes, count: int) -> int:
    """Peak memory in bytes while that much arrives, with nothing left of what was written."""
    sinks = [relay.transport for relay in rig.servers + rig.lists.active_clients()]
    tracemalloc.start()
    try:
        for _ in range(count):
            relay.data_received(chunk)
            for sink in sinks:
                sink.written.clear()
                sink.chunks.clear()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", b"QFEdPB")
def test_a_clients_message_of_a_gigabyte_is_not_assembled(rig: Rig, kind: int) -> None:
    client, _ = linked(rig)
    names = b"\0\0" if kind == ord("B") else b"\0"
    client.data_received(bytes((kind,)) + (2**30).to_bytes(4, "big") + names)
    assert drain(rig, client, b"x" * 65536, 100) < 400_000
    assert not client.closed and rig.counts()["client_bytes"] > 6_000_000


@pytest.mark.parametrize("kind", b"DdTNACEtHGV1")
def test_a_servers_message_of_a_gigabyte_is_not_assembled(rig: Rig, kind: int) -> None:
    client, server = linked(rig)
    client.data_received(Q())
    server.data_received(bytes((kind,)) + (2**30).to_bytes(4, "big"))
    assert drain(rig, server, b"x" * 65536, 100) < 400_000
    assert not server.closed


@pytest.mark.parametrize("kind", b"BDCP")
def test_a_name_without_an_end_is_refused_in_time(rig: Rig, kind: int) -> None:
    client, _ = linked(rig)
    client.data_received(bytes((kind,)) + (2**30).to_bytes(4, "big") + b"S")
    for _ in range(20):
        client.data_received(b"x" * 65536)
    assert client.closed


@pytest.mark.parametrize("length", [2**30, 2**31 - 2])
@pytest.mark.parametrize("kind", b"DNAES")
def test_an_idle_servers_message_of_a_gigabyte_is_not_assembled(
    rig: Rig, kind: int, length: int
) -> None:
    server = rig.servers[0]
    server.data_received(bytes((kind,)) + length.to_bytes(4, "big"))
    assert drain(rig, server, b"x" * 65536, 100) < 400_000
    assert server.closed == (chr(kind) not in "NA")


def test_outstanding_requests_have_a_limit(rig: Rig) -> None:
    client, _ = linked(rig)
    client.data_received(Q())
    for _ in range(10):
        client.data_received(C("a") * 8000)
    assert client.closed and "client: too many outstanding requests" in rig.events


def test_connections_leave_no_cycles(form: Form) -> None:
    gc.collect()
    gc.disable()
    try:
        for mode in (1, 0):
            rig = Rig(form, mode, server_count=2)
            one, two, three = (rig.add_client() for _ in range(3))
            for client in (one, two, three):
                client.data_received(P("a") + B("a") + E + S)
            one.linked_server.data_received(m.one + m.two + m.done())
            watched = [weakref.ref(relay.transport) for relay in [one, two, three, *rig.servers]]
            two.connection_lost(None)
            for server in rig.servers:
                server.connection_lost(None)
            three.connection_lost(None)
            del one, two, three, client, server
            rig.servers.clear()
            rig.lists = rig.pool = rig.statements = None  # type: ignore[assignment]
            assert [ref() for ref in watched] == [None] * 5
    finally:
        gc.enable()


# ---- what is not certain yet


def test_a_name_waits_for_the_batch_that_may_not_prepare_it(rig: Rig) -> None:
    client, server = rig.add_client(), rig.servers[0]
    client.data_received(P("", "bad") + P("a") + S + B("a") + S)
    assert server.transport.take() == P("", "bad") + P("PGBOUNCER_1") + S
    client.data_received(Q())
    server.data_received(m.error() + m.IDLE)
    assert server.linked_client is client
    assert server.transport.take() == B("a") + S + Q()
    server.data_received(m.error("26000") + m.IDLE + m.rows + m.IDLE)
    assert client.transport.take() == m.error() + m.IDLE + m.error("26000") + m.IDLE + ROWS
    assert rig.idle() == [server]


def test_an_eviction_waits_for_the_batch_that_may_not_close_it(form: Form) -> None:
    rig = Rig(form, max_prepared_statements=1)
    client, server = rig.add_client(), rig.servers[0]
    client.data_received(P("a") + S)
    server.data_received(m.one + m.IDLE)
    server.transport.take()
    client.data_received(P("", "bad") + P("b", "SELECT 2") + S + B("a") + S)
    asked = P("", "bad") + P("PGBOUNCER_2", "SELECT 2") + C("PGBOUNCER_1") + S
    assert server.transport.take() == asked
    server.data_received(m.error() + m.IDLE)
    assert server.transport.take() == B("PGBOUNCER_1") + S


@pytest.mark.parametrize("ends", [m.done("COPY 1"), m.error()], ids=["well", "badly"])
def test_a_name_does_not_wait_for_a_sync_that_went_into_a_copy(rig: Rig, ends: bytes) -> None:
    client, server = rig.add_client(), rig.servers[0]
    client.data_received(P("a", "COPY t FROM STDIN") + B("a") + E + S)
    server.data_received(m.one + m.two + m.copy_in)
    server.transport.take()
    client.data_received(m.d() + m.c + P("b") + B("b") + E + S)
    assert server.transport.take() == m.d() + m.c
    server.data_received(ends)
    assert server.transport.take() == P("PGBOUNCER_2") + B("PGBOUNCER_2") + E + S
