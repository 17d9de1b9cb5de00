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
from pgmux.config.hba import HbaMethod
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
    for extra, wanted_by, file, line in _wanted(config):
        try:
            import_module(extra.module)
        except (ImportError, OSError, AttributeError) as error:  # ctypes has the last two
            message = f"{wanted_by} needs {extra.library}, which can't be imported: {error}"
            yield Problem(message, file, line, hint=f"pip install 'pgmux[{extra.name}]'")


def _wanted(config: Config) -> Iterator[tuple[Extra, str, str, int]]:
    """(what, who wants it, where that is said: file and line)"""
    settings = config.settings
    file = settings.conffile or ""
    if settings.auth_type is AuthType.LDAP:
        yield LDAP, "auth_type = ldap", file, 0
    if settings.auth_type is AuthType.PAM:
        yield PAM, "auth_type = pam", file, 0
    if settings.auth_type is AuthType.HBA:
        for rule in [rule for rule in config.hba if rule.method is HbaMethod.LDAP][:1]:
            yield LDAP, "method ldap", rule.file, rule.line
