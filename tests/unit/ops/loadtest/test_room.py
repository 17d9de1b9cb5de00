"""What a load needs of this machine, and when somebody has to agree to it."""

from __future__ import annotations

import pytest

from pgmux.ops.loadtest.clients import Driver, Pooling
from pgmux.ops.loadtest.plan import Load, Side
from pgmux.ops.loadtest.room import NoRoom, Room, descriptors_for, doubts
from pgmux.ops.loadtest.target import arguments_of, is_local
from tests.unit.ops.loadtest.results import target

ROOM = Room(soft=256, hard=1024, ports=28_000)


def test_descriptors_are_taken_up_to_the_hard_limit() -> None:
    assert descriptors_for(50, ROOM, by_tcp=True) == 256
    assert descriptors_for(900, ROOM, by_tcp=True) == 964


@pytest.mark.parametrize(
    ("connections", "room", "said"),
    [
        (1000, ROOM, "1,000 connections need 1,064 file descriptors, and .* 1,024: ulimit -Hn"),
        (30_000, Room(99_999, 99_999, 28_000), "there are 28,000: net.ipv4.ip_local_port_range"),
    ],
)
def test_what_there_is_no_room_for_is_said_before_it_begins(
    connections: int, room: Room, said: str
) -> None:
    with pytest.raises(NoRoom, match=said):
        descriptors_for(connections, room, by_tcp=True)


def test_unix_sockets_need_no_ports() -> None:
    assert descriptors_for(30_000, Room(99_999, 99_999, 28_000), by_tcp=False) == 99_999


@pytest.mark.parametrize(
    ("host", "connections", "queries", "said"),
    [
        ("127.0.0.1", 500, 1_000_000, ""),
        ("db.example", 100, 20_000, ""),
        ("db.example", 101, 1000, "is another machine: 101 connections"),
        ("db.example", 1, 20_001, "20,001 queries"),
    ],
)
def test_another_machine_gets_no_great_load_without_a_yes(
    host: str, connections: int, queries: int, said: str
) -> None:
    found = doubts(Load(num_queries=queries), connections, [target(Side.POOLER, host)])
    assert bool(found) == bool(said)
    assert said in "".join(found)


def test_nobody_takes_the_last_connections_of_a_server_without_a_yes() -> None:
    full = target(Side.DIRECT, free_places=49)
    assert "49 left of max_connections" in doubts(Load(), 50, [full])[0]
    assert doubts(Load(), 49, [full]) == []


def test_a_pool_of_the_driver_bounds_its_connections() -> None:
    assert Pooling().connections(500) == 500
    assert Pooling(Driver.SQLALCHEMY, 5, 10).connections(500) == 15
    assert Pooling(Driver.ASYNCPG, 5, 10).connections(3) == 3


@pytest.mark.parametrize(
    ("host", "address", "local"),
    [
        ("/run/postgresql", "", True),
        ("localhost", "127.0.0.1", True),
        ("localhost", "::1", True),
        ("db", "10.0.0.5", False),
        ("db", "", False),
    ],
)
def test_this_machine_is_a_unix_socket_or_a_loopback_address(
    host: str, address: str, local: bool
) -> None:
    assert is_local(host, address) is local


def test_what_libpq_found_out_is_what_asyncpg_is_told() -> None:
    login = {
        "host": "db",
        "port": "5433",
        "dbname": "app",
        "user": "me",
        "password": "x",
        "sslmode": "verify-full",
        "sslrootcert": "/a b/ca.crt",
        "options": "-c search_path=s",
    }
    assert arguments_of(login, "pgmux loadtest") == {
        "dsn": "postgresql://?sslmode=verify-full&sslrootcert=%2Fa%20b%2Fca.crt",
        "host": "db",
        "port": 5433,
        "database": "app",
        "user": "me",
        "password": "x",
        "server_settings": {
            "application_name": "pgmux loadtest",
            "options": "-c search_path=s",
        },
    }
