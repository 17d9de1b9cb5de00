"""`--check`: everything that is wrong with a configuration, at once, without running it.

Reads the files as a start does, then looks at what a start would meet only later: names that don't
resolve, a user to become that isn't there, directories that aren't, users who could never log in.
Prints one line each on stderr and a summary on stdout; exit code 1 where there is a problem,
warnings alone are 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.config import Config
from pgmux.config.model import AuthType, Database, Settings
from pgmux.daemon.command_line import Options
from pgmux.daemon.configuration import describe, read_configuration
from pgmux.daemon.web_command import missing_libraries
from pgmux.errors import ConfigError, Problem
from pgmux.net.dns import look_up
from pgmux.net.hosts import is_name
from pgmux.net.listener import ListenError, check_port, find_group
from pgmux.net.resolver import LookupFailed
from pgmux.net.tls_context import load_tls

_LOOKUPS_AT_ONCE = 32
_LOOKUP_TIMEOUT = 15.0  # seconds


def check(options: Options) -> int:
    """Print what is wrong with the files that `options` name; return the exit code."""
    try:
        config = read_configuration(options)
    except ConfigError as error:
        problems, warnings = list(error.problems), []
    else:
        grave = [each for each in config.warnings if each.is_grave]
        problems = [*grave, *find_problems(config, options.user)]
        warnings = [each for each in config.warnings if not each.is_grave]
        warnings += find_warnings(config)
    for warning in warnings:
        print(f"WARNING {describe(warning)}", file=sys.stderr)
    for problem in problems:
        print(f"ERROR {describe(problem)}", file=sys.stderr)
    counts = f"{_count(len(problems), 'problem')}, {_count(len(warnings), 'warning')}"
    print(f"{options.config_file}: {counts if problems or warnings else 'configuration is good'}")
    return 1 if problems else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def find_problems(config: Config, user: str | None) -> Iterator[Problem]:
    """What the files can't say about themselves: it takes this machine. `user` is that of -u."""
    settings = config.settings
    file = settings.conffile or ""
    for name, directory in _directories(config.settings):
        if not os.path.isdir(directory):
            yield Problem(f"{name}: there is no directory {directory}", file, hint="make it")
    if settings.resolv_conf and not os.path.isfile(settings.resolv_conf):
        yield Problem(f"resolv_conf: there is no file {settings.resolv_conf}", file)
    looks: list[Callable[[], object]] = [partial(check_port, settings.listen_port)]
    if settings.unix_socket_group:
        looks.append(partial(find_group, settings.unix_socket_group))
    for look in looks:
        try:
            look()
        except ListenError as error:
            yield Problem(str(error), file)
    user = settings.user if user is None else user
    if user and not _is_user(user):
        yield Problem(f"could not find user '{user}' to switch to", file, hint="see -u and user")
    yield from _unresolved(config, file)
    try:
        load_tls(settings)
    except ConfigError as error:
        yield from error.problems


def find_warnings(config: Config) -> Iterator[Problem]:
    """Users whose logins are bound to fail: what is seen else when somebody tries."""
    settings, known = config.settings, config.userlist
    file = settings.conffile or ""
    is_looked_up = settings.auth_user and settings.auth_dbname
    may_be_unknown = (
        settings.auth_type in (AuthType.ANY, AuthType.LDAP, AuthType.PAM, AuthType.HBA)
        or is_looked_up
        or not settings.admin_users
    )
    if not may_be_unknown and not any(name in known for name in settings.admin_users):
        message = "admin_users: none of them is in auth_file, so none can log in to the console"
        yield Problem(message, file, hint="user pgbouncer can, over the Unix socket")
    for name in dict.fromkeys([settings.auth_user, *(db.auth_user for db in _entries(config))]):
        if name and parse_secret(known.get(name, "")).kind is SecretKind.SCRAM:
            message = f"auth_user: the secret of {name} in auth_file is a SCRAM secret:"
            message += " nobody can be looked up before that user has logged in as a client"
            yield Problem(message, file, hint="write the password, if PostgreSQL asks for one")
    yield from _useless_outside(config, file)
    yield from _useless_web(config)
    with contextlib.suppress(ConfigError):
        yield from load_tls(settings).warnings


def _useless_outside(config: Config, file: str) -> Iterator[Problem]:
    """What keeps LDAP or PAM from being asked."""
    settings = config.settings
    if settings.auth_type is AuthType.LDAP and settings.auth_ldap_options is None:
        message = "auth_type = ldap without auth_ldap_options: nobody can log in"
        yield Problem(message, file, hint="write which server is to be asked")
    if settings.auth_type in (AuthType.LDAP, AuthType.PAM):
        for database in _entries(config):
            if database.auth_user is not None:
                message = f"database {database.name}: nobody can log in, as it has auth_user"
                yield Problem(message, file, hint=f"leave it out with {settings.auth_type}")


def _useless_web(config: Config) -> Iterator[Problem]:
    """What keeps the web process from running, or from taking commands."""
    pgmux = config.pgmux
    missing = missing_libraries() if pgmux.http_listen else []
    if missing:
        message = f"http_listen needs {' and '.join(missing)}, which can't be found"
        yield Problem(message, hint="pip install 'pgmux[web]'")
    if pgmux.http_token_file and not os.path.isfile(pgmux.http_token_file):
        yield Problem(f"http_token_file: there is no file {pgmux.http_token_file}")


def _entries(config: Config) -> list[Database]:
    return [*config.databases.values(), *([config.autodb] if config.autodb else [])]


def _directories(settings: Settings) -> Iterator[tuple[str, str]]:
    """(setting, directory that it needs)."""
    for name, path in (("logfile", settings.logfile), ("pidfile", settings.pidfile)):
        if path:
            yield name, os.path.dirname(os.path.abspath(path))
    if settings.unix_socket_dir and not settings.unix_socket_dir.startswith("@"):
        yield "unix_socket_dir", settings.unix_socket_dir


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _unresolved(config: Config, file: str) -> Iterator[Problem]:
    """A problem for each name of a host that has no address, in the file's order."""
    uses = dict.fromkeys(_hosts(config))
    errors = asyncio.run(_resolve_all({h for _, h in uses if is_name(h)}, config.settings))
    for place, host in uses:
        if host in errors:
            yield Problem(f"{place}: cannot resolve {host!r}: {errors[host]}", file)


def _hosts(config: Config) -> Iterator[tuple[str, str]]:
    """(where it is said, host) for every host that isn't a socket's directory."""
    for address in config.settings.listen_addr:
        if address != "*":
            yield "listen_addr", address
    places = [(f"database {db.name}", host) for db in _entries(config) for host in db.hosts]
    places += [(f"peer {peer.id}", host) for peer in config.peers.values() for host in peer.hosts]
    for place, host in places:
        if host and host[0] not in "/@":
            yield place, host


async def _resolve_all(hosts: Iterable[str], settings: Settings) -> dict[str, str]:
    """What a running pooler's resolver complains about, by host."""
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
    errors: dict[str, str] = {}

    async def resolve(host: str) -> None:
        try:
            async with slots:
                await look_up(loop, host, settings.resolv_conf, _LOOKUP_TIMEOUT)
        except LookupFailed as error:
            errors[host] = error.reason

    await asyncio.gather(*map(resolve, hosts))
    return errors
