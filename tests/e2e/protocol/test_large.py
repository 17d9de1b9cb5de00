"""Values far larger than the pooler's memory may grow, past slow readers on either side."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgmux.wire import build
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, letters, values
from tests.fixtures.waiting import wait_until

# PGMUX_HUGE_VALUE=1000000000 makes it PostgreSQL's limit, and the tests slow.
HUGE = int(os.environ.get("PGMUX_HUGE_VALUE", "200000000"))
GROWTH_MAX = 64 << 20
CHUNK = 1 << 20
SYNC = build.build_sync()


@pytest.fixture(scope="module")
def single(module_pooler: MakePooler) -> Pooler:
    return module_pooler(settings={"default_pool_size": 2})


@pytest.fixture
def client(single: Pooler) -> Iterator[RawClient]:
    with RawClient(single) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        yield client.start()


def memory_peak(pooler: Pooler) -> int:
    """The most that the process has ever had in memory, in bytes."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pooler.pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


@contextmanager
def bounded_memory(pooler: Pooler) -> Iterator[None]:
    before = memory_peak(pooler)
    yield
    assert memory_peak(pooler) - before < GROWTH_MAX


def discard(client: RawClient, count: int, expected: int) -> None:
    """Reads `count` bytes off the socket, every one of which is `expected`."""
    pattern = bytes([expected]) * CHUNK
    while count > 0:
        data = client.socket.recv(min(count, CHUNK))
        assert data and data == pattern[: len(data)]
        count -= len(data)


def exactly(client: RawClient, count: int) -> bytes:
    data = client.socket.recv(count, socket.MSG_WAITALL)
    assert len(data) == count
    return data


def read_huge_row(client: RawClient, size: int) -> None:
    """T, one D with a value of that many `x`, C, Z."""
    kind, length = struct.unpack(">cI", exactly(client, 5))
    assert kind == b"T"
    exactly(client, length - 4)
    assert exactly(client, 11) == struct.pack(">cIHI", b"D", size + 10, 1, size)
    discard(client, size, ord("x"))
    assert letters(client.read_until()) == "CZ"


def test_a_huge_value_passes_in_bounded_memory(single: Pooler, client: RawClient) -> None:
    with bounded_memory(single):
        client.send(build.build_query(f"SELECT repeat('x', {HUGE})"))
        read_huge_row(client, HUGE)
    assert client.value("SELECT 1") == "1"


def test_a_huge_parameter_passes_in_bounded_memory(single: Pooler, client: RawClient) -> None:
    client.exchange(build.build_parse("s", "SELECT length($1::text)"), SYNC)
    bind = build.build_bind("", "s", [b""])
    value = b"x" * CHUNK
    count = HUGE // CHUNK
    with bounded_memory(single):
        # The Bind of an empty value, cut at its value's length.
        tail = bind[-2:]
        head = bind[5:-6] + struct.pack(">I", count * CHUNK)
        client.send(b"B" + struct.pack(">I", 4 + len(head) + count * CHUNK + len(tail)), head)
        for _ in range(count):
            client.send(value)
        answer = client.exchange(tail, build.build_execute(), SYNC)
    assert values(answer) == [str(count * CHUNK)]


def test_copy_in_and_out_in_bounded_memory(single: Pooler, client: RawClient) -> None:
    row = b"x" * 999 + b"\n"
    message = build.build_copy_data(row * 1000)
    count = HUGE // 4 // 1_000_000
    with bounded_memory(single):
        client.exchange(build.build_query("BEGIN; CREATE TEMP TABLE large (line text)"))
        client.send(build.build_query("COPY large FROM STDIN"))
        client.read_until("G")
        for _ in range(count):
            client.send(message)
        assert letters(client.exchange(build.build_copy_done())) == "CZ"
        client.send(build.build_query("COPY large TO STDOUT"))
        rows = [body for kind, body in client.read_until() if kind == "d"]
    assert len(rows) == count * 1000
    assert set(rows) == {row}
    client.exchange(build.build_query("ROLLBACK"))


def test_a_reader_that_stops_holds_its_server_and_not_the_memory(
    single: Pooler, client: RawClient
) -> None:
    with bounded_memory(single), psycopg.connect(single.dsn(), autocommit=True) as other:
        client.send(build.build_query(f"SELECT repeat('x', {HUGE})"))
        # The server has written what the buffers on the way take, and waits for us.
        sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
        wait_until(lambda: other.execute(sql).fetchone(), 60)
        for i in range(20):
            assert other.execute("SELECT %s", [i], prepare=True).fetchone() == (i,)
        read_huge_row(client, HUGE)


def test_a_server_that_doesn_t_read_holds_its_client_and_not_the_memory(
    single: Pooler, client: RawClient
) -> None:
    text = b"x" * (HUGE // 4)
    with bounded_memory(single):
        client.send(build.build_query("SELECT pg_sleep(0.3)"))
        sender = threading.Thread(
            target=client.send,
            args=(
                build.build_parse("", "SELECT length($1::text)"),
                build.build_bind("", "", [text]),
                build.build_execute(),
                SYNC,
            ),
        )
        sender.start()
        assert letters(client.read_until()) == "TDCZ"
        assert values(client.read_until()) == [str(len(text))]
        sender.join()


def test_no_byte_is_lost_or_swapped_past_a_slow_reader(client: RawClient) -> None:
    count = 200_000
    client.send(
        build.build_query(f"SELECT i::text || 'abcdefgh' FROM generate_series(1,{count}) i")
    )
    got = values(client.read_until())
    assert got == [f"{i}abcdefgh" for i in range(1, count + 1)]


def test_a_reader_that_leaves_in_the_middle_of_a_value_frees_its_server(single: Pooler) -> None:
    for _ in range(4):  # more often than there are servers
        with RawClient(single).start() as leaver:
            leaver.send(build.build_query(f"SELECT repeat('x', {HUGE // 10})"))
            leaver.socket.recv(1000)
    with psycopg.connect(single.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_writer_that_leaves_in_the_middle_of_a_value_frees_its_server(single: Pooler) -> None:
    for _ in range(4):
        with RawClient(single).start() as leaver:
            leaver.exchange(build.build_parse("s", "SELECT $1::text"), SYNC)
            leaver.send(build.build_bind("", "s", [b"x" * 3_000_000])[:2_000_000])
    with psycopg.connect(single.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
