"""The functions that auth_query calls, as PostgreSQL has them in the databases where it runs.

What a function does is told from its text: it isn't called, since it would answer a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pgmux.config.model import AUTODB_NAME, Config, Database
from pgmux.ops.capacity import Place
from pgmux.ops.check.facts.server import LookupFacts
from pgmux.ops.check.gather.targets import entries_of, places_of
from pgmux.ops.server_connection import Row, ServerConnection

_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'
_CALL = re.compile(rf"(?:({_NAME})\s*\.\s*)?({_NAME})\s*\(\s*\$1", re.IGNORECASE)
_SECRETS = re.compile(r"(pg_catalog\s*\.\s*)?\b(pg_shadow|pg_authid|pg_roles|pg_user)\b")
_NO_FUNCTIONS = frozenset(("in", "values", "any", "coalesce", "lower", "upper"))

_FUNCTION = """
SELECT n.nspname, p.proname, p.prosecdef, p.proconfig,
       pg_catalog.pg_get_functiondef(p.oid) AS text,
       EXISTS (SELECT FROM pg_catalog.aclexplode(
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)))
               WHERE grantee = 0 AND privilege_type = 'EXECUTE') AS is_public,
       pg_catalog.has_schema_privilege('public', n.oid, 'USAGE') AS is_schema_public,
       (SELECT pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE')
               AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
        FROM pg_catalog.pg_roles r WHERE r.rolname = %s) AS can_execute
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = %s AND p.prokind = 'f'
  AND CASE WHEN %s = '' THEN pg_catalog.pg_function_is_visible(p.oid) ELSE n.nspname = %s END
ORDER BY p.pronargs LIMIT 1
"""
_OPEN_SCHEMAS = """
SELECT nspname FROM pg_catalog.pg_namespace
WHERE nspname = ANY (%s::pg_catalog.name[])
  AND pg_catalog.has_schema_privilege('public', oid, 'CREATE')
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Call:
    """That an auth_query, run in a database as auth_user, calls schema.name; "" is no schema."""

    database: str
    schema: str
    name: str
    auth_user: str

    @property
    def called(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def find_call(auth_query: str) -> tuple[str, str] | None:
    """(schema, name) of the function that gets $1; None where the query reads tables itself."""
    found = None if _SECRETS.search(auth_query.lower()) else _CALL.search(auth_query)
    if found is None or (not found[1] and found[2].lower() in _NO_FUNCTIONS):
        return None
    return _fold(found[1] or ""), _fold(found[2])


def _fold(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def calls_at(config: Config, places: Iterable[Place]) -> list[Call]:
    """What is called at a server, each once; of `*` only where auth_dbname says in which."""
    here = frozenset(places)
    found: dict[Call, None] = {}
    for entry in entries_of(config):
        auth_user = config.auth_user(entry)
        call = find_call(config.auth_query(entry)) if auth_user else None
        where = _where(config, entry)
        if call is None or where is None or where.dbname == AUTODB_NAME or not auth_user:
            continue
        if here.intersection(places_of(where)):
            found[Call(where.dbname, *call, auth_user)] = None
    return list(found)


def _where(config: Config, entry: Database) -> Database | None:
    """The entry in whose database the query is run."""
    name = config.auth_dbname(entry)
    return config.find_database(name) if name else entry


def gather(server: ServerConnection, call: Call) -> LookupFacts:
    """The function as this database has it. Raises: ServerError."""
    parameters = [call.auth_user, call.name, call.schema, call.schema]
    rows = server.rows(_FUNCTION, parameters)
    if not rows:
        return LookupFacts(call.database, call.called, call.auth_user)
    return _judge(server, call, rows[0])


def _judge(server: ServerConnection, call: Call, row: Row) -> LookupFacts:
    text = row["text"].lower()
    path = _search_path(row["proconfig"] or [])
    schemas = [] if path is None else schemas_of(path)
    open_schemas = server.rows(_OPEN_SCHEMAS, [schemas]) if schemas else []
    sources = list(_SECRETS.finditer(text))
    return LookupFacts(
        call.database,
        call.called,
        call.auth_user,
        oid_name=f"{row['nspname']}.{row['proname']}",
        is_security_definer=row["prosecdef"],
        search_path=path,
        unsafe_schemas=tuple(each["nspname"] for each in open_schemas),
        is_public=row["is_public"],
        is_schema_public=row["is_schema_public"],
        can_execute=row["can_execute"],
        honours_valid_until="rolvaliduntil" in text or "valuntil" in text,
        reads_pg_shadow=any(each[2] == "pg_shadow" for each in sources),
        gives_superusers="rolsuper" not in text and "usesuper" not in text,
        has_bare_names=any(not each[1] for each in sources),
    )


def _search_path(config: Iterable[str]) -> str | None:
    prefix = "search_path="
    return next((each.removeprefix(prefix) for each in config if each.startswith(prefix)), None)


def schemas_of(search_path: str) -> list[str]:
    """`"$user", public` -> its names, unquoted, in order; an empty path has none."""
    return [name for each in search_path.split(",") if (name := each.strip().strip('"'))]
