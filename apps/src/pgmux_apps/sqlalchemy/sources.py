"""Which variables say where the database is: DATABASE_URL, POSTGRES_*, and those of the way there.

    through a pooler   DATABASE_URL or else POSTGRES_*, at PGBOUNCER_HOST:PGBOUNCER_PORT if given
    past it            DATABASE_DIRECT_URL, DIRECT_URL or DIRECT_DATABASE_URL, or else
                       DATABASE_URL or POSTGRES_*, at DB_DIRECT_PORT if given

User, password, database and the URLs may be in files, as containers have secrets: `*_FILE`. What
POSTGRES_* leaves out is as in the images of PostgreSQL: user postgres, a database of its name.

Errors: `SettingError`, without anything of a URL or a password.
"""

from __future__ import annotations

from dataclasses import replace

from pgmux_apps.environment import Environment
from pgmux_apps.sqlalchemy.database_url import (
    DatabaseUrl,
    Host,
    check_text,
    is_of_kubernetes,
    parse_hosts,
    parse_ports,
    parse_url,
    with_ports,
)

PGBOUNCER_PORT = 6432
DIRECT_URLS = ("DATABASE_DIRECT_URL", "DIRECT_URL", "DIRECT_DATABASE_URL")

_POOLER = (Host("pgbouncer", 5432),)  # as compose files name it, with the port of its images
_POSTGRES = (Host("localhost", 5432),)


def find_database(environment: Environment, *, use_pgbouncer: bool) -> DatabaseUrl | None:
    """Where to connect, and as whom; None where no variable says so. Raises: SettingError."""
    return _through_pooler(environment) if use_pgbouncer else _direct(environment)


def _through_pooler(environment: Environment) -> DatabaseUrl | None:
    url = _given(environment, _POOLER)
    host = environment.given("PGBOUNCER_HOST")
    port = environment.given("PGBOUNCER_PORT")
    if url is None:
        return None
    if host is not None:
        hosts = parse_hosts("PGBOUNCER_HOST", host)
        hosts = tuple(Host(each.name, each.port or PGBOUNCER_PORT) for each in hosts)
        url = replace(url, hosts=hosts)
    elif port is not None and is_of_kubernetes(port):
        return url  # says of a Service what DATABASE_URL may not mean
    if port is not None:
        ports = parse_ports("PGBOUNCER_PORT", port)
        url = replace(url, hosts=with_ports("PGBOUNCER_PORT", url.hosts or (Host(""),), ports))
    return url


def _direct(environment: Environment) -> DatabaseUrl | None:
    for name in DIRECT_URLS:
        text = environment.secret(name)
        if text is not None:
            return _from_url(environment, name, text)
    url = _given(environment, _POSTGRES)
    port = environment.given("DB_DIRECT_PORT")
    if url is None or port is None:
        return url
    ports = parse_ports("DB_DIRECT_PORT", port)
    return replace(url, hosts=with_ports("DB_DIRECT_PORT", url.hosts or (Host(""),), ports))


def _given(environment: Environment, hosts: tuple[Host, ...]) -> DatabaseUrl | None:
    """DATABASE_URL or POSTGRES_*; `hosts` where the latter name none."""
    text = environment.secret("DATABASE_URL")
    if text is not None:
        return _from_url(environment, "DATABASE_URL", text)
    return _from_parts(environment, hosts)


def _from_url(environment: Environment, name: str, text: str) -> DatabaseUrl:
    """The URL; POSTGRES_PASSWORD is its user's where it has none and POSTGRES_USER is no other."""
    url = parse_url(name, text.strip())
    if url.password is None and environment.secret("POSTGRES_USER") in (None, url.user):
        return replace(url, password=_checked(environment, "POSTGRES_PASSWORD"))
    return url


def _from_parts(environment: Environment, hosts: tuple[Host, ...]) -> DatabaseUrl | None:
    host = environment.given("POSTGRES_HOST")
    user = _checked(environment, "POSTGRES_USER")
    password = _checked(environment, "POSTGRES_PASSWORD")
    database = _checked(environment, "POSTGRES_DB")
    if host is None and user is None and password is None and database is None:
        return None  # not for the port's sake: Kubernetes may have set that
    if host is not None:
        hosts = parse_hosts("POSTGRES_HOST", host)
    port = environment.given("POSTGRES_PORT")
    if port is not None:
        hosts = with_ports("POSTGRES_PORT", hosts, parse_ports("POSTGRES_PORT", port))
    return DatabaseUrl(
        source="POSTGRES_*",
        user=user or "postgres",
        password=password,
        hosts=hosts,
        database=database or user or "postgres",
    )


def _checked(environment: Environment, name: str) -> str | None:
    text = environment.secret(name)
    return None if text is None else check_text(name, text)
