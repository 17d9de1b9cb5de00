"""SIZE002 to 005, 007: sizes that files alone tell; those that PostgreSQL tells are `limits`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pgmux.config.model import Config, Database
from pgmux.daemon.limits import expected_files
from pgmux.ops.check.deployed import entries, pooler_service, programs_of, server_service
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Program, Role
from pgmux.ops.check.pooled_programs import targets_at_pooler, variables
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity

_POOL_SIZE = re.compile(r"(?:\w*(?:DB|SQLALCHEMY|DATABASE|POSTGRES)_)POOL_SIZE")
_OVERFLOW = re.compile(r"(?:\w*(?:DB|SQLALCHEMY|DATABASE|POSTGRES)_)MAX_OVERFLOW")
_WORKERS = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GUNICORN_WORKERS", "WORKERS")
_WORKERS_OPTION = re.compile(r"(?:--workers[= ]|\s-w\s?)(\d{1,4})\b")
_SQLALCHEMY_OVERFLOW = 10  # where none is said
_POSTGRES_DEFAULT = 100  # max_connections of the official image


@dataclass(frozen=True, slots=True)
class _Demand:
    program: Program
    size: int
    overflow: int
    processes: int
    where: str

    @property
    def most(self) -> int:
        return (self.size + self.overflow) * self.processes

    def __str__(self) -> str:
        each = f"{self.size} + {self.overflow}"
        times = f" × {self.processes} processes" if self.processes > 1 else ""
        return f"{self.program.name}: ({each}){times} = {self.most}"


@rule(
    "SIZE002",
    Severity.WARNING,
    "applications' pools above max_client_conn",
    needs=("config", "environment"),
)
def pools_above_clients(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    demands = [each for program in programs_of(evidence) if (each := _demand(evidence, program))]
    total = sum(each.most for each in demands)
    limit = config.settings.max_client_conn
    if total > limit:
        yield Found(
            f"{'; '.join(map(str, demands))}; together {total} connections, and max_client_conn = "
            f"{limit}: the rest is refused",
            f"max_client_conn = {total + total // 4} or more, with descriptors for them, or "
            "smaller pools: behind a pooler 5 + 5 a process go far",
            demands[0].where,
        )


def _demand(evidence: Evidence, program: Program) -> _Demand | None:
    """What a program's connection pools can open at the pooler."""
    if not targets_at_pooler(evidence, program) and (program.service or program.targets):
        return None
    if program.name == "environment" or program.value("USE_PGBOUNCER").lower() in ("0", "false"):
        return None
    size = next((name for name in program.variables if _POOL_SIZE.fullmatch(name)), None)
    if size is None or (number := program.number(size)) is None:
        return None
    overflows = [program.number(name) for name in program.variables if _OVERFLOW.fullmatch(name)]
    overflow = next((each for each in overflows if each is not None), _SQLALCHEMY_OVERFLOW)
    return _Demand(program, number, overflow, _processes(program), program.place(size))


def _processes(program: Program) -> int:
    service = program.service
    said = f" {program.value('GUNICORN_CMD_ARGS')} {service.command if service is not None else ''}"
    option = _WORKERS_OPTION.search(said)
    workers = int(option[1]) if option is not None else program.number(*_WORKERS)
    return (workers or 1) * (service.replicas if service is not None else 1)


