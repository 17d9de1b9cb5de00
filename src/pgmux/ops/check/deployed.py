"""What several rules ask of the evidence: which pooler this is, which service runs it, and which
of the programs' connections go to it, and which around it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pgmux.config.model import Config, Database, PoolMode
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Program, Published, Role, Service, Target

Version = tuple[int, ...]

_TRACKS_SINCE: Version = (1, 21)
_TRACKS_BY_DEFAULT_SINCE: Version = (1, 24)
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", ""})
_EDOBURU_PORT = 5432
# Names of variables and services for what had better not go through a transaction pool.
_MEANT_DIRECT = re.compile(
    r"DIRECT|MIGRAT|ALEMBIC|BACKUP|DUMP|RESTORE|ADMIN|SUPERUSER|SESSION|LISTEN|REPLICA"
)


class Route(Enum):
    """Where a connection goes, as far as can be told."""

    POOLER = "pooler"
    CLOSED_PORT = "closed port"  # of the pooler's container: nothing listens there
    SERVER = "server"  # a PostgreSQL of [databases], around the pooler
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Pooler:
    """`is_pgmux` is None where neither it nor PgBouncer is known; `version` is PgBouncer's; `why`
    says how that is known.
    """

    is_pgmux: bool | None = None
    version: Version | None = None
    why: str = ""

    @property
    def name(self) -> str:
        if self.is_pgmux:
            return "pgmux"
        number = "" if self.version is None else " " + ".".join(map(str, self.version))
        return f"PgBouncer{number}"


def pooler_of(evidence: Evidence) -> Pooler:
    """By the console, the image of the compose file, else by the process."""
    console, machine = evidence.console, evidence.machine
    if console is not None:
        if "startup_parameters" in console.settings:
            return Pooler(True, why="its console says so")
        if console.pgbouncer_version is not None:
            return Pooler(False, console.pgbouncer_version, "its console says so")
    service = pooler_service(evidence)
    if service is not None:
        if service.is_pgmux:
            return Pooler(True, why=service.where)
        version = _image_version(service.image)
        if version is not None or "pgbouncer" in service.image:
            return Pooler(False, version, f"image {service.image}, {service.where}")
    if machine is not None and machine.pooler:
        return Pooler(machine.pooler == "pgmux", None, "its process runs here")
    return Pooler()


def untracked_because(evidence: Evidence) -> str:
    """Why the pooler doesn't track prepared statements; "" where it does, or that isn't known."""
    config = evidence.config
    if config is None:
        return ""
    pooler = pooler_of(evidence)
    place = config.settings.places.get("max_prepared_statements")
    if place is not None and config.settings.max_prepared_statements == 0:
        return f"max_prepared_statements = 0 ({place[0]}:{place[1]})"
    if pooler.is_pgmux is not False or pooler.version is None:
        return ""
    if pooler.version[:2] < _TRACKS_SINCE:
        return f"{pooler.name} tracks none ({pooler.why})"
    if place is None and pooler.version[:2] < _TRACKS_BY_DEFAULT_SINCE:
        return f"{pooler.name} tracks none unless max_prepared_statements is set ({pooler.why})"
    return ""


def pooler_service(evidence: Evidence) -> Service | None:
    """The service that runs this configuration: which mounts its file, else the only pooler."""
    program = pooler_program(evidence)
    return program.service if program is not None else None


def pooler_program(evidence: Evidence) -> Program | None:
    if evidence.environment is None:
        return None
    poolers = [
        program
        for program in evidence.environment.programs
        if program.service is not None and program.service.role is Role.POOLER
    ]
    for program in poolers:
        if program.service is not None and program.service.mounts_file(evidence.config_file):
            return program
    return poolers[0] if len(poolers) == 1 else None


def inside_port(evidence: Evidence) -> int | None:
    """The port that the pooler listens on in its container; None where that isn't known."""
    program = pooler_program(evidence)
    if program is None or program.service is None:
        return None
    if evidence.config is not None and program.service.mounts_file(evidence.config_file):
        return evidence.config.settings.listen_port
    said = program.number("PGBOUNCER_LISTEN_PORT", "LISTEN_PORT", "PGBOUNCER_PORT")
    if said is not None:
        return said
    if "bitnami" in program.service.image:
        return 6432
    is_by_variables = any(
        name in program.variables for name in ("DATABASE_URL", "DATABASE_URLS", "DB_HOST")
    )
    return _EDOBURU_PORT if is_by_variables and not program.service.mounts else None


def published(evidence: Evidence) -> tuple[Published, ...]:
    """The ports of the pooler's container that Docker opens on the host."""
    service = pooler_service(evidence)
    return service.published if service is not None else ()


