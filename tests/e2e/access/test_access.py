"""docs/access.md: closed ports are closed, and each way in is one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.access.conftest import (
    INSIDE_ADDRESS,
    OUTSIDE_ADDRESS,
    PAGE,
    PORT,
    Site,
    block,
    needs_networks,
    run,
)
from tests.fixtures.certificates import Authority
from tests.fixtures.documents import replace
from tests.fixtures.tools import require_tool
from tests.fixtures.waiting import wait_until

DOOR = f"host={INSIDE_ADDRESS} port={PORT}"


# Closed ports


@needs_networks
def test_a_pooler_on_the_loopback_address_is_reached_from_inside_alone(site: Site) -> None:
    site.pooler(listen_addr="127.0.0.1")
    assert "Connection refused" in site.psql(DOOR)
    assert site.seen_from_outside() == (0, "nobody: the port is closed")
    assert site.psql(f"host=127.0.0.1 port={PORT}", site.network.inside) == "ada"


@needs_networks
def test_the_firewall_s_table_closes_what_listens_everywhere(site: Site, place: Path) -> None:
    nft = require_tool("nft")
    site.pooler(listen_addr="*")
    assert site.psql(DOOR) == "ada"
    assert site.seen_from_outside() == (3, "pgmux, or a PgBouncer newer than")
    rules = place / "nftables.conf"
    rules.write_text(block("nft", "table inet database"))
    run(*site.network.inside, nft, "-f", rules)
    assert "timeout expired" in site.psql(DOOR)
    assert site.seen_from_outside() == (0, "nobody: no answer at all")
    assert site.psql(f"host=127.0.0.1 port={PORT}", site.network.inside) == "ada"
    run(*site.network.inside, nft, "delete", "table", "inet", "database")


@pytest.mark.parametrize(
    "rule", re.findall(r"^ufw ((?:prepend )?(?:allow|deny) .*)$", PAGE, re.MULTILINE)
)
@needs_networks  # and so root, whom ufw asks for
def test_ufw_knows_the_rules(rule: str) -> None:
    ufw = require_tool("ufw")
    if "OpenSSH" in rule and not Path("/etc/ufw/applications.d/openssh-server").exists():
        pytest.skip("ufw's profile of OpenSSH comes with openssh-server")
    said = run(ufw, "--dry-run", *rule.split())
    assert "Rules updated" in said or "Skipping" in said


# SSH


@needs_networks
def test_an_ssh_tunnel_reaches_what_nobody_else_does(site: Site, place: Path) -> None:
    site.pooler(listen_addr="127.0.0.1")
    for name in ("host", "ada"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name)
    start_sshd(site, place)
    config = place / "config"
    names = {"db.example.com": INSIDE_ADDRESS, "User ada": "User nobody"}
    config.write_text(replace(block("sshconfig", "Host shop-db"), names))
    known = place / "known"
    known.write_text(f"[{INSIDE_ADDRESS}]:2222 {(place / 'host.pub').read_text()}")
    options = ("-q", "-p", "2222", "-i", place / "ada", "-o", f"UserKnownHostsFile={known}")
    ssh = (*site.network.outside, "ssh", "-F", config, *options)
    site.background(*ssh, "-N", "shop-db")
    tunnel = f"host=127.0.0.1 port={PORT}"
    wait_until(lambda: site.psql(tunnel) == "ada")
    assert "Connection refused" in site.psql(DOOR)
    # the account may do nothing else
    assert subprocess.run((*ssh, "-o", "ClearAllForwardings=yes", "shop-db", "id")).returncode == 1
    other = subprocess.run((*ssh, "-W", "127.0.0.1:22", "shop-db"), capture_output=True, text=True)
    assert other.returncode != 0


def start_sshd(site: Site, directory: Path) -> None:
    """An sshd inside with the page's lines, for an account that the tests may use: nobody."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = directory / "sshd_config"
    lines = (
        "Port 2222",
        f"HostKey {directory / 'host'}",
        f"AuthorizedKeysFile {directory / 'ada.pub'}",
        "StrictModes no",
        "PidFile none",
        block("sshdconfig", "Match User tunnel").replace("User tunnel", "User nobody"),
    )
    config.write_text("\n".join(lines))
    (directory / "ada.pub").chmod(0o644)
    site.background(*site.network.inside, require_tool("sshd"), "-D", "-f", config)
    wait_until(lambda: ":2222 " in run(*site.network.inside, "ss", "-ltn"))


