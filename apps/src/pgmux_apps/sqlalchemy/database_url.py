"""A database's URL, read once for all drivers: libpq's URIs and SQLAlchemy's URLs, both.

    postgresql[+driver]://[user[:password]@][host[:port][,host[:port]]…][/database][?name=value&…]

As in libpq several hosts may be given, a Unix socket's directory is a host (`%2Frun%2Fpostgresql`),
and user, password, host, port and dbname may stand in the query, where they count. As in SQLAlchemy
a password may hold any character but `@` as it is, and the driver follows a `+`.

Errors: `SettingError`, which names the variable and shows nothing of its value. Where the password
ends is a guess in a URL that can't be read, so any part may be a piece of it; for the same reason
no error here is raised while another is handled, whose text would hang on to it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

from pgmux_apps.environment import SettingError

FORM = "postgresql://user:password@host:port/database"
DRIVERS = ("psycopg", "psycopg_async", "psycopg2", "asyncpg")

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+(?P<driver>\w+))?://", re.IGNORECASE)
# A name, the directory of a Unix socket, a socket without a file, or the driver's own choice.
_NAME = re.compile(r"[\w.-]*|[/@].*")
_HOSTS = re.compile(r"(\[[^\]]*\]|[^:,\[]*)(:[0-9]*)?(,(\[[^\]]*\]|[^:,\[]*)(:[0-9]*)?)*")
_PORT = re.compile(r"[0-9]{1,5}")
# A Service named postgres has Kubernetes set POSTGRES_PORT=tcp://10.0.0.7:5432 in every container.
_SERVICE = re.compile(r"tcp://[^/]+:(?P<port>[0-9]{1,5})")

_ENCODED = "In a URL's password @ : / ? # % are written %40 %3A %2F %3F %23 %25."
# Parts of a URL that libpq takes from the query as well; asyncpg says database.
_PARTS = {"user": "user", "password": "password", "dbname": "database", "database": "database"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Host:
    """A name, an address, or the directory of a Unix socket; no port is the driver's own."""

    name: str
    port: int | None = None

    @property
    def is_socket(self) -> bool:
        """Also `@name`, a socket without a file."""
        return self.name.startswith(("/", "@"))


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """What a URL says; `source` is the variable that it is from. The repr holds no secret."""

    source: str
    driver: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    hosts: tuple[Host, ...] = ()
    database: str | None = None
    # In their order, a name may be there twice; sslpassword may be among them.
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def parameter(self, name: str) -> str | None:
        """The query's value of that name, the last where there are several."""
        return dict(self.query).get(name)


def parse_url(source: str, text: str) -> DatabaseUrl:
    """What the text says. Raises: SettingError."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise SettingError(f"{source} is not a URL of PostgreSQL: {FORM} is accepted")
    driver = scheme["driver"]
    if driver is not None and driver.lower() not in DRIVERS:
        raise SettingError(
            f"{source} asks for a driver that isn't known here: postgresql://, or postgresql+ "
            f"with {', '.join(DRIVERS)} is accepted"
        )
    userinfo, rest = _split_userinfo(text[scheme.end() :])
    place, _, query = rest.partition("?")
    hosts, slash, database = place.partition("/")
    if "@" in database:  # the password's, and what stands for the host is a piece of it
        raise SettingError(f"{source}: an @ in a database's name is written %40. {_ENCODED}")
    user, colon, password = userinfo.partition(":")
    url = DatabaseUrl(
        source=source,
        driver=driver.lower() if driver else None,
        user=_decode(source, user) or None,
        password=_decode(source, password) if colon else None,
        hosts=parse_hosts(source, hosts, is_encoded=True),
        database=_decode(source, database) if slash and database else None,
    )
    return _with_query(url, _pairs(source, query))


def parse_hosts(source: str, text: str, *, is_encoded: bool = False) -> tuple[Host, ...]:
    """Hosts with or without their ports, behind commas. Raises: SettingError."""
    tokens = text.split(",") if text else []
    if is_encoded:
        tokens = [_decode(source, token) for token in tokens]
    return tuple(_host(source, token.strip()) for token in tokens)


def parse_ports(source: str, text: str) -> tuple[int, ...]:
    """Ports behind commas, or what Kubernetes says of a Service. Raises: SettingError."""
    service = _SERVICE.fullmatch(text)
    tokens = [service["port"]] if service else text.split(",")
    return tuple(_port(source, token.strip()) for token in tokens)


def is_of_kubernetes(port: str) -> bool:
    """Whether Kubernetes made the value, of a Service that happens to have such a name."""
    return _SERVICE.fullmatch(port) is not None


def with_ports(source: str, hosts: tuple[Host, ...], ports: tuple[int, ...]) -> tuple[Host, ...]:
    """The hosts at these ports: one for all, or one for each. Raises: SettingError."""
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise SettingError(
            f"{source}: one port for all hosts is accepted, or as many as there are hosts "
            f"(here {len(ports)} for {len(hosts)})"
        )
    return tuple(Host(host.name, port) for host, port in zip(hosts, ports, strict=True))


def check_text(source: str, text: str | None) -> str:
    """The text, which can be sent to a server; None can't. Raises: SettingError."""
    # Python reads bytes of the environment that aren't UTF-8 as lone surrogates
    if text is None or "\0" in text or re.search("[\ud800-\udfff]", text):
        raise SettingError(f"{source}: UTF-8 text without NUL is accepted")
    return text


