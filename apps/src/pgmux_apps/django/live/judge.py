"""What is to be said about what was answered. Each function yields messages about one alias."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from django.core.checks import CheckMessage

from pgmux_apps.django.checks.connections import pool_sizes
from pgmux_apps.django.live.facts import PGBOUNCER, PGMUX, Facts
from pgmux_apps.django.project import Project
from pgmux_apps.django.rules import Rule
from pgmux_apps.django.startup_options import alter_role, parameters_in

SAFE = (1, 25, 2)  # the first PgBouncer without a known vulnerability
POOL_LIFETIME = 3600.0  # psycopg_pool's max_lifetime


@dataclass(frozen=True, slots=True)
class Size:
    """How many clients this application may be: of an alias, on all its machines."""

    clients: int | None
    how: str  # it is counted, or why it can't be


def messages_about(facts: Facts, project: Project) -> Iterator[CheckMessage]:
    """All but what takes two aliases."""
    for judge in (_reached, _pooled, _session_state, _limits, _role, _unknown):
        yield from judge(facts, project)


def messages_about_direct(facts: Facts, direct: Facts) -> Iterator[CheckMessage]:
    """Of a pooled alias and the one that is to bypass its pooler."""
    place = direct.alias.place
    if direct.is_pooled:
        yield Rule.DIRECT_DOES_NOT_BYPASS.found(
            place,
            f"{direct.alias.name!r} is the direct alias of {facts.alias.name!r}, and a pooler "
            f"answers at {direct.address}.",
            f"Write PostgreSQL's own HOST and PORT in {place}.",
        )
    elif facts.server and direct.server and facts.server.identity != direct.server.identity:
        yield Rule.DIRECT_IS_ELSEWHERE.found(
            place,
            f"{direct.alias.name!r} at {direct.address} isn't the database that "
            f"{facts.alias.name!r} arrives at: another server (a standby?) or another database.",
            f"Write the HOST, PORT and NAME that the pooler has for {facts.alias.dbname!r}; "
            "SHOW DATABASES on its console has them.",
        )


def as_answered(project: Project, found: Mapping[str, Facts]) -> Project:
    """The project with the poolers that answered, instead of those that settings let suppose."""
    aliases = dict(project.aliases)
    direct = {alias.direct for alias in aliases.values()}  # what is wrong with these is said once
    for name, facts in found.items():
        if facts.is_pooled and name not in direct:
            kind = facts.pooler.kind.lower() if facts.pooler else aliases[name].pooler or ""
            because = aliases[name].because if aliases[name].pooler is not None else "it answers"
            aliases[name] = replace(aliases[name], pooler=kind, because=because)
    return replace(project, aliases=aliases)


def overruled_by(facts: Facts) -> set[Rule]:
    """What the settings alone made suppose of this alias, and the answers know better."""
    rules: set[Rule] = set()
    if facts.server is not None:
        rules.add(Rule.SUPERUSER)  # by name; IS_SUPERUSER is by rights
    if facts.pooler is not None:
        rules.add(Rule.PREPARED_STATEMENTS)  # UNTRACKED_STATEMENTS says it
        if facts.pooler.pool_mode == "session":
            rules |= {
                *(Rule.LOGIN_PER_REQUEST, Rule.SERVER_SIDE_CURSORS),
                *(Rule.ASSUME_ROLE, Rule.TENANT_SCHEMAS),
            }
    return rules


def size_of(facts: Facts, project: Project) -> Size:
    """By PGMUX's processes and threads."""
    alias, processes, threads = facts.alias, project.processes, project.threads
    if processes is None:
        return Size(None, "not known: say --processes, or PGMUX['processes']")
    if alias.pool is not None:
        most = pool_sizes(alias)[1]
        return Size(processes * most, f"{processes} processes × max_size {most}")
    if project.server != "wsgi":
        return Size(None, f"as many as requests at a time, under {project.server} without a pool")
    if threads is None:
        return Size(None, "not known: say --threads, or PGMUX['threads']")
    return Size(processes * threads, f"{processes} processes × {threads} threads")


def is_vulnerable(facts: Facts) -> bool:
    """Whether it is a PgBouncer with known vulnerabilities."""
    if facts.pooler is None or facts.pooler.kind == PGMUX:
        return False
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", facts.pooler.version)
    return found is not None and tuple(map(int, found.groups())) < SAFE


def not_in_force(facts: Facts) -> Mapping[str, tuple[str, str]]:
    """Of OPTIONS["options"]: what was asked for and what is."""
    return {name: both for name, both in facts.options.items() if both[0] != both[1]}


