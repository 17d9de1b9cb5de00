"""What the firewall's programs say, read; and the pooler's process found by its pidfile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgmux.ops.check.facts.machine import Firewall
from pgmux.ops.check.gather import machine
from pgmux.ops.check.gather.reading import NotRead
from tests.unit.ops.check.cases.case import config_of

PORTS = frozenset({5432, 6432})
UFW = """Status: active
Logging: on (low)
Default: deny (incoming), allow (outgoing), disabled (routed)

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW IN    Anywhere
6432/tcp                   ALLOW IN    Anywhere
5432/tcp                   ALLOW IN    10.0.0.0/8
"""
NFT = """table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established accept
\t\ttcp dport { 22, 6432 } accept
\t\tip saddr 10.0.0.0/8 tcp dport 5432 accept
\t}
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t}
}
"""
IPTABLES = """-P INPUT DROP
-A INPUT -p tcp -m tcp --dport 6432 -j ACCEPT
-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 5432 -j ACCEPT
"""


def saying(monkeypatch: pytest.MonkeyPatch, **said: str) -> None:
    """The firewall's programs are these, and print that."""
    monkeypatch.setattr(machine, "_find", lambda tool: tool if tool in said else "")
    monkeypatch.setattr(machine, "_ask", lambda tool, *_: said.get(tool) or None)
    monkeypatch.setattr(machine, "_ufw_is_enabled", lambda: "ufw" in said)


@pytest.mark.parametrize(
    ("tool", "text"), [("ufw", UFW), ("nft", NFT), ("iptables", IPTABLES)], ids=str
)
def test_a_firewall_that_closes_tells_what_it_lets_in(
    monkeypatch: pytest.MonkeyPatch, tool: str, text: str
) -> None:
    saying(monkeypatch, **{tool: text})
    found = machine._firewall(PORTS)
    assert found is not None
    assert (found.is_active, found.closes, found.open_ports) == (True, True, {6432})


def test_a_firewall_without_rules_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, nft="table ip nat {\n}\n", iptables="-P INPUT ACCEPT\n")
    assert machine._firewall(PORTS) == Firewall("nftables", False, False)


@pytest.mark.parametrize("tool", ["ufw", "nft", "iptables"])
def test_a_firewall_that_only_root_may_read_is_said(
    monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    saying(monkeypatch, **{tool: ""})
    with pytest.raises(NotRead, match="for root to read"):
        machine._firewall(PORTS)
    facts, unread = machine.gather(None)
    assert facts.firewall is None
    assert [each.part for each in unread] == ["machine"]


def test_the_pooler_of_the_pidfile_is_known_by_its_command(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    config = config_of(f"[databases]\n[pgbouncer]\npidfile = {pidfile}\n")
    for text in ("", "junk", "-1", "0", "999999999", str(os.getppid())):
        pidfile.write_text(text)
        facts, _ = machine.gather(config)
        assert facts.open_files.whose in ("this shell", f"pgmux, process {os.getppid()}")


def test_addresses_of_proc_are_read() -> None:
    assert machine._address("0100007F") == "127.0.0.1"
    assert machine._address("00000000") == ""
    assert machine._address("00000000000000000000000001000000") == "::1"
