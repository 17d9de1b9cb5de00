"""From where the pooler's port can be reached, as far as files and this machine tell."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import IntEnum

from pgmux.config.hba import ConnectionType, HbaMethod
from pgmux.config.model import AuthType, Config, SslMode
from pgmux.ops.check.deployed import is_every_address, is_loopback, pooler_service
from pgmux.ops.check.evidence import Evidence

INSISTS = (SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL)


class Reach(IntEnum):
    """How far; each is more than the one before it."""

    MACHINE = 0  # loopback, Unix socket, a port published there
    NETWORK = 1  # an address of a private network, or a container's
    ANYWHERE = 2  # every address, or a public one


@dataclass(frozen=True, slots=True)
class Openness:
    """`said` and `where` are what says so; `is_sure`: nothing else can close it but a firewall in
    front of the machine.
    """

    reach: Reach
    said: str = ""
    where: str = ""
    is_sure: bool = False


def openness(evidence: Evidence) -> Openness:
    """The farthest from where somebody can connect."""
    service = pooler_service(evidence)
    if service is not None and not service.shares_network:
        return _of_container(evidence)
    if evidence.config is None:
        return Openness(Reach.MACHINE)
    return _of_listening(evidence, evidence.config)


def _of_container(evidence: Evidence) -> Openness:
    service = pooler_service(evidence)
    assert service is not None
    found = Openness(Reach.NETWORK, f"within the networks of service {service.name}", service.where)
    for port in service.published:
        reach = _reach(port.address)
        if reach is Reach.ANYWHERE:
            address = port.address or "every address"
            said = f"Docker publishes port {port.outside or port.inside} on {address}"
            found = Openness(Reach.ANYWHERE, said, port.where, is_sure=True)
    return found


def _of_listening(evidence: Evidence, config: Config) -> Openness:
    settings = config.settings
    file, line = settings.places.get("listen_addr", (evidence.config_file, 0))
    where = f"{file}:{line}" if line else file
    farthest = Openness(Reach.MACHINE)
    for address in settings.listen_addr:
        reach = _reach(address)
        if reach > farthest.reach:
            said = f"listen_addr = {','.join(settings.listen_addr)}, port {settings.listen_port}"
            farthest = Openness(reach, said, where, _is_sure(evidence, address))
    if farthest.reach is Reach.ANYWHERE and _is_closed_by_firewall(evidence, config):
        return Openness(Reach.NETWORK, farthest.said, where)
    return farthest


def _is_sure(evidence: Evidence, address: str) -> bool:
    """A public address, or the port is seen open on every address of this machine."""
    if not is_every_address(address):
        return True
    machine, config = evidence.machine, evidence.config
    return (
        machine is not None
        and config is not None
        and any(
            is_every_address(each.address) and each.port == config.settings.listen_port
            for each in machine.listeners
        )
    )


def _is_closed_by_firewall(evidence: Evidence, config: Config) -> bool:
    firewall = evidence.machine.firewall if evidence.machine is not None else None
    return (
        firewall is not None
        and firewall.is_active
        and firewall.closes
        and config.settings.listen_port not in firewall.open_ports
    )


def _reach(address: str) -> Reach:
    if is_every_address(address):
        return Reach.ANYWHERE
    if is_loopback(address):
        return Reach.MACHINE
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return Reach.NETWORK
    return Reach.ANYWHERE if parsed.is_global else Reach.NETWORK


def is_closed_by_hba(config: Config) -> bool:
    """Whether no line of the HBA file lets anybody in from anywhere without TLS."""
    if config.settings.auth_type is not AuthType.HBA:
        return False
    without_tls = (ConnectionType.HOST, ConnectionType.HOSTNOSSL)
    return not any(
        rule.type in without_tls
        and rule.method is not HbaMethod.REJECT
        and (rule.network is None or rule.network.mask == 0)
        for rule in config.hba
    )