@rule("SIZE003", Severity.WARNING, "max_db_connections below a pool", needs=("config",))
def database_limit_below_pool(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    for entry in entries(config):
        limit = config.max_db_connections(entry)
        size, least = config.pool_size(entry, entry.user), config.min_pool_size(entry)
        users = _users(config, entry)
        file, line = config.settings.places.get("max_db_connections", ("", 0))
        where = f"{file}:{line}" if line else f"[databases] {entry.name}"
        if limit and (size == 0 or size > limit):
            yield Found(
                f"[databases] {entry.name}: max_db_connections = {limit}, and one pool may have "
                f"{size or 'any number of'} servers: the pool never gets as large as it says",
                f"pool_size = {limit} at most, or a larger max_db_connections",
                where,
            )
        elif limit and least * users > limit:
            yield Found(
                f"[databases] {entry.name}: min_pool_size = {least} for each of {users} users is "
                f"{least * users}, and max_db_connections = {limit}",
                "a smaller min_pool_size: it is kept for each user that connects",
                where,
            )


def _users(config: Config, entry: Database) -> int:
    return 1 if entry.user else max(1, len(config.userlist))


@rule("SIZE004", Severity.WARNING, "fewer descriptors than connections", needs=("config",))
def too_few_descriptors(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    needed = expected_files(config)
    service, machine = pooler_service(evidence), evidence.machine
    said = f"max_client_conn = {config.settings.max_client_conn} and the pools take up to {needed}"
    if service is not None:
        if service.open_files is not None and service.open_files < needed:
            yield Found(
                f"{said} descriptors; service {service.name} may have {service.open_files}",
                f"ulimits: {{nofile: {_rounded(needed)}}}",
                service.where,
            )
    elif machine is not None and machine.open_files.is_pooler:
        if machine.open_files.soft < needed:
            yield Found(
                f"{said} descriptors; {machine.open_files.whose}, may have "
                f"{machine.open_files.soft}",
                f"LimitNOFILE={_rounded(needed)} in its systemd unit, or ulimit -n",
                machine.open_files.whose,
            )
    elif machine is not None and machine.open_files.hard < needed:
        yield Found(
            f"{said} descriptors; what is started from this shell may have "
            f"{machine.open_files.hard} at most (of no running pooler is known here)",
            f"LimitNOFILE={_rounded(needed)} in the pooler's systemd unit, or ulimit -n",
            machine.open_files.whose,
            Severity.NOTE,
        )


def _rounded(needed: int) -> int:
    """The next power of two, with room."""
    return 1 << (needed + needed // 8).bit_length()


@rule(
    "SIZE005",
    Severity.WARNING,
    "applications keep connections longer than the pooler",
    needs=("config", "environment"),
)
def recycled_too_late(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    timeout = config.settings.client_idle_timeout
    if not timeout:
        return
    file, line = config.settings.places.get("client_idle_timeout", ("", 0))
    for _, each in variables(evidence, r"\w*POOL_RECYCLE|\w*CONN_MAX_AGE"):
        value = each.value or ""
        is_never = value == "-1" or value.lower() == "none"
        if is_never or (value.isdecimal() and len(value) < 10 and int(value) >= timeout):
            yield Found(
                f"{each.name} = {value} s, and the pooler closes clients that idle for "
                f"client_idle_timeout = {timeout:g} s ({file}:{line}): the application finds a "
                "closed connection in its pool",
                f"{each.name} below {timeout:g}, or client_idle_timeout = 0; a pre-ping hides it "
                "at the price of a round trip",
                each.where,
            )


@rule("SIZE007", Severity.ERROR, "a pool as large as PostgreSQL", needs=("config",))
def pool_takes_all(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    for entry in entries(config):
        size = config.pool_size(entry, entry.user)
        limit = config.max_db_connections(entry)
        most = min(each for each in (size or limit, limit or size) if each) if size or limit else 0
        for host in entry.hosts:
            known = _max_connections(evidence, host, entry.port)
            if known is not None and (most == 0 or most >= known[0]):
                file, line = config.settings.places.get("default_pool_size", ("", 0))
                yield Found(
                    f"[databases] {entry.name}: a pool may have {most or 'any number of'} servers, "
                    f"and PostgreSQL has max_connections = {known[0]} ({known[1]}), of which "
                    "superuser_reserved_connections (3) aren't for it",
                    "a pool_size well below: what a pooler is for is fewer connections that are "
                    "busier (pgmux size)",
                    f"{file}:{line}" if line else f"[databases] {entry.name}",
                )


def _max_connections(evidence: Evidence, host: str, port: int) -> tuple[int, str] | None:
    """As PostgreSQL says, else its container's command, else its image's default."""
    for server in evidence.servers or ():
        number = server.number("max_connections")
        if (host, port) in server.places and number is not None:
            return number, server.place
    program = server_service(evidence, host)
    if program is None or program.service is None or program.service.role is not Role.POSTGRES:
        return None
    service = program.service
    found = re.search(r"max_connections\s*=\s*(\d{1,6})", service.command)
    if found is not None:
        return int(found[1]), service.where
    is_plain = re.fullmatch(r"(?:docker\.io/)?(?:library/)?postgres(?:[:@].*)?", service.image)
    has_file = "config_file" in service.command or any(
        mount.target.endswith(".conf") or "conf.d" in mount.target for mount in service.mounts
    )
    if is_plain and not has_file:
        return _POSTGRES_DEFAULT, f"the default of {service.image}, {service.where}"
    return None


def _config(evidence: Evidence) -> Config:
    assert evidence.config is not None
    return evidence.config


RULES = (
    pools_above_clients,
    database_limit_below_pool,
    too_few_descriptors,
    recycled_too_late,
    pool_takes_all,
)