def _reached(facts: Facts, project: Project) -> Iterator[CheckMessage]:
    if facts.error:
        refused = "startup parameter" in facts.error
        yield Rule.NOT_REACHED.found(
            facts.alias.place,
            f"Django can't connect to {facts.alias.name!r} at {facts.address}: {facts.error}.",
            _options_hint(facts)
            if refused
            else "Try `manage.py dbshell` with the same settings, and the log of what is there.",
        )


def _pooled(facts: Facts, project: Project) -> Iterator[CheckMessage]:
    alias = facts.alias
    is_direct = any(other.direct == alias.name for other in project.aliases.values())
    if alias.pooler is not None and facts.is_pooled is False:
        yield Rule.NO_POOLER.found(
            alias.place,
            f"{alias.name!r} is taken for pooled ({alias.because}), and PostgreSQL itself answers "
            f"at {facts.address}: each connection is one of its max_connections.",
            "Write the pooler's HOST and PORT, or "
            f'PGMUX = {{"aliases": {{"{alias.name}": {{"pooler": False}}}}}}.',
        )
    if alias.pooler is None and facts.is_pooled and not is_direct:
        yield Rule.POOLER_UNSAID.found(
            alias.place,
            f"A pooler answers at {facts.address}, and the settings don't say so "
            f"({alias.because}): the checks about poolers run here only.",
            f'Write PGMUX = {{"aliases": {{"{alias.name}": {{"pooler": '
            f'"{facts.pooler.kind.lower() if facts.pooler else "pgbouncer"}"}}}}}}.',
        )
    if is_vulnerable(facts) and facts.pooler is not None:
        yield Rule.OLD_POOLER.found(
            alias.place,
            f"{facts.pooler.version} at {facts.address}: releases before 1.25.2 have known "
            "vulnerabilities (CVE-2026-6664 to 6667; before 1.25.1 CVE-2025-12819).",
            "Upgrade it to 1.25.2 or later, or let pgmux take over its configuration.",
        )


def _session_state(facts: Facts, project: Project) -> Iterator[CheckMessage]:
    alias, pooler = facts.alias, facts.pooler
    if pooler is None:
        return
    if pooler.pool_mode == "statement":
        yield Rule.STATEMENT_MODE.found(
            alias.place,
            f"pool_mode of {alias.dbname!r} is statement: transaction.atomic(), ATOMIC_REQUESTS "
            "and tests fail, as there are no transactions.",
            f"Write pool_mode=transaction for {alias.dbname} in the pooler's [databases].",
        )
    if pooler.pool_mode == "session" and alias.is_kept:
        yield Rule.SESSION_MODE.found(
            alias.place,
            f"pool_mode of {alias.dbname!r} is session: each connection that Django keeps "
            "(CONN_MAX_AGE) holds a server all the time, also when no request runs.",
            'Write pool_mode=transaction in the pooler, or "CONN_MAX_AGE": 0 here.',
        )
    threshold = alias.options.get("prepare_threshold")
    prepares = threshold is not None and alias.options.get("server_side_binding") is True
    if prepares and pooler.pool_mode != "session" and not pooler.prepared_statements:
        yield Rule.UNTRACKED_STATEMENTS.found(
            alias.place,
            f"prepare_threshold is {threshold}, and the pooler tracks no prepared statements "
            f"({pooler.version}, max_prepared_statements "
            f"{pooler.config.get('max_prepared_statements') or 'unknown to it'}).",
            'Leave out "prepare_threshold", or set max_prepared_statements = 200 (PgBouncer 1.21).',
        )


def _limits(facts: Facts, project: Project) -> Iterator[CheckMessage]:
    alias, pooler, server = facts.alias, facts.pooler, facts.server
    if pooler is None:
        return
    idle, kept = pooler.number("client_idle_timeout"), _kept_for(facts)
    if idle and not alias.health_checks and (kept is None or kept > idle):
        yield Rule.CLOSED_WHILE_IDLE.found(
            alias.place,
            f"The pooler closes clients that are idle for {idle} s (client_idle_timeout); "
            f"connections are kept {'without end' if kept is None else f'for {kept:g} s'}, and the "
            "request that finds one closed fails.",
            f'Write "CONN_HEALTH_CHECKS": True, or keep them for less than {idle} s.',
        )
    clients, most = size_of(facts, project), pooler.number("max_client_conn")
    if clients.clients is not None and clients.clients > most:
        yield Rule.TOO_FEW_CLIENTS.found(
            alias.place,
            f"This application may open {clients.clients} connections ({clients.how}), and the "
            f"pooler lets in {most} of all its users (max_client_conn): the others are refused.",
            f"Set max_client_conn = {_rounded(clients.clients)} in the pooler, and the limit of "
            "open files that goes with it.",
        )
    if server is not None and pooler.servers > server.max_connections - server.reserved:
        yield Rule.MORE_THAN_POSTGRES_HAS.found(
            alias.place,
            f"The pools of the databases at that PostgreSQL may open {pooler.servers} servers, "
            f"with one user each; it has {server.max_connections} connections (max_connections), "
            f"{server.reserved} of them reserved: 'too many clients already'.",
            "Lower default_pool_size and reserve_pool_size, or set max_db_connections, in the "
            "pooler.",
        )
    if not pooler.number("query_wait_timeout"):
        yield Rule.WAITS_FOREVER.found(
            alias.place,
            "query_wait_timeout is 0: while all servers are busy or PostgreSQL is down, requests "
            "wait without end.",
            "Set query_wait_timeout in the pooler below your web server's timeout (gunicorn: 30 "
            "s), so that an error says why.",
        )


