"""The order in which hosts and addresses are tried."""

from __future__ import annotations

import pytest

from pgmux.config.model import Database, LoadBalanceHosts
from pgmux.net.hosts import Hosts, is_name
from pgmux.net.sockets import Address, numeric_addresses
from tests.fixtures.clock import Clock

RETRY = 15.0


@pytest.fixture
def hosts(clock: Clock) -> Hosts:
    return Hosts(clock)


def entry(*hosts: str, balance: bool = True, port: int = 5432) -> Database:
    mode = LoadBalanceHosts.ROUND_ROBIN if balance else LoadBalanceHosts.DISABLE
    return Database("name", "db", hosts=hosts, port=port, load_balance_hosts=mode)


def order(hosts: Hosts, database: Database) -> str:
    return "".join(str(host) for host in hosts.hosts(database))


def addresses(*hosts: str) -> list[Address]:
    return [numeric_addresses(host, 5432)[0] for host in hosts]


def ends(found: list[Address]) -> str:
    """The last character of each address."""
    return "".join(address.host[-1] for address in found)


def test_hosts_take_turns(hosts: Hosts) -> None:
    assert [order(hosts, entry("a", "b", "c")) for _ in range(4)] == ["abc", "bca", "cab", "abc"]


def test_without_load_balancing_the_order_stays(hosts: Hosts) -> None:
    assert [order(hosts, entry("a", "b", balance=False)) for _ in range(3)] == ["ab", "ab", "ab"]


def test_without_load_balancing_a_host_that_failed_is_left_for_good(
    hosts: Hosts, clock: Clock
) -> None:
    database = entry("a", "b", "c", balance=False)
    hosts.on_failed(database, "a", None, RETRY)
    clock.now += RETRY
    assert order(hosts, database) == "bca"
    hosts.on_failed(database, "a", None, RETRY)  # an attempt that began earlier
    clock.now += RETRY
    assert order(hosts, database) == "bca"


def test_a_host_that_failed_comes_last_till_the_next_retry(hosts: Hosts, clock: Clock) -> None:
    database = entry("a", "b", "c")
    hosts.on_failed(database, "a", None, RETRY)
    assert [order(hosts, database) for _ in range(3)] == ["bca", "bca", "cba"]
    clock.now += RETRY
    assert order(hosts, database) == "abc"


def test_a_host_that_serves_again_has_its_place_back(hosts: Hosts) -> None:
    database = entry("127.0.0.1", "b")
    (address,) = addresses("127.0.0.1")
    hosts.on_failed(database, "127.0.0.1", address, RETRY)
    hosts.on_failed(database, "127.0.0.1", None, RETRY)
    hosts.on_connected(database, "127.0.0.1", address)
    assert order(hosts, database) == "127.0.0.1b"


def test_a_host_that_failed_on_one_port_has_not_failed_on_another(hosts: Hosts) -> None:
    hosts.on_failed(entry("a", "b"), "a", None, RETRY)
    assert order(hosts, entry("a", "b", port=5433)) == "ab"


def test_a_host_that_keeps_silent_comes_last_and_is_not_left_for_good(
    hosts: Hosts, clock: Clock
) -> None:
    database = entry("a", "b", balance=False)
    assert hosts.on_late(database, "a", None, RETRY)
    assert not hosts.on_late(database, "a", None, RETRY)
    assert order(hosts, database) == "ba"
    clock.now += RETRY
    assert order(hosts, database) == "ab"


def test_when_all_have_failed_all_are_tried(hosts: Hosts) -> None:
    database = entry("a", "b")
    for host in "ab":
        hosts.on_failed(database, host, None, RETRY)
    assert order(hosts, database) == "ab"


def test_no_host_is_the_unix_socket(hosts: Hosts) -> None:
    assert hosts.hosts(entry()) == [None]


def test_addresses_of_a_name_take_turns(hosts: Hosts) -> None:
    found = addresses("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert [ends(hosts.addresses("db", found)) for _ in range(3)] == ["123", "231", "312"]


def test_the_resolvers_first_family_stays_first(hosts: Hosts) -> None:
    found = addresses("::1", "10.0.0.2", "::3", "10.0.0.4")
    assert [ends(hosts.addresses("db", found)) for _ in range(2)] == ["1324", "3142"]


def test_an_address_that_failed_comes_last(hosts: Hosts) -> None:
    found = addresses("10.0.0.1", "10.0.0.2")
    hosts.on_failed(entry("db"), "db", found[0], RETRY)
    assert [ends(hosts.addresses("db", found)) for _ in range(2)] == ["21", "21"]


def test_failures_are_forgotten(hosts: Hosts, clock: Clock) -> None:
    for n in range(100):
        clock.now += RETRY
        hosts.on_failed(entry("db"), "db", addresses(f"10.0.0.{n}")[0], RETRY)
    assert len(hosts._failed_until) == 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("db", True),
        ("db.test", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("/tmp", False),
        ("@x", False),
    ],
)
def test_what_is_a_name(host: str, expected: bool) -> None:
    assert is_name(host) is expected
