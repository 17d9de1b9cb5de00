"""DEPL: how the pooler is started, stopped and reached."""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.ops.check.deployed import (
    Route,
    entries,
    inside_port,
    is_loopback,
    is_meant_direct,
    pooler_of,
    pooler_service,
    published,
    route,
    targets_of,
)
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Program, Role
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity

_BOTH = ("config", "environment")
_DOCKERS_GRACE = 10  # seconds, where stop_grace_period says nothing
_WAITS_SINCE = (1, 23)  # from there on SIGTERM waits for clients


@rule("DEPL001", Severity.WARNING, "stopped amid transactions", needs=("environment",))
def stopped_too_soon(evidence: Evidence) -> Iterator[Found]:
    service, pooler = pooler_service(evidence), pooler_of(evidence)
    if service is None or service.stop_grace is not None:
        return
    if service.stop_signal.upper().removeprefix("SIG") in ("INT", "2"):
        return
    if pooler.version is not None and pooler.version[:2] < _WAITS_SINCE:
        what = f"{pooler.name} ends at once at SIGTERM, whatever runs"
    else:
        what = (
            "at SIGTERM the pooler (pgmux, PgBouncer from 1.23 on) waits for all clients to "
            f"leave, which connection pools don't, and is killed after {_DOCKERS_GRACE} s"
        )
    yield Found(
        f"service {service.name} says neither stop_signal nor stop_grace_period: {what}",
        "stop_signal: SIGINT, which waits for transactions alone, and stop_grace_period: 60s",
        service.where,
    )


@rule("DEPL002", Severity.ERROR, "a port where nobody listens", needs=("environment",))
def closed_port(evidence: Evidence) -> Iterator[Found]:
    service, inside = pooler_service(evidence), inside_port(evidence)
    if service is None or inside is None:
        return
    for port in published(evidence):
        if port.inside != inside and port.inside in (5432, 6432):
            yield Found(
                f"service {service.name} publishes its port {port.inside}, and the pooler listens "
                f"on {inside} in the container",
                f'"{port.outside or 6432}:{inside}", or LISTEN_PORT / listen_port = {port.inside} '
                "(edoburu/pgbouncer and pgmux's image listen on 5432 unless told)",
                port.where,
            )
    for program, target in targets_of(evidence):
        if route(evidence, program, target) is Route.CLOSED_PORT:
            yield Found(
                f"{target.variable} of {program.name} leads to {target.place}; within Docker's "
                f"network the pooler listens on {inside}, whatever port is published",
                f"{target.host}:{inside}",
                target.where,
            )


@rule(
    "DEPL003",
    Severity.WARNING,
    "no keepalives on an overlay network",
    needs=("config", "environment"),
)
def no_keepalives(evidence: Evidence) -> Iterator[Found]:
    assert evidence.config is not None
    service, settings = pooler_service(evidence), evidence.config.settings
    if service is None or not service.is_on_overlay:
        return
    if settings.tcp_keepalive and 0 < settings.tcp_keepidle < 900:
        return
    idle = settings.tcp_keepidle if settings.tcp_keepalive else 0
    yield Found(
        f"service {service.name} is on an overlay network, whose balancer forgets connections "
        f"that are silent for 15 min; tcp_keepalive = {int(settings.tcp_keepalive)}, tcp_keepidle "
        f"= {idle}{'' if idle else ' (the kernel asks after 2 h)'}: idle connections hang, and "
        "nobody is told",
        "tcp_keepalive = 1, tcp_keepidle = 60, tcp_keepintvl = 10, tcp_keepcnt = 5",
        service.where,
    )


@rule("DEPL004", Severity.ERROR, "localhost within a container", needs=_BOTH)
def own_container(evidence: Evidence) -> Iterator[Found]:
    assert evidence.config is not None and evidence.environment is not None
    service = pooler_service(evidence)
    if service is None or service.shares_network:
        return
    is_its_own = service.mounts_file(evidence.config_file)
    if not is_its_own and evidence.config is not evidence.environment.made:
        return
    servers = [each.name for each in evidence.environment.services if each.role is Role.POSTGRES]
    for entry in entries(evidence.config):
        if entry.hosts and all(is_loopback(host) for host in entry.hosts):
            yield Found(
                f"[databases] {entry.name}: host={','.join(entry.hosts)} is the pooler's own "
                f"container (service {service.name}), where no PostgreSQL runs",
                f"host={servers[0]}" if servers else "the host's name or address from there",
                f"{evidence.config_file}: [databases] {entry.name}",
            )


@rule("DEPL005", Severity.NOTE, "connections around the pooler", needs=_BOTH)
def around_the_pooler(evidence: Evidence) -> Iterator[Found]:
    for program, target in targets_of(evidence):
        if (
            program.name == "environment"
            or _is_airflow(program)
            or is_meant_direct(target, program)
        ):
            continue  # AIR003
        if program.service is not None and program.service.role is Role.EXPORTER:
            continue
        if route(evidence, program, target) is Route.SERVER:
            yield Found(
                f"{target.variable} of {program.name} leads to PostgreSQL itself, {target.place}: "
                "its connections aren't the pooler's to hold",
                "the pooler's host and port; migrations, dumps and LISTEN may stay as they are",
                target.where,
            )


def _is_airflow(program: Program) -> bool:
    return any(name.startswith("AIRFLOW_") for name in program.variables)


RULES = (stopped_too_soon, closed_port, no_keepalives, own_container, around_the_pooler)
