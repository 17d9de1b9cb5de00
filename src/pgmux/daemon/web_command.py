"""How the web process is started: its command, its environment, and the libraries that it needs.

Errors: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.machinery import PathFinder

from pgmux.config import Config
from pgmux.config.model import ADMIN_DATABASE, Settings

WEB = ("-P", "-m", "pgmux", "web")  # -P: nothing is imported from the working directory

_LIBRARIES = {"aiohttp": "aiohttp", "prometheus_client": "prometheus-client"}
# What Python, the loader and the clock go by; all else of our environment may be a secret.
_PASSED = ("HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "PGMUX_PURE")
_PASSED_PREFIXES = ("LC_", "PYTHON")
_ANY = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def missing_libraries() -> list[str]:
    """The packages of the extra `web` that aren't installed."""
    return [name for module, name in _LIBRARIES.items() if PathFinder.find_spec(module) is None]


def web_arguments(config: Config, *, has_own_sockets: bool) -> tuple[str, ...]:
    """What follows the command, but for the console's descriptor; nothing where http_listen is
    empty. `has_own_sockets`: they aren't those of a service manager.
    """
    pgmux = config.pgmux
    if not pgmux.http_listen:
        return ()
    arguments = ["--listen", pgmux.http_listen]
    for name in pgmux.http_allowed_hosts:
        arguments += ["--allowed-host", name]
    if pgmux.http_token_file:
        arguments.append("--token-from-pooler")
    conninfo = admin_conninfo(config.settings) if has_own_sockets else ""
    if conninfo:
        arguments += ["--admin-console", conninfo]
    return tuple(arguments)


def admin_conninfo(settings: Settings) -> str:
    """Where the web process tries a console user's password; "" where nobody listens.

    The browser's user isn't this account, nor on this host: who would come in without a password
    because of peer or trust doesn't come in here (`require_auth`).
    """
    host = settings.unix_socket_dir
    if settings.listen_addr:
        host = _ANY.get(settings.listen_addr[0], settings.listen_addr[0])
    if not host:
        return ""
    values = {
        "host": host,
        "port": str(settings.listen_port),
        "dbname": ADMIN_DATABASE,
        "require_auth": "password,md5,scram-sha-256",
    }
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(value: str) -> str:
    """As libpq reads it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def web_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of our environment it gets."""
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
