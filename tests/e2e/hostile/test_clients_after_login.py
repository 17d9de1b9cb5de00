"""Logged-in clients that break the protocol or never read: they alone are closed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.wire import build, codes
from tests.e2e.hostile.conftest import Others, busy_pools
from tests.fixtures.ends import HostileClient, memory_bounded, resident_bytes
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def small(module_pooler: MakePooler) -> Pooler:
    """Two servers, and packets of a megabyte at most."""
    return module_pooler(
        settings={
            "default_pool_size": 2,
            "max_packet_size": 1_000_000_000,
            "query_wait_timeout": 5,
        }
    )


@pytest.fixture(params=["tcp", "unix"])
def client(request: pytest.FixtureRequest, small: Pooler) -> Iterator[HostileClient]:
    path = str(small.socket_dir / f".s.PGSQL.{small.port}")
    with HostileClient((small.host, small.port) if request.param == "tcp" else path) as client:
        client.login("postgres", "postgres")
        yield client
    wait_until(lambda: not busy_pools(small, "postgres"))
    with HostileClient((small.host, small.port)) as other:
        other.login("postgres", "postgres")
        assert other.query("select 'well'") == [["well"]]


def connect(pooler: Pooler, receive_buffer: int = 0) -> HostileClient:
    client = HostileClient((pooler.host, pooler.port), receive_buffer)
    client.login("postgres", "postgres")
    return client


def header(kind: bytes, length: int) -> bytes:
    return kind + struct.pack(">I", length)


STARTUP = build.build_startup_message({"user": "postgres", "database": "postgres"})
BAD_MESSAGES = {
    "a length of 0": (header(b"Q", 0) + b"xyz", "bad packet header: '510000000078797a'"),
    "a length of 3": (header(b"Q", 3), "bad packet header: '5100000003'"),
    "a length of 2^31": (header(b"Q", 2**31), "bad packet header: '5180000000'"),
    "a length of 2^32-1": (header(b"P", 2**32 - 1), "bad packet header: '50ffffffff'"),
    "over max_packet_size": (header(b"P", 1_000_000_001), "bad packet header: '503b9aca01'"),
    "garbage": (b"\xff\0\0\0\x04", "unknown pkt"),
    "a second StartupMessage": (STARTUP, None),
    "a password": (build.build_password_message("x"), "unknown pkt"),
    "Bind without an end": (header(b"B", 12) + b"portalna", "failed to parse packet"),
    "Describe of nothing": (header(b"D", 5) + b"S", "failed to parse packet"),
    "Describe without an end": (header(b"D", 8) + b"Sxyz", "failed to parse packet"),
    "Parse without an end": (header(b"P", 8) + b"name", "failed to parse packet"),
    "Close without an end": (header(b"C", 8) + b"Sxyz", "failed to parse packet"),
    "Describe of a gigabyte": (header(b"D", 900_000_000) + b"S", "failed to parse packet"),
    "Close of a gigabyte": (header(b"C", 900_000_000) + b"S", "failed to parse packet"),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_broken_message_closes_its_client(name: str, client: HostileClient) -> None:
    sent, text = BAD_MESSAGES[name]
    client.send(sent)
    fatal = client.read_fatal()
    assert fatal.startswith("08P01 ") if text is None else fatal == f"08P01 {text}"


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_broken_message_in_a_transaction_closes_its_client_and_server(
    name: str, client: HostileClient, small: Pooler
) -> None:
    sent, text = BAD_MESSAGES[name]
    client.query("begin")
    [[pid]] = client.query("select pg_backend_pid()")
    client.send(sent)
    fatal = client.read_fatal()
    assert fatal.startswith("08P01 ") if text is None else fatal == f"08P01 {text}"
    with connect(small) as other:
        gone = f"select count(*) from pg_stat_activity where pid = {pid}"
        wait_until(lambda: other.query(gone) == [["0"]])


# What PostgreSQL itself has to say something about.
ODD_MESSAGES = {
    "a query without its NUL": header(b"Q", 7) + b"abc",
    "Bind with counts that lie": header(b"B", 12) + b"\0\0" + b"\xff\xff\xff\xff\0\0",
    "Execute of an unknown portal": build.build_execute("nowhere"),
    "an unknown statement": build.build_bind("", "nowhere", []),
    "an unknown function": build.build_function_call(0, []),
    "CopyData outside a COPY": build.build_copy_data(b"x" * 100_000),
    "CopyDone outside a COPY": build.build_copy_done() * 100,
}


@pytest.mark.parametrize("name", ODD_MESSAGES)
def test_nonsense_that_is_well_formed_is_answered_by_the_server(
    name: str, client: HostileClient
) -> None:
    client.send(ODD_MESSAGES[name], build.build_sync(), build.build_query("select 'end of it'"))
    while b"end of it" not in client.read_until(codes.DATA_ROW)[-1][1]:
        pass
    client.read_until(codes.READY_FOR_QUERY)
    assert client.query("select 'well'") == [["well"]]


def test_half_a_message_and_then_nothing_is_in_nobodys_way(
    small: Pooler, others_are_served: Others
) -> None:
    with others_are_served(small), connect(small) as client:
        client.send(build.build_query("select " + "1" * 100_000)[:-50_000])
        wait_until(lambda: busy_pools(small, "postgres"))


def test_a_message_in_single_bytes_is_one_message(client: HostileClient) -> None:
    for byte in build.build_query("select 'in pieces'"):
        client.send(bytes([byte]))
    messages = client.read_until(codes.READY_FOR_QUERY)
    assert b"in pieces" in b"".join(body for _, body in messages)


# ---- those that don't read


def test_whoever_reads_no_answers_to_close_is_read_no_further(small: Pooler) -> None:
    """Their answers are made up here, so no server's pace holds them back."""
    closes = build.build_close(codes.KIND_STATEMENT, "nothing") * 10_000
    with memory_bounded(small.pid, 32 * MEGABYTE), connect(small, 4096) as client:
        client.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                client.send(closes)


