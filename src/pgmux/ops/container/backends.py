"""The databases that DATABASE_URLS, DATABASE_URL or DB_* name.

URLs are libpq's, read by libpq; a driver in the scheme (`postgresql+psycopg://`) is dropped. As
edoburu/pgbouncer takes them, a password may also stand as it is, `:`, `/` and `@` included: what is
before the last `@` is user and password. Percent signs decode.
Errors: problems of the `Environment`, without the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from pgmux.ops.container.environment import Environment

ANY_DATABASE = "*"
_URL = re.compile(r"(?:postgres|postgresql|pgsql|postgis)(?:\+\w+)?://(.*)", re.DOTALL)
# A comma within a URL is a list of hosts, or of a password.
_BETWEEN_URLS = re.compile(r"\s*,\s*(?=[a-z][a-z0-9+.-]*://)")
# libpq's parameters that are settings of the pooler, for all servers.
_TLS = {
    "sslmode": "server_tls_sslmode",
    "sslrootcert": "server_tls_ca_file",
    "sslcert": "server_tls_cert_file",
    "sslkey": "server_tls_key_file",
}
_ENTRY_KEYS = ("application_name", "client_encoding")


@dataclass(frozen=True, slots=True)
class Backend:
    """One entry of [databases] and who logs in; `settings` are what its URL says of all servers."""

    name: str
    host: str
    port: str
    user: str
    password: str
    keys: dict[str, str]
    settings: dict[str, str]


def find_backends(environment: Environment) -> list[Backend]:
    """The databases in the order named; none where no variable names one."""
    urls = environment.get("DATABASE_URLS")
    if urls is not None:
        parts = [url for url in _BETWEEN_URLS.split(urls.strip()) if url]
        found = [
            _of_url(url, f"DATABASE_URLS, URL {n}", environment) for n, url in enumerate(parts, 1)
        ]
    elif (url := environment.get("DATABASE_URL")) is not None:
        found = [_of_url(url.strip(), "DATABASE_URL", environment)]
    else:
        found = [_of_variables(environment)]
    backends = [backend for backend in found if backend is not None]
    names = [backend.name for backend in backends]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        environment.problems.append(f"DATABASE_URLS: two URLs for database {name!r}")
    return backends


def _of_variables(environment: Environment) -> Backend | None:
    host = environment.get("DB_HOST")
    if host is None:
        return None
    return Backend(
        environment.get("DB_NAME") or ANY_DATABASE,
        host,
        _port(environment.get("DB_PORT") or "", "DB_PORT", environment),
        environment.get("DB_USER") or "",
        environment.get("DB_PASSWORD") or "",
        {},
        {},
    )


def _of_url(url: str, variable: str, environment: Environment) -> Backend | None:
    match = _URL.fullmatch(url)
    if match is None:
        environment.problems.append(f"{variable}: no URL like postgresql://user:password@host/db")
        return None
    if not environment.check_line(variable, unquote(match[1])):  # %0A, %00
        return None
    login, _, rest = match[1].rpartition("@")
    user, _, password = (unquote(part) for part in login.partition(":"))
    try:
        said = conninfo_to_dict("postgresql://" + _without_unknown(rest, variable, environment))
    except (psycopg.Error, UnicodeError) as error:
        environment.problems.append(f"{variable}: {str(error).strip()}")
        return None
    values = {name: str(value) for name, value in said.items()}
    ports = set(values.get("port", "").split(","))
    if len(ports) > 1:
        environment.problems.append(f"{variable}: all hosts of a database have the same port here")
    if not values.get("host"):
        environment.problems.append(f"{variable}: no host")
    return Backend(
        values.get("dbname") or ANY_DATABASE,
        values.get("host", ""),
        _port(ports.pop(), variable, environment),
        user or values.get("user", ""),
        password or values.get("password", ""),
        {key: values[key] for key in _ENTRY_KEYS if key in values},
        {_TLS[key]: values[key] for key in _TLS if key in values},
    )


def _port(text: str, variable: str, environment: Environment) -> str:
    if text and not (text.isdecimal() and 0 < int(text) < 1 << 16):
        environment.problems.append(
            f"{variable}: the port isn't a number from 1 to 65535" + _hint_at_link(text, variable)
        )
    return text or "5432"


def _hint_at_link(text: str, variable: str) -> str:
    """What to do where Kubernetes has set the variable: for a Service named `db`, DB_PORT."""
    if not text.startswith(("tcp://", "udp://")):
        return ""
    return f" (Kubernetes sets {variable} for a Service: set it yourself, or enableServiceLinks no)"


def _without_unknown(rest: str, variable: str, environment: Environment) -> str:
    """The URL without what only other clients know (`schema=`), or what a pooler can't promise."""
    place, mark, query = rest.partition("?")
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    taken = {*_TLS, *_ENTRY_KEYS, "host", "port", "dbname", "user", "password"} & known
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)  # as libpq: no blank
    for name, _ in pairs:
        if name not in taken:
            environment.warnings.append(f"{variable}: ?{name}= is not for a pooler: ignored")
    kept = urlencode([pair for pair in pairs if pair[0] in taken], quote_via=quote)
    return place + mark + kept
