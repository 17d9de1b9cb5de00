"""EXPO006, EXPO007, ROLE005: how users are looked up by auth_query, and PgBouncer's own holes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pgmux.config.model import Config
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.server import LookupFacts
from pgmux.ops.check.gather.lookups import find_call, schemas_of
from pgmux.ops.check.gather.targets import entries_of
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.check.rules.roles import names_of
from pgmux.ops.severity import Severity

CURRENT = (1, 25, 2)
_CVE = (
    "before PgBouncer 1.25.1 a client chose that itself where track_extra_parameters has"
    " search_path (CVE-2025-12819)"
)
_TABLE = re.compile(r"\bfrom\s+(?!pg_catalog\.)(pg_shadow|pg_authid|pg_user)\b", re.IGNORECASE)


@rule(
    "EXPO006",
    Severity.WARNING,
    "an auth_query that leaves open what is looked up, or for how long",
    needs=("config",),
)
def auth_query(evidence: Evidence) -> Iterator[Found]:
    config = evidence.config
    assert config is not None
    for query, databases in _queries(config).items():
        where = f"auth_query of {names_of(databases)}"
        call = find_call(query)
        if call is not None and not call[0]:
            yield Found(
                f"{call[1]}() without its schema: a search_path decides which function it is, and"
                f" {_CVE}",
                f"write schema.{call[1]}($1)",
                where,
                _severity_of_search_path(config, evidence),
            )
        if call is None and (bare := _TABLE.search(query)):
            yield Found(
                f"{bare[1]} without pg_catalog.: a search_path decides which table it is, and"
                f" {_CVE}",
                f"write pg_catalog.{bare[1].lower()}, or let a function do it: pgmux auth-setup",
                where,
                _severity_of_search_path(config, evidence),
            )
        if call is None and "valuntil" not in query.lower():
            yield Found(
                "VALID UNTIL isn't looked at: a password that has expired in PostgreSQL still lets"
                " one in (CVE-2025-2291)",
                "CASE WHEN rolvaliduntil < pg_catalog.now() THEN NULL ELSE rolpassword END;"
                " pgmux auth-setup writes such a function",
                where,
            )


def _queries(config: Config) -> dict[str, list[str]]:
    """What auth_user asks, and for which databases. What is the default isn't the user's fault."""
    found: dict[str, list[str]] = {}
    for entry in entries_of(config):
        query = config.auth_query(entry)
        if config.auth_user(entry) and query != type(config.settings)().auth_query:
            found.setdefault(query, []).append(entry.name)
    return found


def _severity_of_search_path(config: Config, evidence: Evidence) -> Severity:
    """An error where the hole is open: that PgBouncer, and clients that may set search_path."""
    version = evidence.console.pgbouncer_version if evidence.console else None
    tracked = {name.lower() for name in config.settings.track_extra_parameters}
    is_open = "search_path" in tracked and version is not None and (1, 20) <= version < (1, 25, 1)
    return Severity.ERROR if is_open else Severity.WARNING


# What the function that auth_query names must be like


@rule(
    "ROLE005",
    Severity.ERROR,
    "a lookup function of auth_query that doesn't work, or gives more than it should",
    needs=("servers",),
)
def lookup_function(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        for lookup in server.lookups:
            where = f"{server.place}/{lookup.database}: {lookup.oid_name or lookup.called}"
            for text, advice, severity in _problems(lookup):
                yield Found(
                    text, f"{advice}; pgmux auth-setup makes such a function", where, severity
                )


Problem = tuple[str, str, Severity]


def _problems(lookup: LookupFacts) -> Iterator[Problem]:
    if not lookup.oid_name:
        yield (
            f"there is no function {lookup.called} in this database: nobody but auth_file's users"
            " can log in",
            "make it in every database whose auth_user asks it, or name one by auth_dbname",
            Severity.ERROR,
        )
        return
    if lookup.can_execute is False:
        yield (
            f"{lookup.auth_user} may not run it: nobody but auth_file's users can log in",
            f'GRANT USAGE ON SCHEMA …, EXECUTE ON FUNCTION … TO "{lookup.auth_user}"',
            Severity.ERROR,
        )
    yield from _too_open(lookup)
    if lookup.is_security_definer:
        yield from _search_path(lookup)
    yield from _too_much(lookup)


def _too_open(lookup: LookupFacts) -> Iterator[Problem]:
    if lookup.is_public and lookup.is_security_definer:
        reach = "" if lookup.is_schema_public else ", as soon as it gets USAGE on the schema"
        yield (
            f"PUBLIC may run it: every role reads everybody's verifier by it{reach}",
            "REVOKE EXECUTE ON FUNCTION … FROM PUBLIC",
            Severity.ERROR if lookup.is_schema_public else Severity.WARNING,
        )
    if not lookup.is_security_definer:
        yield (
            f"it isn't SECURITY DEFINER: {lookup.auth_user} itself must be able to read pg_authid,"
            " in all its sessions",
            "SECURITY DEFINER, owned by a superuser that doesn't log in",
            Severity.WARNING,
        )


def _search_path(lookup: LookupFacts) -> Iterator[Problem]:
    pinned = "SET search_path = pg_catalog, pg_temp"
    if lookup.search_path is None:
        yield (
            "SECURITY DEFINER without a search_path of its own: who calls it decides whose tables"
            " and operators it uses, with its owner's rights",
            f"ALTER FUNCTION … {pinned}",
            Severity.ERROR,
        )
        return
    schemas = schemas_of(lookup.search_path)
    path = f"search_path = {lookup.search_path or '(empty)'}"
    if lookup.unsafe_schemas:
        yield (
            f"{path}: everybody may create objects in {', '.join(lookup.unsafe_schemas)}, and it"
            " would run them with its owner's rights",
            f"ALTER FUNCTION … {pinned}",
            Severity.ERROR,
        )
    elif schemas[-1:] != ["pg_temp"] and lookup.has_bare_names:
        yield (
            f"{path}, without pg_temp, which is searched first then: a temporary table can take the"
            " place of pg_authid",
            f"ALTER FUNCTION … {pinned}",
            Severity.WARNING,
        )


def _too_much(lookup: LookupFacts) -> Iterator[Problem]:
    if not lookup.honours_valid_until:
        source = " (pg_shadow gives expired passwords too)" if lookup.reads_pg_shadow else ""
        yield (
            f"it doesn't look at VALID UNTIL{source}: a password that has expired still lets one in"
            " (CVE-2025-2291)",
            "CASE WHEN rolvaliduntil < pg_catalog.now() THEN NULL ELSE rolpassword END",
            Severity.WARNING,
        )
    if lookup.gives_superusers:
        yield (
            "it answers superusers' verifiers too: they can log in by the pooler, and"
            f" {lookup.auth_user}'s password is worth as much as theirs",
            "AND NOT rolsuper AND NOT rolreplication",
            Severity.WARNING,
        )


Version = tuple[int, int, int]
_HOLES: tuple[tuple[Version, Version, str], ...] = (  # from which version to before which
    ((0, 0, 0), (1, 25, 2), "CVE-2026-6664 (a client that hasn't logged in crashes it)"),
    ((0, 0, 0), (1, 25, 2), "CVE-2026-6665 and -6666 (so does a server, or worse)"),
    ((1, 24, 0), (1, 25, 2), "CVE-2026-6667 (stats_users may KILL_CLIENT)"),
    ((1, 20, 0), (1, 25, 1), "CVE-2025-12819 (a client's search_path in auth_query)"),
    ((0, 0, 0), (1, 24, 1), "CVE-2025-2291 (expired passwords by auth_query)"),
)


@rule("EXPO007", Severity.WARNING, "a PgBouncer with known holes", needs=("console",))
def old_pgbouncer(evidence: Evidence) -> Iterator[Found]:
    assert evidence.console is not None
    version = evidence.console.pgbouncer_version
    if version is None or version >= CURRENT:
        return
    holes = [text for since, fixed, text in _HOLES if since <= version < fixed]
    yield Found(
        f"{evidence.console.version}: {'; '.join(holes)}. A distribution's package may have the"
        " fixes without the number",
        "PgBouncer 1.25.2, or pgmux in its place with the same files",
        evidence.console.place,
    )


RULES = (auth_query, old_pgbouncer, lookup_function)