def entries(config: Config) -> list[Database]:
    return [*config.databases.values(), *([config.autodb] if config.autodb else [])]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it: a loopback address, or a Unix socket."""
    if host.lower() in _LOOPBACK_NAMES or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_every_address(host: str) -> bool:
    return host in ("*", "", "0.0.0.0", "::")


def programs_of(evidence: Evidence) -> Iterator[Program]:
    """Whoever connects, so without poolers and PostgreSQL's own containers."""
    for program in evidence.environment.programs if evidence.environment else ():
        role = program.service.role if program.service is not None else Role.OTHER
        if role not in (Role.POOLER, Role.POSTGRES):
            yield program


def targets_of(evidence: Evidence) -> Iterator[tuple[Program, Target]]:
    """Every connection once, though several services are told it by one line."""
    seen: set[tuple[str, str]] = set()
    for program in programs_of(evidence):
        for target in program.targets:
            key = (target.where, target.variable)
            if target.where == "environment" or key not in seen:
                seen.add(key)
                yield program, target


def route(evidence: Evidence, program: Program, target: Target) -> Route:
    """Where a program's connection goes."""
    service = pooler_service(evidence)
    if target.host is None or target.port is None:
        return Route.UNKNOWN
    if program.service is not None and service is not None and target.host in service.names:
        inside = inside_port(evidence)
        return Route.POOLER if inside in (None, target.port) else Route.CLOSED_PORT
    if _is_server(evidence, program, target):
        return Route.SERVER
    return Route.POOLER if _is_pooler_outside(evidence, program, target) else Route.UNKNOWN


def is_meant_direct(target: Target, program: Program | None = None) -> bool:
    """Whether the variable's name says so, or the name or command of the program's service."""
    names = target.variable
    if program is not None and program.service is not None:
        names += f" {program.name} {program.service.command}".upper()
    return _MEANT_DIRECT.search(names) is not None


def at_transaction_pool(evidence: Evidence) -> Iterator[tuple[Program, Target]]:
    """The connections to this pooler whose server changes between transactions."""
    config = evidence.config
    if config is None:
        return
    for program, target in targets_of(evidence):
        if route(evidence, program, target) is not Route.POOLER:
            continue
        database = config.find_database(target.database or target.user)
        mode = config.settings.pool_mode
        if database is not None:
            mode = config.pool_mode(database, database.user or target.user or None)
        if mode is not PoolMode.SESSION:
            yield program, target


def server_service(evidence: Evidence, host: str) -> Program | None:
    """The PostgreSQL of the compose file by one of its names."""
    for program in evidence.environment.programs if evidence.environment else ():
        service = program.service
        if service is not None and service.role is Role.POSTGRES and host in service.names:
            return program
    return None


def _is_server(evidence: Evidence, program: Program, target: Target) -> bool:
    assert target.host is not None
    if program.service is not None and server_service(evidence, target.host) is not None:
        service = server_service(evidence, target.host)
        return _is_backend_service(evidence, service)
    if evidence.config is None or (program.service is not None and is_loopback(target.host)):
        return False
    return any(
        target.port == entry.port and _same_host(host, target.host)
        for entry in entries(evidence.config)
        for host in (entry.hosts or ("",))
    )


def _is_backend_service(evidence: Evidence, program: Program | None) -> bool:
    """Whether the pooler connects to that container."""
    assert program is not None and program.service is not None
    if evidence.config is not None:
        hosts = {host for entry in entries(evidence.config) for host in entry.hosts}
        return bool(hosts & set(program.service.names))
    pooler = pooler_program(evidence)
    return pooler is not None and any(
        target.host in program.service.names for target in pooler.targets
    )


def _is_pooler_outside(evidence: Evidence, program: Program, target: Target) -> bool:
    """By a port of the host: the one listened on there, or published."""
    outside = {each.outside for each in published(evidence)}
    if outside:
        return target.port in outside and target.port != 5432
    if evidence.config is None or (program.service is not None and is_loopback(target.host or "")):
        return False
    settings = evidence.config.settings
    if target.port != settings.listen_port:
        return False
    return settings.listen_port != 5432 or is_loopback(target.host or "")


def _same_host(one: str, other: str) -> bool:
    return one.lower() == other.lower() or (is_loopback(one) and is_loopback(other))


def _image_version(image: str) -> Version | None:
    if "pgbouncer" not in image:
        return None
    found = re.search(r":v?(\d+)\.(\d+)(?:\.(\d+))?", image)
    return tuple(int(part) for part in found.groups() if part) if found else None
