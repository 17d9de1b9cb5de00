"""Look-ups by c-ares, of a DNS server of our own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pycares
import pytest

from pgmux.net.dns import look_up, look_up_serial
from pgmux.net.resolver import Answer, LookupFailed
from tests.fixtures.dns import DnsServer, running_dns_server
from tests.unit.net.conftest import Run


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with running_dns_server() as running:
        running.records = {
            "two.test": ["127.0.0.1", "127.0.0.2"],
            "six.test": ["::1"],
            "db.b.test": ["127.0.0.3"],
            "bare": ["127.0.0.4"],
            "empty.test": [],
        }
        running.serials = {"test": 7}
        running.silent = {"hanging.test"}
        yield running


@pytest.fixture
def resolv_conf(server: DnsServer, tmp_path: Path) -> str:
    return str(server.write_resolv_conf(tmp_path / "resolv.conf", "search a.test b.test"))


async def ask(name: str, resolv_conf: str, timeout: float = 5.0) -> Answer:
    return await look_up(asyncio.get_running_loop(), name, resolv_conf, timeout)


def hosts(answer: Answer) -> list[str]:
    return [address.host for address in answer.addresses]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("two.test", ["127.0.0.1", "127.0.0.2"]),
        ("two.test.", ["127.0.0.1", "127.0.0.2"]),
        ("six.test", ["::1"]),
        ("db", ["127.0.0.3"]),
        ("bare", ["127.0.0.4"]),
    ],
)
def test_a_name_has_its_addresses(
    run: Run, resolv_conf: str, name: str, expected: list[str]
) -> None:
    async def scenario() -> None:
        answer = await ask(name, resolv_conf)
        assert (hosts(answer), answer.ttl) == (expected, 60.0)

    run(scenario())


def test_etc_hosts_is_read(run: Run, resolv_conf: str, server: DnsServer) -> None:
    async def scenario() -> None:
        answer = await ask("localhost", resolv_conf)
        assert "127.0.0.1" in hosts(answer)
        assert answer.ttl == 0.0
        assert not server.queries["localhost"]

    run(scenario())


def test_ndots_says_when_search_domains_come_first(
    run: Run, server: DnsServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        path = str(server.write_resolv_conf(tmp_path / "c", "search b.test", "options ndots:2"))
        before = server.queries["two.test.b.test"]
        assert hosts(await ask("two.test", path)) == ["127.0.0.1", "127.0.0.2"]
        assert server.queries["two.test.b.test"] == before + 1

    run(scenario())


def test_each_look_up_asks_anew(run: Run, resolv_conf: str, server: DnsServer) -> None:
    async def scenario() -> None:
        before = server.queries["two.test"]
        for _ in range(3):
            await ask("two.test", resolv_conf)
        assert server.queries["two.test"] == before + 3

    run(scenario())


def test_another_resolv_conf_counts_at_once(run: Run, server: DnsServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "resolv.conf"
        server.write_resolv_conf(path)
        with pytest.raises(LookupFailed):
            await ask("db", str(path))
        server.write_resolv_conf(path, "search b.test")
        assert hosts(await ask("db", str(path))) == ["127.0.0.3"]

    run(scenario())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody.test", "Domain name not found"),
        ("empty.test", "DNS server returned answer with no data"),
        ("no host", "Misformatted domain name"),
        ("a..b", "Misformatted domain name"),
        ("x" * 70, "Misformatted domain name"),
        ("\u00e4" * 80, "not a host name"),
    ],
)
def test_a_name_without_address_is_final(
    run: Run, resolv_conf: str, name: str, reason: str
) -> None:
    async def scenario() -> None:
        with pytest.raises(LookupFailed) as caught:
            await ask(name, resolv_conf)
        assert (caught.value.reason, caught.value.is_final) == (reason, True)

    run(scenario())


def test_a_server_that_fails_says_nothing_about_the_name(
    run: Run, resolv_conf: str, server: DnsServer
) -> None:
    async def scenario() -> None:
        server.failing = True
        try:
            with pytest.raises(LookupFailed) as caught:
                await ask("two.test", resolv_conf)
        finally:
            server.failing = False
        assert not caught.value.is_final

    run(scenario())


def test_a_server_that_was_away_is_asked_again(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = DnsServer()
        path = str(first.write_resolv_conf(tmp_path / "resolv.conf"))
        first.close()
        with pytest.raises(LookupFailed) as caught:
            await ask("db.test", path)
        assert not caught.value.is_final
        second = DnsServer(first.port)
        second.records["db.test"] = ["127.0.0.1"]
        try:
            assert hosts(await ask("db.test", path)) == ["127.0.0.1"]
        finally:
            second.close()

    run(scenario())


def test_of_very_many_addresses_some_are_taken(
    run: Run, resolv_conf: str, server: DnsServer
) -> None:
    async def scenario() -> None:
        server.records["many.test"] = [f"127.0.1.{n}" for n in range(100)]
        assert len(hosts(await ask("many.test", resolv_conf))) == 64

    run(scenario())


def test_a_missing_resolv_conf_is_said(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "none")
        with pytest.raises(LookupFailed) as caught:
            await ask("two.test", path)
        assert caught.value.reason == (
            f"cannot read resolv_conf {path!r}: No such file or directory"
        )

    run(scenario())


def test_a_server_that_keeps_silent_is_given_up(run: Run, resolv_conf: str) -> None:
    async def scenario() -> None:
        files = len(os.listdir("/proc/self/fd"))
        with pytest.raises(LookupFailed) as caught:
            await ask("hanging.test", resolv_conf, timeout=0.05)
        assert (caught.value.reason, caught.value.is_final) == ("no answer from DNS", False)
        assert len(os.listdir("/proc/self/fd")) == files

    run(scenario())


def test_a_server_that_keeps_silent_over_tcp_keeps_the_loop_idle(
    run: Run, resolv_conf: str, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    process_fd = pycares.Channel.process_fd

    def count(channel: pycares.Channel, *fds: int) -> None:
        nonlocal calls
        calls += 1
        process_fd(channel, *fds)

    async def scenario() -> None:
        with pytest.raises(LookupFailed):
            await ask("two.test", resolv_conf, timeout=0.2)

    monkeypatch.setattr(pycares.Channel, "process_fd", count)
    monkeypatch.setattr(server, "truncating", True)
    run(scenario())
    assert calls < 20


def test_a_look_up_that_is_cancelled_leaves_nothing_behind(run: Run, resolv_conf: str) -> None:
    async def scenario() -> None:
        files = len(os.listdir("/proc/self/fd"))
        task = asyncio.create_task(ask("hanging.test", resolv_conf))
        while len(os.listdir("/proc/self/fd")) == files:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(os.listdir("/proc/self/fd")) == files

    run(scenario())


def test_the_serial_of_a_zone_is_its_last_one(
    run: Run, resolv_conf: str, server: DnsServer
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        server.serials["test"] = 4_000_000_000
        assert await look_up_serial(loop, "test", resolv_conf, 5.0) == 4_000_000_000
        server.serials["test"] = 7
        assert await look_up_serial(loop, "test", resolv_conf, 5.0) == 7
        assert await look_up_serial(loop, "nobody.test", resolv_conf, 5.0) is None

    run(scenario())


def test_no_thread_is_started(run: Run, resolv_conf: str) -> None:
    async def scenario() -> None:
        before = len(os.listdir("/proc/self/task"))
        task = asyncio.create_task(ask("hanging.test", resolv_conf))
        await ask("two.test", resolv_conf)
        assert len(os.listdir("/proc/self/task")) <= before  # one of another test may end
        task.cancel()
        assert [each.name for each in threading.enumerate() if "shutdown" in each.name] == []

    run(scenario())


IMPORTS = """
import asyncio, sys
import pgmux.daemon.app
from pgmux.net.dns import look_up, look_up_serial

async def scenario():
    loop = asyncio.get_running_loop()
    await look_up(loop, "localhost", "", 5)
    await look_up_serial(loop, "test", sys.argv[1], 5)

before = {*sys.modules}
asyncio.run(scenario())
print(*sorted({*sys.modules} - before))
"""


def test_a_look_up_loads_nothing_that_user_may_no_longer_read(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1:9\n")
    command = [sys.executable, "-c", IMPORTS, tmp_path / "resolv.conf"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []
