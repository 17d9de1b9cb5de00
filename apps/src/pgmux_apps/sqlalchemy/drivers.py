"""What each driver takes under SQLAlchemy: its form of a URL, and its arguments for connecting.

psycopg and psycopg2 hand a URL's query to libpq. asyncpg takes it as keyword arguments, as strings;
what must be a number there goes into the arguments for connecting, and what it reads from a DSN
only (sslrootcert, application_name) into one, which SQLAlchemy passes on like any other argument.
So a URL that was written for one driver serves the others: `ssl` is libpq's sslmode, `timeout` its
connect_timeout, and asyncpg's sizes of caches say nothing to the others.

Errors: `SettingError` for what the driver can't do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from math import ceil
from urllib.parse import quote, urlencode

from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy.database_url import DRIVERS, DatabaseUrl, Host

DEFAULT_PORT = 5432  # where one of several hosts has none: asyncpg wants all or none

_LIBPQS_WORDS = {"ssl": "sslmode", "timeout": "connect_timeout"}
_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# asyncpg's arguments that a URL can only give as text.
_ASYNCPG_NUMBERS: dict[str, Callable[[str], float]] = {
    "command_timeout": float,
    "max_cacheable_statement_size": int,
    "max_cached_statement_lifetime": int,
    "prepared_statement_cache_size": int,  # SQLAlchemy's own, which it also reads in a URL
    "statement_cache_size": int,
}
_ASYNCPG_ONLY = frozenset({*_ASYNCPG_NUMBERS, "async_fallback", "direct_tls"})
_ASYNCPG_DSN = frozenset(
    {
        "application_name",
        "options",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
    }
)
# What a URL may well hold that others share; anything else that it doesn't know it names itself.
_NOT_ASYNCPG = frozenset(
    {
        "channel_binding",
        "client_encoding",
        "gssencmode",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "require_auth",
        "tcp_user_timeout",
    }
)


def choose_driver(asked: str | None, url: DatabaseUrl) -> str:
    """The one asked for, or the URL's own, or psycopg; psycopg2 where that alone is installed.

    Never SQLAlchemy's choice for postgresql://, which is psycopg2 in 2.0 and psycopg in 2.1.
    """
    check_driver(asked)
    installed = "psycopg" if find_spec("psycopg") or not find_spec("psycopg2") else "psycopg2"
    return asked or url.driver or installed


def check_driver(asked: str | None) -> None:
    """Raises: SettingError for a driver that isn't known here."""
    if asked is not None and asked not in DRIVERS:
        raise SettingError(f"driver={asked!r}: {', '.join(DRIVERS)} are accepted")


def render_url(url: DatabaseUrl, driver: str) -> str:
    """SQLAlchemy's URL for the driver, with its password. Raises: SettingError.

    Not by SQLAlchemy's own URL: each minor version quotes other parts of it than the last.
    """
    pairs = _asyncpg_query(url) if driver == "asyncpg" else _libpq_query(url)
    place, others = _split_hosts(url.hosts)
    database = url.database or ""
    if quote(database) != database:  # in its place 2.1 decodes it and 2.0 doesn't
        others.append(("database" if driver == "asyncpg" else "dbname", database))
        database = ""
    userinfo = quote(url.user or "", safe="")
    if url.password is not None:
        userinfo += f":{quote(url.password, safe='')}"
    return "".join(
        (
            f"postgresql+{driver}://",
            f"{userinfo}@" if userinfo else "",
            f"[{place.name}]" if ":" in place.name else place.name,
            f":{place.port}" if place.port else "",
            f"/{database}" if database else "",
            f"?{urlencode([*others, *pairs])}" if others or pairs else "",
        )
    )


def connect_timeout_of(url: DatabaseUrl) -> int | None:
    """The URL's own, in either driver's word, in seconds. Raises: SettingError."""
    text = url.parameter("connect_timeout") or url.parameter("timeout")
    # up: half a second isn't 0, which is without end
    return None if text is None else ceil(_number(url, "connect_timeout", text, float))


def asyncpg_numbers(url: DatabaseUrl) -> dict[str, float]:
    """Those of asyncpg's arguments that the URL gives as text. Raises: SettingError."""
    given = {name: url.parameter(name) for name in _ASYNCPG_NUMBERS}
    return {
        name: _number(url, name, text, _ASYNCPG_NUMBERS[name])
        for name, text in given.items()
        if text is not None
    }


def _split_hosts(hosts: tuple[Host, ...]) -> tuple[Host, list[tuple[str, str]]]:
    """What stands in the URL's place for a host, and what must stand in the query."""
    if not hosts:
        return Host(""), []
    if len(hosts) == 1 and not hosts[0].is_socket:
        return hosts[0], []
    pairs = [("host", ",".join(host.name for host in hosts))]
    if len(hosts) > 1 or hosts[0].port is not None:
        pairs.append(("port", ",".join(str(host.port or DEFAULT_PORT) for host in hosts)))
    return Host(""), pairs


def _libpq_query(url: DatabaseUrl) -> list[tuple[str, str]]:
    return [pair for pair in _in_libpqs_words(url) if pair[0] not in _ASYNCPG_ONLY]


def _asyncpg_query(url: DatabaseUrl) -> list[tuple[str, str]]:
    pairs = _in_libpqs_words(url)
    refused = sorted({name for name, _ in pairs} & _NOT_ASYNCPG)
    if refused:
        raise SettingError(
            f"{url.source}: asyncpg has no {', '.join(refused)}: take it out, or use psycopg"
        )
    dsn = [pair for pair in pairs if pair[0] in _ASYNCPG_DSN]
    away = {*_ASYNCPG_DSN, *_ASYNCPG_NUMBERS, "connect_timeout"} - {"prepared_statement_cache_size"}
    kept = [("ssl" if k == "sslmode" else k, v) for k, v in pairs if k not in away]
    if dsn:
        kept.append(("dsn", f"postgresql://?{urlencode(dsn, quote_via=quote)}"))
    return kept


def _in_libpqs_words(url: DatabaseUrl) -> list[tuple[str, str]]:
    pairs = [(_LIBPQS_WORDS.get(name, name), value) for name, value in url.query]
    for name, value in pairs:
        if name == "sslmode" and value not in _SSLMODES:
            raise SettingError(f"{url.source}: sslmode is one of {', '.join(_SSLMODES)}")
        if name == "prepare_threshold":  # as text it is psycopg's TypeError at the first query
            raise SettingError(f"{url.source}: prepare_threshold is DB_PREPARE_THRESHOLD's to say")
    return pairs


def _number(url: DatabaseUrl, name: str, text: str, read: Callable[[str], float]) -> float:
    try:
        number = read(text)
    except ValueError:
        number = -1
    if not 0 <= number < 2**31:  # also NaN
        raise SettingError(f"{url.source}: {name} is a number from 0, without a unit")
    return number
