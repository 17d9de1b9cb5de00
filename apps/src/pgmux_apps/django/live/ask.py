"""Asks the database of an alias as Django would, and the console at the same address.

The connection is one of its own beside Django's: without OPTIONS["pool"], which would be shared,
and without assume_role, which would stay on a server of the pool.

Errors: none; what couldn't be asked is in `Facts.error` and `Facts.unknown`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.utils import load_backend

from pgmux_apps.console import (
    ConsoleAddress,
    ConsoleError,
    Row,
    cut_after,
    first_line,
    read_console,
)
from pgmux_apps.django.aliases import Alias
from pgmux_apps.django.live.facts import Facts, Pooler, Server
from pgmux_apps.django.rules import printable
from pgmux_apps.django.startup_options import parameters_in

CONNECT_TIMEOUT = 5  # seconds, unless OPTIONS says otherwise
LOGINS = 5
QUERIES = 20

SERVER = """
    SELECT current_setting('server_version'), session_user, current_user,
           (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user),
           current_setting('max_connections')::int,
           current_setting('superuser_reserved_connections')::int
             + coalesce(current_setting('reserved_connections', true)::int, 0),
           pg_catalog.pg_backend_pid(),
           pg_catalog.pg_postmaster_start_time()::text || ' '
             || (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""

CONSOLE = ("SHOW VERSION", "SHOW CONFIG", "SHOW DATABASES", "SHOW USERS")

Failures = (Error, ImproperlyConfigured, ValueError, TypeError, OSError)
Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class How:
    """How is asked: who reads the console instead of the alias's own user, and how patiently."""

    console_user: str | None
    console_password: str | None
    timeout: float  # seconds for all that one of them answers: a pool may have no server free
    say: Callable[[str], None]  # tells of progress


def ask(alias: Alias, settings: Settings, how: How) -> Facts:
    """`settings` are the alias's of Django's `connections.settings`."""
    facts = Facts(alias, address=f"{alias.host or 'its socket'}:{alias.port}")
    if not isinstance(settings.get("OPTIONS"), Mapping):
        facts.error = "OPTIONS is no dictionary"
        return facts
    how.say(f"asking {alias.name} at {facts.address}")
    place = _ask_server(facts, settings, how)
    if alias.pooler is None and not facts.is_pooled:
        # PostgreSQL doesn't know the console's user: the alias's own learns more.
        how = replace(how, console_user=None)
    if place is not None and (facts.server or how.console_user):
        place = _as_user(place, settings, how)
        how.say(f"asking the console at {facts.address} as {place.user}")
        _ask_console(facts, place, how.timeout)
    return facts


def _ask_server(facts: Facts, settings: Settings, how: How) -> ConsoleAddress | None:
    """Fills in what the database says; where a console would be at the same address."""
    options = settings.get("OPTIONS", {})
    late = False
    try:
        return _ask_connected(facts, settings, how.timeout)
    except Failures as error:
        facts.error, late = _text(error, settings), isinstance(error, TimeoutError)
    if options.get("options") and not late:  # may be what is refused: the rest is asked without
        less = {**settings, "OPTIONS": {k: v for k, v in options.items() if k != "options"}}
        try:
            return _ask_connected(facts, less, how.timeout)
        except Failures:
            pass
    facts.unknown.append("all that the database would have said")
    if not facts.alias.host:
        return None
    # Where the database can't be had, the console may be, to another user.
    return _place(facts.alias.host, int(facts.alias.port), facts.alias.user, settings)


def _ask_connected(facts: Facts, settings: Settings, timeout: float) -> ConsoleAddress:
    with _connected(facts.alias, settings) as connection:
        info = connection.connection.info
        facts.address = f"{info.host}:{info.port}"
        with _answered_within(timeout, connection.connection), connection.cursor() as cursor:
            cursor.execute(SERVER)
            *said, pid, identity = cursor.fetchone()
            version, user, role, is_superuser, most, reserved = said
            facts.server = Server(
                version=printable(version),
                identity=identity,
                user=printable(user),
                role=printable(role),
                is_superuser=bool(is_superuser),
                max_connections=int(most),
                reserved=int(reserved),
                is_this_process=pid == info.backend_pid,
            )
            asked = parameters_in(str(settings["OPTIONS"].get("options") or ""))
            facts.options = {name: _in_force(cursor, name, asked[name]) for name in asked}
            facts.query = _median(lambda: cursor.execute("SELECT 1"), QUERIES)
        place = _place(info.host, info.port, info.user, settings)
    facts.login = _median(lambda: _log_in(facts.alias, settings), LOGINS)
    return place


@contextmanager
def _connected(alias: Alias, settings: Settings) -> Iterator[Any]:
    """Django's own wrapper, so that what is asked is what its queries would get."""
    left_out = ("pool", "assume_role")
    options = {k: v for k, v in settings.get("OPTIONS", {}).items() if k not in left_out}
    options.setdefault("connect_timeout", CONNECT_TIMEOUT)
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper
    connection = wrapper({**settings, "OPTIONS": options, "AUTOCOMMIT": True}, alias.name)
    connection.timezone_name = ""  # SET would wait for a server, which nothing cuts off
    try:
        connection.ensure_connection()
        yield connection
    finally:
        connection.close()


@contextmanager
def _answered_within(timeout: float, connection: Any) -> Iterator[None]:
    with cut_after(connection, timeout) as cut:
        try:
            yield
        except Error as error:
            if cut.is_set():
                text = f"no answer within {timeout:g} s: no server is free, or PostgreSQL is down"
                raise TimeoutError(text) from error
            raise


def _log_in(alias: Alias, settings: Settings) -> None:
    with _connected(alias, settings):
        pass


def _in_force(cursor: Any, name: str, value: str) -> tuple[str, str]:
    """The value as PostgreSQL would write it, and the one in force; the error in its place."""
    cursor.execute("BEGIN")  # what is set here ends here, and both are asked of one server
    try:
        cursor.execute("SELECT current_setting(%s, true)", [name])
        in_force = cursor.fetchone()[0]
        cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
        cursor.execute("SELECT current_setting(%s, true)", [name])
        return printable(cursor.fetchone()[0] or ""), printable(in_force or "")
    except Error as error:
        return value, printable(first_line(error))
    finally:
        cursor.execute("ROLLBACK")


def _median(act: Callable[[], object], times: int) -> float:
    """In seconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return median(taken)


def _place(host: str, port: int, user: str, settings: Settings) -> ConsoleAddress:
    """Of the console there, with the alias's TLS; the password comes later."""
    names = ("sslmode", "sslrootcert", "sslcert", "sslkey")
    tls = {name: settings["OPTIONS"].get(name) for name in names}
    return ConsoleAddress(host, port, user, **tls)


def _as_user(place: ConsoleAddress, settings: Settings, how: How) -> ConsoleAddress:
    name = how.console_user or place.user
    password = how.console_password if how.console_user else None
    if password is None and name == place.user:
        password = str(settings.get("PASSWORD") or "") or None
    return replace(place, user=name, password=password)


def _ask_console(facts: Facts, place: ConsoleAddress, timeout: float) -> None:
    try:
        version, config, databases, users = read_console(place, CONSOLE, timeout)
    except ConsoleError as error:
        # PostgreSQL's own words, where no pooler is: a pooler always has that database
        facts.is_postgres = 'database "pgbouncer" does not exist' in str(error)
        if not facts.is_postgres:
            facts.unknown.append(f"what the pooler is and is set to: {printable(str(error))}")
        return
    rows = tuple(_filled(row) for row in databases)
    facts.pooler = Pooler(
        version=_filled(version[0]).get("version", "") if version else "",
        config={row.get("key", ""): row.get("value", "") for row in map(_filled, config)},
        database=_named(rows, facts.alias.dbname),
        databases=tuple(row for row in rows if row.get("name") != "pgbouncer"),
        user=_named([_filled(row) for row in users], facts.server.user if facts.server else ""),
    )


def _filled(row: Row) -> dict[str, str]:
    return {name: printable(value or "") for name, value in row.items()}


def _named(rows: Any, name: str) -> Mapping[str, str]:
    return next((row for row in rows if row.get("name") == name), {})


def _text(error: Exception, settings: Settings) -> str:
    """The driver's first line; the password isn't in it, but should it be, it isn't shown."""
    text = printable(first_line(error))
    for password in (settings.get("PASSWORD"), settings["OPTIONS"].get("password")):
        text = text.replace(str(password), "***") if password else text
    return text
