"""EXPO010, EXPO011: what a firewall on this machine holds back, and what it doesn't."""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.ops.check.deployed import is_every_address, pooler_service
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Role
from pgmux.ops.check.openness import Reach, openness
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity


@rule("EXPO010", Severity.WARNING, "published by Docker, past ufw", needs=("environment",))
def published_past_ufw(evidence: Evidence) -> Iterator[Found]:
    assert evidence.environment is not None
    for service in evidence.environment.services:
        if service.role not in (Role.POOLER, Role.POSTGRES):
            continue
        for port in service.published:
            if not is_every_address(port.address):
                continue
            outside = port.outside or port.inside
            what = "PostgreSQL itself" if service.role is Role.POSTGRES else "the pooler"
            yield Found(
                f"service {service.name} publishes {outside}:{port.inside} on every address: "
                f"{what} can be reached from wherever this machine can, `ufw deny {outside}` or "
                "not, as Docker's rules come before ufw's",
                f'"127.0.0.1:{outside}:{port.inside}"'
                + (", or no ports: at all" if service.role is Role.POSTGRES else "")
                + "; else a rule in the chain DOCKER-USER",
                port.where,
                Severity.ERROR if service.role is Role.POSTGRES else None,
            )


@rule("EXPO011", Severity.WARNING, "no firewall before an open port", needs=("config", "machine"))
def no_firewall(evidence: Evidence) -> Iterator[Found]:
    assert evidence.machine is not None and evidence.config is not None
    firewall = evidence.machine.firewall
    found = openness(evidence)
    if firewall is None or found.reach is not Reach.ANYWHERE or not found.is_sure:
        return
    if pooler_service(evidence) is not None:  # Docker's ports: EXPO010
        return
    port = evidence.config.settings.listen_port
    if not firewall.is_active:
        said = f"{firewall.tool} isn't active"
    elif port in firewall.open_ports:
        said = f"{firewall.tool} lets port {port} in"
    else:
        said = f"{firewall.tool} refuses nothing that it doesn't name"
    yield Found(
        f"{found.said}; {said}",
        f"let in who needs it: ufw allow from ADDRESS to any port {port} proto tcp; ufw enable",
        found.where,
    )


RULES = (published_past_ufw, no_firewall)
