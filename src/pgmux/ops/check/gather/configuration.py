"""The configuration, as `pgmux run` and PgBouncer would read it."""

from __future__ import annotations

import errno
import os

from pgmux.config import load_config
from pgmux.config.model import Config
from pgmux.config.problems import Read
from pgmux.errors import ConfigError, Problem
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts.environment import EnvironmentFacts, Role
from pgmux.ops.files import read_text

_READ_AS = "run as whom may read it"


def gather(config_file: str, environment: EnvironmentFacts | None = None) -> Config | Unread:
    """What the ini file says, with pgmux.ini beside it. Where a container is given it, the files
    that it names are the container's; where there is none, it is what a container makes of its
    variables.
    """
    if environment is not None and environment.made is not None and not _is_there(config_file):
        return environment.made
    beside = os.path.join(os.path.dirname(config_file), "pgmux.ini")
    pgmux_file = os.environ.get("PGMUX_CONFIG") or (beside if os.path.exists(beside) else None)
    try:
        return load_config(config_file, reader(config_file, environment), pgmux_file)
    except ConfigError as error:
        first = str(error.problems[0])
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        is_read = os.access(config_file, os.R_OK)
        check_all = f"pgmux run --check {config_file} says all of it"
        return Unread("config", f"{first}{more}", check_all if is_read else _advice(config_file))


def _advice(config_file: str) -> str:
    return _READ_AS if _is_there(config_file) else "name the one that there is: pgmux check FILE"


def problems_of_access(config: Config) -> list[Problem]:
    """What is wrong with auth_file, the HBA or the ident file, but for those not read from here."""
    settings = config.settings
    files = {settings.auth_file, settings.auth_hba_file, settings.auth_ident_file}
    named = [each for each in config.warnings if each.file and each.file in files]
    return [each for each in named if not _is_unread(each)]


def unread_of(config: Config) -> list[Unread]:
    """Those of these files that are there and that we may not read, or that are in a container."""
    denied = os.strerror(errno.EACCES)
    return [
        Unread("config", each.message, _READ_AS if each.message.endswith(denied) else "")
        for each in config.access_problems
        if _is_unread(each)
    ]


def _is_unread(problem: Problem) -> bool:
    """Of a file that doesn't exist the pooler says the same as we do."""
    is_missing = problem.message.endswith(os.strerror(errno.ENOENT))
    return not problem.line and "could not open" in problem.message and not is_missing


def _is_there(path: str) -> bool:
    return os.path.lexists(path)


def place_of(path: str, config_file: str, environment: EnvironmentFacts | None) -> str | None:
    """Where a file that the configuration names is on this machine; None where it isn't."""
    for service in environment.services if environment is not None else ():
        if service.role is Role.POOLER and service.mounts_file(config_file):
            is_own = os.path.realpath(path) == os.path.realpath(config_file)
            return path if is_own or not path.startswith("/") else service.path_here(path)
    return path


def reader(config_file: str, environment: EnvironmentFacts | None) -> Read:
    """How a file that the configuration names is read here: from where a container is given it."""

    def read(path: str) -> str:
        place = place_of(path, config_file, environment)
        if place is None:
            raise FileNotFoundError(2, "it is in the container", path)
        return read_text(place)

    return read