def _split_userinfo(text: str) -> tuple[str, str]:
    """`user:password`, and what follows its `@`.

    A password may hold `/` and `?` as they are, which libpq refuses and SQLAlchemy takes; and a
    query may hold an `@` where there is no user at all.
    """
    authority = re.split("[/?]", text, maxsplit=1)[0]
    if "@" in authority:
        userinfo, _, _ = authority.rpartition("@")
        return userinfo, text[len(userinfo) + 1 :]
    before_query = text.partition("?")[0]
    if "@" in before_query or ("@" in text and not _HOSTS.fullmatch(authority)):
        userinfo, _, rest = text.partition("@")
        return userinfo, rest
    return "", text


def _pairs(source: str, query: str) -> list[tuple[str, str]]:
    if any(each and "=" not in each for each in query.split("&")):
        raise SettingError(
            f"{source}: name=value&name=value is accepted behind the question mark. {_ENCODED}"
        )
    check_text(source, query)
    pairs = _strictly(lambda: parse_qsl(query, errors="strict"))
    if pairs is None:
        raise SettingError(f"{source}: UTF-8 text is accepted, also percent-encoded")
    return [(check_text(source, name), check_text(source, value)) for name, value in pairs]


def _with_query(url: DatabaseUrl, pairs: list[tuple[str, str]]) -> DatabaseUrl:
    """The URL with what the query says of its parts, and the query without that."""
    parts = {_PARTS[name]: value for name, value in pairs if name in _PARTS}
    hosts = [value for name, value in pairs if name == "host"]
    ports = [value for name, value in pairs if name == "port"]
    rest = [each for each in pairs if each[0] not in (*_PARTS, "host", "port")]
    found = parse_hosts(url.source, ",".join(hosts)) if hosts else url.hosts
    if ports:
        found = found or (Host(""),)
        found = with_ports(url.source, found, parse_ports(url.source, ",".join(ports)))
    return replace(url, **parts, hosts=found, query=tuple(rest))


def _host(source: str, text: str) -> Host:
    """`name:port`, `[address]:port`, or either alone."""
    bracketed = re.fullmatch(r"\[(.*)\](?::(.*))?", text)
    if bracketed is not None:
        name, port = bracketed[1], bracketed[2]
        is_host = _is_ipv6(name)
    elif _is_ipv6(text):
        name, port = text, ""
        is_host = True
    else:
        name, _, port = text.partition(":")
        is_host = _NAME.fullmatch(name) is not None
    if not is_host:
        raise SettingError(
            f"{source}: a host's name, its address (IPv6 as [::1]) or the directory of a Unix "
            f"socket is accepted. {_ENCODED}"
        )
    return Host(name, _port(source, port) if port else None)


def _port(source: str, text: str) -> int:
    number = int(text) if _PORT.fullmatch(text) else 0
    if not 1 <= number <= 65535:
        raise SettingError(f"{source}: a port is an integer from 1 to 65535. {_ENCODED}")
    return number


def _is_ipv6(text: str) -> bool:
    return _strictly(lambda: ipaddress.IPv6Address(text)) is not None


def _decode(source: str, text: str) -> str:
    """Percent-encoded text; a `%` before no two hexadecimal digits is itself, as in SQLAlchemy."""
    check_text(source, text)
    return check_text(source, _strictly(lambda: unquote(text, errors="strict")))


def _strictly(read: Callable[[], T]) -> T | None:
    """What `read` returns; None instead of a ValueError, which would hold what it couldn't read."""
    try:
        return read()
    except ValueError:
        return None
