"""SESS: what belongs to a session, and a pool that gives each transaction another server."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgmux.config.model import Config
from pgmux.ops.check.deployed import Pooler, Route, at_transaction_pool, pooler_of, route
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.environment import Program, Target
from pgmux.ops.check.gather.applications import target_of_command
from pgmux.ops.check.pooled_programs import parameters, programs, services, statements, variables
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity
from pgmux.session.varcache import accepted

_NEEDS = ("config", "environment")
_SESSION = "a second entry in [databases] with pool_mode = session, or PostgreSQL itself"
_ROLE_LEVEL = "ALTER ROLE … IN DATABASE … SET …, which holds wherever the role connects"
_ALWAYS_TRACKED = frozenset(
    {"client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"}
)
_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)\s*=")
_OPTIONS_SINCE = (1, 20)  # before, PgBouncer refuses or ignores `options` as a whole


@rule("SESS001", Severity.WARNING, "settings in options= that don't arrive", needs=_NEEDS)
def dropped_options(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    pooler = pooler_of(evidence)
    seen = False
    for where, variable, text, target in _given_options(evidence):
        seen = True
        names = [name.lower().replace("-", "_") for name in _OPTION.findall(text)]
        lost = [name for name in names if not _is_kept(config, pooler, target, name)]
        if lost:
            yield _lost(config, pooler, variable, where, lost)
        elif names and pooler.is_pgmux is None and not _PgBouncer(config).keeps(names):
            yield _lost_with_pgbouncer(config, variable, where, names)
    if not seen and pooler.is_pgmux is not True and "options" in _ignored(config):
        file, line = config.settings.places.get("ignore_startup_parameters", ("", 0))
        yield Found(
            "ignore_startup_parameters has options: PgBouncer drops what clients set there "
            "(options=-c statement_timeout=…) and says nothing; pgmux honours "
            f"{', '.join(config.pgmux.startup_parameters)}",
            _ROLE_LEVEL,
            f"{file}:{line}",
            Severity.NOTE,
        )


def _given_options(evidence: Evidence) -> Iterator[tuple[str, str, str, Target | None]]:
    for target, text in parameters(evidence, "options"):
        if not target.variable.startswith("PG"):
            yield target.where, target.variable, text, target
    for program, each in variables(evidence, r"PGOPTIONS|\w*DB_OPTIONS|\w*DATABASE_OPTIONS"):
        own = next(iter(program.targets), None)
        yield each.where, each.name, each.value or "", own


def _lost(config: Config, pooler: Pooler, variable: str, where: str, lost: list[str]) -> Found:
    is_dropped = "options" in _ignored(config) or set(lost) <= _ignored(config)
    fate = "are dropped, and nothing is said" if is_dropped else "have the login refused"
    whom = pooler.name if pooler.is_pgmux is not None else "pgmux and PgBouncer alike"
    return Found(
        f"{variable} sets {', '.join(lost)}, which {fate} ({whom})",
        _ROLE_LEVEL + ("; or startup_parameters in pgmux.ini" if pooler.is_pgmux else ""),
        where,
        None if is_dropped else Severity.ERROR,
    )


def _lost_with_pgbouncer(config: Config, variable: str, where: str, names: list[str]) -> Found:
    fate = "drops them and says nothing" if "options" in _ignored(config) else "refuses the login"
    return Found(
        f"{variable} sets {', '.join(names)}: pgmux honours them, PgBouncer {fate}",
        f"nothing with pgmux; with PgBouncer {_ROLE_LEVEL}",
        where,
        Severity.NOTE,
    )


class _PgBouncer:
    def __init__(self, config: Config) -> None:
        self._kept = _ALWAYS_TRACKED | _lower(config.settings.track_extra_parameters)

    def keeps(self, names: list[str]) -> bool:
        return set(names) <= self._kept


def _is_kept(config: Config, pooler: Pooler, target: Target | None, name: str) -> bool:
    """Whether what a client sets at its start reaches its server."""
    if pooler.is_pgmux is False:
        reads_options = pooler.version is None or pooler.version[:2] >= _OPTIONS_SINCE
        return reads_options and _PgBouncer(config).keeps([name])
    database = config.find_database(target.database) if target is not None else None
    honoured = config.pgmux.startup_parameters
    if database is not None:
        honoured = config.startup_parameters(database)
    return name in accepted(*config.settings.track_extra_parameters, *honoured)


def _lower(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _ignored(config: Config) -> frozenset[str]:
    return _lower(config.settings.ignore_startup_parameters)


@rule("SESS002", Severity.WARNING, "SET ROLE in a transaction pool", needs=_NEEDS)
def set_role(evidence: Evidence) -> Iterator[Found]:
    said = [
        *((each.where, each.name) for _, each in variables(evidence, r"\w*ASSUME_ROLE")),
        *((t.where, f"{t.variable}, assume_role") for t, _ in parameters(evidence, "assume_role")),
        *(
            (each.where, f"{each.said} ({each.text})")
            for each in statements(evidence, r"\bSET\s+(?:SESSION\s+)?(?:ROLE|AUTHORIZATION)\b")
        ),
    ]
    for where, what in said:
        yield Found(
            f"{what}: the role stays with the server when the transaction ends, so the next client "
            "works as it, and this one no longer does (pgmux and PgBouncer alike)",
            f"log in as that role, or SET LOCAL ROLE in each transaction; else {_SESSION}",
            where,
        )


@rule("SESS003", Severity.WARNING, "search_path set by SQL", needs=_NEEDS)
def set_search_path(evidence: Evidence) -> Iterator[Found]:
    config = _config(evidence)
    pooler = pooler_of(evidence)
    follows = pooler.is_pgmux or "search_path" in _lower(config.settings.track_extra_parameters)
    reports = [(each.version or 0) >= 180000 for each in evidence.servers or ()]
    if not (follows and reports and all(reports)):
        for each in statements(evidence, r"\bSET\s+(?:SESSION\s+)?search_path\b"):
            yield Found(
                f"{each.said} ({each.text}): it stays with the server for the next client, and "
                "this one loses it; a pooler can follow it from PostgreSQL 18 on alone (pgmux "
                "does; PgBouncer with track_extra_parameters = search_path)",
                "ALTER ROLE … SET search_path; with pgmux also options=-c search_path=… in the URL",
                each.where,
            )
    if pooler.is_pgmux is False and not follows:
        for target, _ in parameters(evidence, "currentschema"):
            is_ignored = "search_path" in _ignored(config)
            yield Found(
                f"{target.variable}, currentSchema: {pooler.name} "
                + ("drops it" if is_ignored else "refuses the login"),
                "ALTER ROLE … SET search_path; pgmux honours it",
                target.where,
                None if is_ignored else Severity.ERROR,
            )


@rule("SESS004", Severity.WARNING, "advisory locks in a transaction pool", needs=_NEEDS)
def advisory_locks(evidence: Evidence) -> Iterator[Found]:
    lock = r"\bpg_(?:try_)?advisory_(?:un)?lock(?:_shared|_all)?\b"
    said = [(each.where, f"{each.said} ({each.text})") for each in statements(evidence, lock)]
    for program, name in services(evidence, r"goauthentik|authentik/server"):
        said.append((_where(program), f"service {program.name} ({name})"))
    for where, what in said:
        yield Found(
            f"{what}: a session's lock stays with the server that it was taken on; the unlock may "
            "go to another, and the lock is held until that server is closed",
            f"pg_advisory_xact_lock; else {_SESSION}",
            where,
        )


@rule("SESS005", Severity.WARNING, "LISTEN in a transaction pool", needs=_NEEDS)
def listening(evidence: Evidence) -> Iterator[Found]:
    found = statements(evidence, r"\bLISTEN\s+\w+")
    said = [(each.where, f"{each.said} ({each.text})") for each in found]
    for program, name in services(evidence, r"(?:^|/)odoo(?=[:@ ]|$)|procrastinate|pgqueuer"):
        said.append((_where(program), f"service {program.name} ({name.strip('/')})"))
    for _, each in variables(evidence, r"\w*CHANNEL\w*"):
        if "channels_postgres" in (each.value or ""):
            said.append((each.where, f"{each.name} (channels_postgres)"))
    for where, what in said:
        yield Found(
            f"{what} LISTENs: notifications go to the server where it was said, which is another "
            "client's with the next transaction",
            f"its connection for notifications to {_SESSION}",
            where,
        )


@rule("SESS006", Severity.WARNING, "server-side cursors left on", needs=_NEEDS)
def server_side_cursors(evidence: Evidence) -> Iterator[Found]:
    said = [
        *(
            (each.where, each.name, each.value or "")
            for _, each in variables(evidence, r"\w*DISABLE_SERVER_SIDE_CURSORS")
        ),
        *(
            (target.where, f"{target.variable}, disable_server_side_cursors", value)
            for target, value in parameters(evidence, "disable_server_side_cursors")
        ),
    ]
    for where, name, value in said:
        if value.lower() in ("0", "false", "no", "off", "f", "n"):
            yield Found(
                f"{name} = {value}: outside of a transaction Django's .iterator() declares its "
                "cursor WITH HOLD, and fetches from it in transactions that get other servers: "
                'cursor "_django_curs_…" does not exist',
                "True; or .iterator() within transaction.atomic()",
                where,
            )


@rule("SESS007", Severity.WARNING, "pg_dump through a transaction pool", needs=_NEEDS)
def dumping(evidence: Evidence) -> Iterator[Found]:
    told: dict[str, str] = {}
    for target in (target for _, target in at_transaction_pool(evidence)):
        if re.search(r"BACKUP|DUMP|RESTORE", target.variable):
            told[target.where] = f"{target.variable} leads to {target.place}"
    pooled = {program.name for program in programs(evidence)}
    assert evidence.environment is not None
    for program in evidence.environment.programs:
        service = program.service
        if service is None:
            continue
        found = re.search(r"pg_dump(?:all)?|pg_restore|postgres-backup", _runs(program))
        if found is None:
            continue
        target_named = target_of_command(service.command, service.where)
        if target_named is not None:
            goes = route(evidence, program, target_named) is Route.POOLER
            is_pooled, place = goes, target_named.place
        else:
            is_pooled, place = program.name in pooled, "the pooler"
        if is_pooled:
            told[service.where] = f"service {service.name} runs {found[0]} at {place}"
    for where, what in told.items():
        yield Found(
            f"{what}: pg_dump sets search_path to nothing for the session, and leaves the server "
            "so to the next client, which finds no table (the dump itself is one transaction, and "
            "right)",
            f"its connection to {_SESSION}",
            where,
        )


def _runs(program: Program) -> str:
    assert program.service is not None
    return f"{program.service.image} {program.service.command}"


@rule("SESS008", Severity.WARNING, "a read-only session in a transaction pool", needs=_NEEDS)
def read_only_session(evidence: Evidence) -> Iterator[Found]:
    pattern = (
        r"\bSET\s+SESSION\s+CHARACTERISTICS\b"
        r"|\bSET\s+(?:SESSION\s+)?default_transaction_read_only\b"
    )
    said = [(each.where, f"{each.said} ({each.text})") for each in statements(evidence, pattern)]
    for target, mode in parameters(evidence, "readonlymode"):
        if mode == "always" and target.parameters.get("readonly", "").lower() == "true":
            said.append((target.where, f"{target.variable}, readOnlyMode=always"))
    for where, what in said:
        yield Found(
            f"{what}: it stays with the server, so other clients can't write, and this one may",
            "ALTER ROLE … SET default_transaction_read_only = on; with pgmux also "
            "options=-c default_transaction_read_only=on in the URL",
            where,
        )


def _where(program: Program) -> str:
    return program.service.where if program.service is not None else program.name


def _config(evidence: Evidence) -> Config:
    assert evidence.config is not None
    return evidence.config


RULES = (
    dropped_options,
    set_role,
    set_search_path,
    advisory_locks,
    listening,
    server_side_cursors,
    dumping,
    read_only_session,
)