def test_the_command_is_what_the_file_says(tmp_path: Path) -> None:
    command = next(line for line in PAGE.splitlines() if line.startswith("ssh -N"))
    config = tmp_path / "config"
    config.write_text(block("sshconfig", "Host shop-db"))
    wanted = ("hostname ", "user ", "localforward ", "exitonforwardfailure ")

    def meant(*arguments: str) -> list[str]:
        lines = run("ssh", "-G", *arguments).splitlines()
        return [line for line in lines if line.startswith(wanted)]

    assert meant("-F", "none", *command.split()[1:]) == meant("-F", str(config), "shop-db")


# WireGuard


@pytest.mark.parametrize("side", ["ListenPort", "Endpoint"])
def test_wg_quick_reads_both_files(side: str, tmp_path: Path) -> None:
    wg, wg_quick = require_tool("wg"), require_tool("wg-quick")
    text = block("wireguard", side)
    for name in set(re.findall(r"[A-Z]+-P[A-Z]+-KEY", text)):
        text = text.replace(name, run(wg, "genkey").strip())
    config = tmp_path / "wg0.conf"
    config.write_text(text)
    config.chmod(0o600)
    stripped = run(wg_quick, "strip", config)
    assert "Address" in text and "Address" not in stripped  # it knows which lines are its own
    assert stripped.count("[Peer]") == 1


# An allow list


@needs_networks
def test_the_list_lets_in_its_addresses_and_nobody_else(site: Site, authority: Authority) -> None:
    issued = authority.issue("localhost", INSIDE_ADDRESS)
    listed = block("", "203.0.113.7/32")
    tls = {
        "client_tls_sslmode": "allow",
        "client_tls_cert_file": issued.cert_file,
        "client_tls_key_file": issued.key_file,
    }
    pooler = site.pooler(listed, listen_addr="*", **tls)
    assert "no authentication method is found" in site.psql(DOOR)
    assert f"hostssl from {OUTSIDE_ADDRESS}" in pooler.log()
    assert site.psql(f"host=127.0.0.1 port={PORT}", site.network.inside) == "ada"
    pooler.hba = listed.replace("203.0.113.7", OUTSIDE_ADDRESS)
    pooler.write_configuration()
    run(*site.network.inside, "kill", "-HUP", str(pooler.pid))
    wait_until(lambda: site.psql(DOOR) == "ada")
    assert "no authentication method is found" in site.psql(f"{DOOR} sslmode=disable")


@needs_networks
def test_a_certificate_made_as_the_page_says_lets_its_owner_in(
    site: Site, authority: Authority, place: Path
) -> None:
    run("sh", "-e", "-c", block("sh", "CN=shop clients"), cwd=place)
    issued = authority.issue("localhost", INSIDE_ADDRESS)
    site.pooler(
        f"hostssl shop ada {OUTSIDE_ADDRESS}/32 cert\n",
        listen_addr="*",
        client_tls_sslmode="allow",
        client_tls_ca_file=place / "ca.crt",
        client_tls_cert_file=issued.cert_file,
        client_tls_key_file=issued.key_file,
    )
    verified = f"{DOOR} sslmode=verify-full sslrootcert={authority.ca_file}"
    shown = f"{verified} sslcert={place}/ada.crt sslkey={place}/ada.key"
    assert site.psql(shown) == "ada"
    assert "certificate" in site.psql(verified)
