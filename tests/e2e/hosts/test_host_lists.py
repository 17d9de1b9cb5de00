"""Several hosts in one entry: in turn or till one fails, and a host that doesn't answer at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import Connect, value
from tests.fixtures.blackhole import blackhole
from tests.fixtures.pooler import MakePooler, Pooler

WHERE = "SELECT inet_server_addr()"
SWALLOWS = "127.0.0.9"  # connects, at PostgreSQL's port
REFUSES = "127.0.0.10"


@pytest.fixture(scope="module")
def hole(postgres: EmbeddedPostgres) -> Iterator[None]:
    with blackhole(SWALLOWS, postgres.port):
        yield


@pytest.fixture(scope="module")
def served(module_pooler: MakePooler, postgres: EmbeddedPostgres, hole: None) -> Pooler:
    lists = {
        "turns": "127.0.0.1,127.0.0.2,127.0.0.3",
        "first": "127.0.0.2,127.0.0.1",
        "refusing": f"{REFUSES},127.0.0.2,127.0.0.1",
        "swallowing": f"{SWALLOWS},127.0.0.2,127.0.0.3",
        "stays": f"{SWALLOWS},127.0.0.2,127.0.0.3",
    }
    sticky = "load_balance_hosts=disable"
    modes = dict.fromkeys(("first", "refusing", "stays"), sticky)
    return module_pooler(
        databases={
            name: f"host={hosts} port={postgres.port} dbname=postgres {modes.get(name, '')}"
            for name, hosts in lists.items()
        },
        settings={"server_connect_timeout": 3},
    )


def places(pooler: Pooler, database: str, connect: Connect, count: int) -> list[str]:
    """Where the servers of that many clients are, all in a transaction of their own."""
    clients = [connect(pooler, database) for _ in range(count)]
    found = []
    for client in clients:
        value(client, "BEGIN")
        found.append(value(client, WHERE))
    return found


def test_hosts_are_used_in_turn(served: Pooler, connect: Connect) -> None:
    assert sorted(places(served, "turns", connect, 6)) == sorted(
        2 * ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    )


def test_without_load_balancing_the_first_host_is_used(served: Pooler, connect: Connect) -> None:
    assert places(served, "first", connect, 3) == ["127.0.0.2"] * 3


def test_without_load_balancing_a_host_that_refuses_is_left(
    served: Pooler, connect: Connect
) -> None:
    assert places(served, "refusing", connect, 3) == ["127.0.0.2"] * 3
    assert served.log().count(f"cannot connect to {REFUSES}") == 1


def test_a_host_that_swallows_connects_stalls_nobody_for_long(
    served: Pooler, connect: Connect
) -> None:
    assert set(places(served, "swallowing", connect, 4)) == {"127.0.0.2", "127.0.0.3"}
    assert f"no answer from {SWALLOWS}" in served.log()
    assert "connect timeout" not in served.log()


def test_without_load_balancing_a_host_that_swallows_connects_is_left(
    served: Pooler, connect: Connect
) -> None:
    assert places(served, "stays", connect, 3) == ["127.0.0.2"] * 3
    assert served.log().count(f"no answer from {SWALLOWS}") <= 2  # it may be known already
