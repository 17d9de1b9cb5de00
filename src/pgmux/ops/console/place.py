"""Where the console is, and as whom to log in: command line, environment and pgbouncer.ini become
a libpq connection string.

What the command line names comes first, then libpq's environment, then a pgbouncer.ini of this
machine, then where a pooler listens by default. A host that is named elsewhere makes pgbouncer.ini
irrelevant. The user is what lets one in: over a Unix socket whose pooler runs as ourselves that is
`pgbouncer`, without a password; else one of admin_users. libpq tries several hosts in turn.
Errors: `PlaceError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os.path import abspath

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgmux.config.ini import read_ini
from pgmux.config.keys import parse_setting
from pgmux.config.load import SECTIONS
from pgmux.config.model import ADMIN_DATABASE, Settings
from pgmux.config.params import SETTINGS
from pgmux.config.problems import Problems, Read
from pgmux.errors import ConfigError

CONFIG_FILES = ("pgbouncer.ini", "/etc/pgbouncer/pgbouncer.ini")
# Not only PgBouncer's own default: Debian's directory, where nobody but its owner makes sockets,
# comes before the one where everybody may.
SOCKET_DIRS = ("/var/run/postgresql", "/tmp")
ADMIN_USER = "pgbouncer"
CONNECT_TIMEOUT = 10  # seconds
_WANTED = ("admin_users", "listen_addr", "listen_port", "stats_users", "unix_socket_dir")
_HOST_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE")
_ANY_ADDRESS = {"*": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}

FindOwner = Callable[[str], int | None]


class PlaceError(Exception):
    """The command line or the file that it names doesn't say where to connect."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says; None where it says nothing."""

    url: str | None = None
    host: str | None = None
    port: str | None = None
    user: str | None = None
    config: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is besides: the environment, how to read a file, and who we are.

    `find_owner` answers the uid of a path, None where there is no such path.
    """

    environ: Mapping[str, str]
    read: Read
    find_owner: FindOwner
    uid: int
    user: str


@dataclass(frozen=True, slots=True)
class Place:
    """libpq's connection parameters, and where host and port have been taken from."""

    parameters: Mapping[str, str] = field(repr=False)  # may have a password
    source: str

    @property
    def conninfo(self) -> str:
        return make_conninfo("", **self.parameters)

    def with_password(self, password: str) -> Place:
        """The same, to be logged in to with that."""
        return Place({**self.parameters, "password": password}, self.source)


def find_place(asked: Asked, machine: Machine) -> Place:
    """Where to connect. Raises: PlaceError."""
    parameters = _parse_url(asked.url)
    named = {"host": asked.host, "port": asked.port, "user": asked.user}
    parameters |= {name: value for name, value in named.items() if value}
    parameters.setdefault("dbname", ADMIN_DATABASE)
    if not machine.environ.get("PGCONNECT_TIMEOUT"):
        parameters.setdefault("connect_timeout", str(CONNECT_TIMEOUT))
    settings = None
    if parameters.keys() & {"host", "hostaddr", "service"}:
        source = "the command line"
    elif not asked.config and any(machine.environ.get(name) for name in _HOST_VARIABLES):
        source = "the environment"
    else:
        source, settings = _find_settings(asked.config, machine.read)
        parameters["host"] = ",".join(_hosts(source, settings))
    _complete(parameters, settings, machine, is_port_ours=bool(asked.config))
    _check_text(parameters)
    return Place(parameters, source)


def _check_text(parameters: Mapping[str, str]) -> None:
    for name, value in parameters.items():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise PlaceError(f"{name} is not UTF-8") from error


def _complete(
    parameters: dict[str, str], settings: Settings | None, machine: Machine, *, is_port_ours: bool
) -> None:
    """Adds port and user where nobody has named them."""
    if "service" in parameters or machine.environ.get("PGSERVICE"):
        return
    port = "" if is_port_ours else machine.environ.get("PGPORT", "")
    parameters.setdefault("port", port or str((settings or Settings()).listen_port))
    if "user" not in parameters and not machine.environ.get("PGUSER"):
        hosts = parameters.get("host") or machine.environ.get("PGHOST", "")
        user = _find_user(hosts.split(","), parameters["port"], settings, machine)
        if user:
            parameters["user"] = user


def _parse_url(url: str | None) -> dict[str, str]:
    """The parameters of a URL or of key=value pairs; as with psql, a mere name is a database."""
    if not url:
        return {}
    if "=" not in url and "://" not in url:
        return {"dbname": url}
    try:
        found = conninfo_to_dict(url)
    except (ProgrammingError, UnicodeError) as error:
        # libpq quotes what it doesn't understand, which may be a piece of a password.
        raise PlaceError(
            "--url is not a connection string: write postgresql://USER@HOST:PORT/pgbouncer"
            " (in USER and a password, % before : / @ % as %3A %2F %40 %25),"
            " or host=HOST port=PORT user=USER"
        ) from error
    return {name: str(value) for name, value in found.items() if value is not None}


def _find_settings(config: str | None, read: Read) -> tuple[str, Settings | None]:
    """The pgbouncer.ini that is named, or that is found; its name."""
    for path in (config,) if config else CONFIG_FILES:
        settings = _read_settings(path, read)
        if settings is not None:
            return path, settings
    if config:
        raise PlaceError(f"cannot read {config}: name another pgbouncer.ini, or a host")
    return "where poolers listen by default", None


def _read_settings(path: str, read: Read) -> Settings | None:
    """What the file says of the settings that matter here; None where it can't be read.

    Other settings aren't looked at: a file that this version doesn't know all of is good enough.
    """
    problems = Problems()
    try:
        entries, files = read_ini(path, read, SECTIONS, problems)
    except ConfigError:
        return None
    values = {}
    for entry in entries:
        if entry.section == "pgbouncer" and entry.key in _WANTED:
            found = parse_setting(entry, SETTINGS, problems)
            if found is not None:
                values[entry.key] = found[1]
    return Settings(**values) if files else None


def _hosts(source: str, settings: Settings | None) -> list[str]:
    """The pooler's Unix socket, then one TCP address."""
    if settings is None:
        return [*SOCKET_DIRS, "localhost"]
    directory = settings.unix_socket_dir
    if directory and not directory.startswith("@"):
        directory = abspath(directory)
    address = next(iter(settings.listen_addr), "")
    hosts = [host for host in (directory, _ANY_ADDRESS.get(address, address)) if host]
    if not hosts:
        raise PlaceError(f"{source} has neither unix_socket_dir nor listen_addr: name a host by -h")
    return hosts


def _find_user(
    hosts: list[str], port: str, settings: Settings | None, machine: Machine
) -> str | None:
    """Who may log in, as far as can be told from here; None is libpq's default."""
    owners = (machine.find_owner(socket_path(host, port)) for host in hosts)
    if next((owner for owner in owners if owner is not None), None) == machine.uid:
        return ADMIN_USER
    if settings is None:
        return None
    users = settings.admin_users or settings.stats_users
    return machine.user if machine.user in users else next(iter(users), ADMIN_USER)


def socket_path(directory: str, port: str) -> str:
    """The Unix socket that libpq opens in a directory."""
    return f"{directory}/.s.PGSQL.{port}"
