"""What a configuration asks for that isn't part of every installation: python-ldap, and pamela.

They are imported when the configuration is read, not when somebody logs in: it is said at once that
one is missing, and by then this process may be a user who can't read Python's library.

Errors: `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from pgmux.config import AuthType, Config
from pgmux.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Extra:
    """`module` is ours, and imports what the extra `name` installs."""

    name: str
    library: str
    module: str


LDAP = Extra("ldap", "python-ldap", "pgmux.net.ldap_login")
PAM = Extra("pam", "pamela", "pgmux.net.pam_login")
EXTRAS = (LDAP, PAM)


def require_extras(config: Config) -> None:
    """Import what the configuration needs. Raises: ConfigError with what to install."""
    found = tuple(_find_missing(config))
    if found:
        raise ConfigError(found)


def _find_missing(config: Config) -> Iterator[Problem]:
    for wanted_by, extra in _wanted(config):
        try:
            import_module(extra.module)
        except (ImportError, OSError, AttributeError) as error:  # ctypes has the last two
            message = f"{wanted_by} needs {extra.library}, which can't be imported: {error}"
            hint = f"pip install 'pgmux[{extra.name}]'"
            yield Problem(message, config.settings.conffile or "", hint=hint)


def _wanted(config: Config) -> Iterator[tuple[str, Extra]]:
    """(who wants it, what)"""
    if config.settings.auth_type is AuthType.LDAP:
        yield "auth_type = ldap", LDAP
    if config.settings.auth_type is AuthType.PAM:
        yield "auth_type = pam", PAM
