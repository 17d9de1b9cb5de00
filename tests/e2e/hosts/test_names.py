"""Servers by name: DNS, its changes, and what happens when it fails or hangs."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import Connect, server_count, value, wait_for_log
from tests.fixtures.dns import DnsServer
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

WHERE = "SELECT inet_server_addr()"
QUICK = {"dns_max_ttl": 1, "dns_nxdomain_ttl": 1, "server_login_retry": 1}


@pytest.fixture(scope="module")
def served(
    module_pooler: MakePooler, postgres: EmbeddedPostgres, module_dns: DnsServer, readable: Path
) -> Pooler:
    """One pooler, a database for each test, at the name of the database."""
    module_dns.records["db.search.test"] = ["127.0.0.1"]
    names = ("moving", "busy", "late", "hanging", "failing", "several")
    databases = {name: f"host={name}.test port={postgres.port} dbname=postgres" for name in names}
    short = {"db": f"host=db port={postgres.port} dbname=postgres"}
    local = {"local": f"host=localhost port={postgres.port} dbname=postgres"}
    resolv_conf = module_dns.write_resolv_conf(readable / "resolv.conf", "search search.test")
    return module_pooler(
        databases=databases | short | local, settings=QUICK | {"resolv_conf": resolv_conf}
    )


def dns_hosts(pooler: Pooler) -> dict[str, str]:
    """SHOW DNS_HOSTS: the addresses by name."""
    return {row["hostname"]: row["addrs"] for row in pooler.console("SHOW DNS_HOSTS")}


def test_a_name_is_found_in_a_search_domain_and_in_etc_hosts(
    served: Pooler, connect: Connect
) -> None:
    assert value(connect(served, "db"), WHERE) == "127.0.0.1"
    assert value(connect(served, "local"), WHERE) == "127.0.0.1"
    assert dns_hosts(served)["db"] == "127.0.0.1:0"
    assert len(os.listdir(f"/proc/{served.pid}/task")) == 1


def test_connections_use_all_addresses_of_a_name(
    served: Pooler, module_dns: DnsServer, connect: Connect
) -> None:
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    module_dns.records["several.test"] = addresses
    clients = [connect(served, "several") for _ in range(3)]
    for client in clients:
        value(client, "BEGIN")
    assert sorted(value(client, WHERE) for client in clients) == addresses
    zones = {row["zonename"]: row["count"] for row in served.console("SHOW DNS_ZONES")}
    assert zones["test"] >= 1
    lists = {row["list"]: row["items"] for row in served.console("SHOW LISTS")}
    assert lists["dns_names"] == len(dns_hosts(served))


def test_an_idle_server_of_an_address_that_is_gone_is_closed(
    served: Pooler, module_dns: DnsServer, connect: Connect
) -> None:
    module_dns.records["moving.test"] = ["127.0.0.1"]
    client = connect(served, "moving")
    assert value(client, WHERE) == "127.0.0.1"
    module_dns.records["moving.test"] = ["127.0.0.2"]
    wait_until(lambda: "moving.test no longer has the address 127.0.0.1" in served.log())
    assert "closing because: obsolete connection" in served.log()
    assert value(client, WHERE) == "127.0.0.2"


def test_a_busy_server_of_an_address_that_is_gone_is_closed_at_its_release(
    served: Pooler, module_dns: DnsServer, connect: Connect
) -> None:
    module_dns.records["busy.test"] = ["127.0.0.1"]
    client = connect(served, "busy")
    value(client, "BEGIN")
    assert value(client, WHERE) == "127.0.0.1"
    module_dns.records["busy.test"] = ["127.0.0.2"]
    wait_until(lambda: "busy.test no longer has the address 127.0.0.1" in served.log())
    assert value(client, WHERE) == "127.0.0.1"
    value(client, "COMMIT")
    assert value(client, WHERE) == "127.0.0.2"


def ask_in_background(pooler: Pooler, database: str) -> Future[str]:
    """A client of its own that asks where its server is; it may have to wait for its login."""

    def ask() -> str:
        with psycopg.connect(pooler.dsn(database)) as client:
            row = client.execute(WHERE).fetchone()
            return str(row and row[0])

    executor = ThreadPoolExecutor(1)
    future = executor.submit(ask)
    executor.shutdown(wait=False)
    return future


def test_a_name_that_is_not_known_is_asked_for_till_it_is(
    served: Pooler, module_dns: DnsServer
) -> None:
    client = ask_in_background(served, "late")
    wait_until(lambda: module_dns.queries["late.test"] >= 2)
    text = "DNS lookup failed: late.test: Domain name not found"
    assert served.log().count(text) == 1
    assert "closing because: server DNS lookup failed" in served.log()
    module_dns.records["late.test"] = ["127.0.0.3"]
    assert client.result(10) == "127.0.0.3"
    assert "DNS lookup works again: late.test" in served.log()


def test_a_name_that_hangs_stalls_nobody_who_does_not_need_it(
    served: Pooler, module_dns: DnsServer, connect: Connect
) -> None:
    module_dns.records["hanging.test"] = ["127.0.0.1"]
    module_dns.silent.add("hanging.test")
    stalled = ask_in_background(served, "hanging")
    wait_until(lambda: module_dns.queries["hanging.test"] > 0)
    assert value(connect(served, "db"), WHERE) == "127.0.0.1"
    assert not stalled.done()
    module_dns.silent.discard("hanging.test")
    assert stalled.result(10) == "127.0.0.1"


def test_while_dns_fails_the_last_addresses_are_used(
    served: Pooler, module_dns: DnsServer, connect: Connect
) -> None:
    module_dns.records["failing.test"] = ["127.0.0.1"]
    clients = [connect(served, "failing") for _ in range(2)]
    value(clients[0], "BEGIN")
    text = "DNS lookup failed: failing.test: DNS server returned general failure"
    module_dns.failing = True
    try:
        wait_until(lambda: text in served.log())
        assert value(clients[1], WHERE) == "127.0.0.1"  # needs a second server
        assert server_count(served, "failing") == 2
    finally:
        module_dns.failing = False
    assert served.log().count(text) == 1


def test_a_changed_zone_has_its_names_looked_up_again(
    pooler: MakePooler,
    postgres: EmbeddedPostgres,
    dns: DnsServer,
    readable: Path,
    connect: Connect,
) -> None:
    dns.records["db.zone.test"] = ["127.0.0.1"]
    dns.serials["zone.test"] = 7
    made = pooler(
        databases={"db": f"host=db.zone.test port={postgres.port} dbname=postgres"},
        settings={
            "resolv_conf": dns.write_resolv_conf(readable / "zone.conf"),
            "dns_max_ttl": 3600,
            "dns_zone_check_period": 1,
        },
    )
    dns.ttl = 3600
    assert value(connect(made, "db"), WHERE) == "127.0.0.1"
    wait_until(lambda: made.console("SHOW DNS_ZONES")[0]["serial"] == 7)
    dns.records["db.zone.test"] = ["127.0.0.2"]
    dns.serials["zone.test"] = 8
    wait_for_log(made, "zone 'zone.test' serial changed: old=7 new=8")
    wait_until(lambda: made.console("SHOW DNS_HOSTS")[0]["addrs"] == "127.0.0.2:0")