def test_whoever_reads_no_answers_to_parse_is_read_no_further(small: Pooler) -> None:
    statement = build.build_parse("s", "select 1")
    again = (build.build_close(codes.KIND_STATEMENT, "s") + statement) * 5_000
    with memory_bounded(small.pid, 32 * MEGABYTE), connect(small, 4096) as client:
        client.ask(statement, build.build_sync())
        client.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                client.send(again)


def test_whoever_reads_nothing_costs_no_memory_and_can_be_killed(
    small: Pooler, others_are_served: Others
) -> None:
    with (
        others_are_served(small),
        connect(small, 4096) as client,
        memory_bounded(small.pid, 16 * MEGABYTE),
    ):
        rows = small.console("SHOW CLIENTS")
        [number] = [row["id"] for row in rows if row["port"] == port_of(client)]
        client.send(build.build_query("select repeat('x', 100000000)"))
        waiting = [0]

        def is_stuck() -> bool:
            """Nothing more fits into the sockets between us."""
            waiting.append(unsent_to(small, port_of(client)))
            return 0 < waiting[-2] == waiting[-1]

        wait_until(is_stuck)
        small.console(f"KILL_CLIENT {number}")
        # It is still there and still reads nothing, but the pooler has no socket for it any more.
        wait_until(lambda: unsent_to(small, port_of(client)) < 0)


def port_of(client: HostileClient) -> int:
    port: int = client.sock.getsockname()[1]
    return port


def unsent_to(pooler: Pooler, port: int) -> int:
    """Bytes in the socket that the pooler has open to that port, -1 where it has none."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(end.split(":")[1], 16) for end in fields[1:3])
        if (local, remote) == (pooler.port, port) and fields[9] != "0":
            return int(fields[4].split(":")[0], 16)
    return -1


def test_many_that_read_nothing_share_what_they_cost(small: Pooler) -> None:
    before = resident_bytes(small.pid)
    clients = [connect(small, 4096) for _ in range(2)]
    for client in clients:
        client.send(build.build_query("select repeat('x', 50000000) from generate_series(1, 5)"))
    wait_until(lambda: len(busy_pools(small, "postgres")))
    for client in clients:
        client.reset()
    wait_until(lambda: not busy_pools(small, "postgres"))
    assert resident_bytes(small.pid) - before < 16 * MEGABYTE
