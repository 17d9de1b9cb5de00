"""Where a program is told to connect to: by a URL, a libpq string, Airflow's JSON, or variables
for host and port. The password is dropped here.

URLs are read as drivers' and frameworks' own readers take them between them, so a password may have
`:`, `/` and `@` in it. Errors: none; what is no connection is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from pgmux.ops.check.facts.environment import Target, Variable

_URL = re.compile(
    r"(?P<jdbc>jdbc:)?(?:db\+)?(?:postgres|postgresql|pgsql|psql|postgis)"
    r"(?:\+(?P<driver>\w+))?://(?P<rest>.*)",
    re.DOTALL,
)
_LIBPQ = re.compile(r"\b(host|hostaddr|port|dbname|user|options)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)")
_POSTGRES = frozenset({"postgres", "postgresql"})
# Of a URL's parameters, those that rules go by; none of them is a secret.
_KEPT = frozenset(
    [
        "options",
        "prepare_threshold",
        "preparethreshold",
        "prepared_statement_cache_size",
        "statement_cache_size",
        "sslmode",
        "pgbouncer",
        "currentschema",
        "readonly",
        "readonlymode",
        "search_path",
        "isolation_level",
        "disable_server_side_cursors",
        "statement_timeout",
        "assume_role",
    ]
)
_HOST = re.compile(r"(?:(PG)|(\w*?(?:DB|PG|POSTGRES|POSTGRESQL|DATABASE|SQL)_{1,2}))HOST")
_PORT = 5432


def read_target(variable: str, text: str, where: str, unknown: str) -> Target | None:
    """What a variable's value connects to; parts that have `unknown` in them aren't known."""
    text = text.strip()
    found = _URL.fullmatch(text)
    if found is not None:
        return _of_url(variable, where, found, unknown)
    if text.startswith("{") and len(text) < 65536:
        return _of_json(variable, where, text, unknown)
    said = {key: value.strip("'") for key, value in _LIBPQ.findall(text[:65536])}
    if "host" in said and re.fullmatch(r"\w*(?:CONN\w*|DSN|URL|URI|DATABASE)", variable):
        return Target(
            variable,
            where,
            host=_known(said["host"], unknown),
            port=_port(said.get("port", "")),
            user=_known(said.get("user", ""), unknown) or "",
            database=_known(said.get("dbname", ""), unknown) or "",
            parameters={"options": said["options"]} if "options" in said else {},
        )
    return None


def target_of_command(command: str, where: str) -> Target | None:
    """Where pg_dump or psql is told to connect by its own arguments."""
    url = re.search(r"(?:postgres|postgresql)://[^\s'\"]+", command)
    if url is not None:
        return read_target("command", url[0], where, "")
    host = re.search(r"(?:\s-h\s*|--host[= ])([^\s'\"]+)", command)
    port = re.search(r"(?:\s-p\s*|--port[= ])(\d+)", command)
    if host is None:
        return None
    return Target("command", where, host=host[1], port=_port(port[1] if port is not None else ""))


def targets_of_parts(variables: Mapping[str, Variable]) -> Iterator[Target]:
    """Those of PGHOST and PGPORT, DB_HOST and DB_PORT, and their like."""
    for name, host in variables.items():
        found = _HOST.fullmatch(name)
        if found is None or not host.value or "://" in host.value:
            continue
        prefix = found[1] or found[2]
        options = _first(variables, prefix, "OPTIONS") if prefix == "PG" else ""
        yield Target(
            name,
            host.where,
            host=host.value,
            port=_port_of(variables, prefix),
            user=_first(variables, prefix, "USER", "USERNAME"),
            database=_first(variables, prefix, "NAME", "DB", "DATABASE", "DBNAME"),
            parameters={"options": options} if options else {},
        )


def _port_of(variables: Mapping[str, Variable], prefix: str) -> int | None:
    """5432 where no variable says it, None where one says what isn't known."""
    port = variables.get(f"{prefix}PORT")
    if port is not None and port.value is None:
        return None
    return _port(port.value or "" if port is not None else "")


def _first(variables: Mapping[str, Variable], prefix: str, *words: str) -> str:
    found = (variables.get(prefix + word) for word in words)
    return next((each.value for each in found if each is not None and each.value), "")


def _of_url(variable: str, where: str, found: re.Match[str], unknown: str) -> Target:
    place, _, query = found["rest"].partition("?")
    login, _, rest = place.rpartition("@")
    user, _, _ = login.partition(":")
    hosts, _, database = rest.partition("/")
    host, port = _split_host(hosts.split(",")[0])
    pairs = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=None))
    given = {key.lower(): value for key, value in pairs.items()}
    given |= _extra_of(given.get("__extra__", ""))
    return Target(
        variable,
        where,
        driver="jdbc" if found["jdbc"] else found["driver"] or "",
        host=_known(unquote(host) or given.get("host", ""), unknown),
        port=_port(port or given.get("port", "")),
        user=_known(unquote(user) or given.get("user", ""), unknown) or "",
        database=_known(unquote(database), unknown) or "",
        parameters={key: text for key, text in given.items() if key in _KEPT},
    )


def _split_host(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def _of_json(variable: str, where: str, text: str, unknown: str) -> Target | None:
    """Airflow's form of a connection."""
    said = _json_object(text)
    if said.get("conn_type") not in _POSTGRES:
        return None
    return Target(
        variable,
        where,
        host=_known(str(said.get("host") or ""), unknown),
        port=_port(str(said.get("port") or "")),
        user=_known(str(said.get("login") or ""), unknown) or "",
        database=_known(str(said.get("schema") or ""), unknown) or "",
        parameters=_extra_of(said.get("extra") or ""),
    )


def _extra_of(extra: Any) -> dict[str, str]:
    said = extra if isinstance(extra, dict) else _json_object(str(extra))
    return {
        str(key).lower(): "null" if value is None else str(value)
        for key, value in said.items()
        if str(key).lower() in _KEPT
    }


def _json_object(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _known(text: str, unknown: str) -> str | None:
    return None if unknown and unknown in text else text


def _port(text: str) -> int | None:
    """5432 where none is given, None where it isn't known."""
    if not text:
        return _PORT
    return int(text) if text.isdecimal() and len(text) <= 5 else None
