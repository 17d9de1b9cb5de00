"""The files that say who may log in: auth_file, and for auth_type = hba the HBA and the ident file.

What is wrong with them is among the configuration's warnings, and where it keeps out users who
should get in, among its `access_problems`: PgBouncer starts with such files.
Source: PgBouncer's src/main.c load_config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pgmux.config.hba import IdentMap
from pgmux.config.hba_file import HbaFile
from pgmux.config.hba_rules import HbaRules
from pgmux.config.ident_file import parse_ident
from pgmux.config.model import AuthType, Config
from pgmux.config.problems import Read, clip, read_file
from pgmux.config.tls import client_side
from pgmux.config.userlist import parse_userlist
from pgmux.errors import ConfigError, Problem

_SETTINGS = ("auth_type", "auth_hba_file", "auth_ident_file")
_AUTH_TYPES_WITHOUT_FILE = (AuthType.ANY, AuthType.PAM)


def with_access(config: Config, read: Read) -> Config:
    """The configuration, with what these files say."""
    if config.settings.auth_type not in _AUTH_TYPES_WITHOUT_FILE:
        config = _with_userlist(config, read)
    if config.settings.auth_type is AuthType.HBA:
        config, maps = _with_ident(config, read)
        config = _with_hba(config, maps, read)
    return config


def with_access_after_set(old: Config, new: Config, read: Read) -> Config:
    """What SET makes of the configuration, `new`, with the files that the settings ask for now.

    auth_file is read only where it wasn't yet: RELOAD is to see what has changed in it. The
    warnings are those of these files alone. Raises: ConfigError where one can't be read.
    """
    if all(getattr(old.settings, name) == getattr(new.settings, name) for name in _SETTINGS):
        return replace(new, warnings=())
    found = with_access(replace(new, hba=HbaRules(), warnings=(), access_problems=()), read)
    if found.access_problems:
        raise ConfigError(found.access_problems)
    is_read = old.settings.auth_type not in _AUTH_TYPES_WITHOUT_FILE
    userlist = old.userlist if is_read else found.userlist
    return replace(found, userlist=userlist, files=old.files, access_problems=old.access_problems)


def _with_userlist(config: Config, read: Read) -> Config:
    path = config.settings.auth_file
    if path is None:
        return config
    text = read_file(path, read)
    if isinstance(text, OSError):
        return _unread(config, "auth_file", path, text, "")
    userlist, problems = parse_userlist(text, path)
    return replace(_with_problems(_with_files(config, path), problems, problems), userlist=userlist)


def _with_ident(config: Config, read: Read) -> tuple[Config, Mapping[str, IdentMap]]:
    path = config.settings.auth_ident_file
    if path is None:
        return config, {}
    text = read_file(path, read)
    if isinstance(text, OSError):
        hint = "lines of the HBA file with map= don't count"
        return _unread(config, "ident config file", path, text, hint), {}
    maps, problems = parse_ident(text, path)
    return _with_problems(_with_files(config, path), problems), maps


def _with_hba(config: Config, maps: Mapping[str, IdentMap], read: Read) -> Config:
    path = config.settings.auth_hba_file
    text = read_file(path, read)
    if isinstance(text, OSError):
        hint = "nobody gets in without it" if path else "set auth_hba_file"
        return _unread(config, "hba config file", path, text, hint)
    file = HbaFile(path, read, maps, client_side(config.settings).looks_at_certificates)
    file.load(text)
    if not file.rules:
        message = "no line of the hba config file counts: nobody can log in"
        file.problems.append(Problem(message, path, is_grave=True))
    config = _with_files(config, path, *file.files)
    return replace(_with_problems(config, tuple(file.problems)), hba=HbaRules(file.rules))


def _unread(config: Config, what: str, path: str, error: OSError, hint: str) -> Config:
    reason = error.strerror or str(error)
    message = f"could not open {what} {clip(path)}: {reason}"
    problem = Problem(message, path, hint=hint, is_grave=True)
    return _with_problems(config, (problem,), (problem,))


def _with_problems(
    config: Config, problems: tuple[Problem, ...], keeping_out: tuple[Problem, ...] = ()
) -> Config:
    return replace(
        config,
        warnings=(*config.warnings, *problems),
        access_problems=(*config.access_problems, *keeping_out),
    )


def _with_files(config: Config, *paths: str) -> Config:
    return replace(config, files=(*config.files, *paths))