def _role(facts: Facts, project: Project) -> Iterator[CheckMessage]:
    alias, server = facts.alias, facts.server
    if server is None:
        return
    if wrong := not_in_force(facts):
        shown = "; ".join(f"{n} is {now!r}, not {asked!r}" for n, (asked, now) in wrong.items())
        yield Rule.OPTIONS_NOT_IN_FORCE.found(
            alias.place,
            f'OPTIONS["options"] isn\'t in force through {facts.address}: {shown}.',
            _options_hint(facts),
        )
    if facts.is_pooled and server.role != server.user:
        yield Rule.ROLE_LEFT_BEHIND.found(
            alias.place,
            f"A new connection of {server.user!r} got a server with the rights of {server.role!r}: "
            'somebody ran SET ROLE (OPTIONS["assume_role"]), and it stayed.',
            f"Leave out assume_role, and run RECONNECT on the pooler's console. If PostgreSQL sets "
            f"it at login (ALTER ROLE … SET role), silence {Rule.ROLE_LEFT_BEHIND.id}.",
        )
    if server.is_superuser and facts.is_pooled:
        yield Rule.IS_SUPERUSER.found(
            alias.place,
            f"{server.user!r} is a superuser: the pool's servers may take the "
            f"{server.reserved} connections that PostgreSQL reserves for you, and an SQL injection "
            "may do everything.",
            "Use a role of the application's own: CREATE ROLE app LOGIN PASSWORD …",
        )


def _unknown(facts: Facts, project: Project) -> Iterator[CheckMessage]:
    pooled = facts.is_pooled or (facts.is_pooled is None and facts.alias.pooler is not None)
    if facts.unknown and facts.server is not None and pooled:
        yield Rule.CONSOLE_NOT_READ.found(
            facts.alias.place,
            f"Not known: {'; '.join(facts.unknown)}. So neither its version, pool_mode, limits nor "
            "timeouts were checked.",
            "Say --console-user NAME for one of stats_users or admin_users (password in "
            "PGMUX_CONSOLE_PASSWORD or ~/.pgpass), or add this user to stats_users.",
        )
    elif (
        facts.pooler is not None
        and facts.pooler.kind == PGBOUNCER
        and facts.alias.pooler is not None
        and facts.alias.mirror is None
    ):
        yield Rule.TESTS_THROUGH_PGBOUNCER.found(
            facts.alias.place,
            "`manage.py test` through PgBouncer leaves its test database behind: PgBouncer keeps a "
            "connection to it, so that DROP DATABASE fails, and so does the next run.",
            "Have the settings of tests use PostgreSQL's own HOST and PORT.",
        )


def _options_hint(facts: Facts) -> str:
    alias = facts.alias
    asked = {name: asked for name, (asked, _) in facts.options.items()}
    if not asked:  # it was refused with them
        asked = parameters_in(alias.startup_options)
    statements = alter_role(alias.user, alias.dbname, asked.items())
    ours = facts.pooler is not None and facts.pooler.kind == PGMUX
    named = "Name it in startup_parameters of pgmux.ini" if ours else "pgmux honours the usual ones"
    return f"{named}; or set it for the role, for every connection: {statements}"


def _kept_for(facts: Facts) -> float | None:
    """Seconds; 0 for not at all, None for without end."""
    alias = facts.alias
    if alias.pool is not None:
        lifetime = alias.pool.get("max_lifetime", POOL_LIFETIME)
        return float(lifetime) if isinstance(lifetime, int | float) else POOL_LIFETIME
    return alias.max_age if alias.is_kept else 0


def _rounded(count: int) -> int:
    """With a quarter to spare, for deployments that overlap."""
    return -(-count * 5 // 400) * 100
