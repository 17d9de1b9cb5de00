"""The configuration that a pooler's container makes of its variables, as ops/container has it."""

from __future__ import annotations

import re
from dataclasses import replace

from pgmux.config import load_config
from pgmux.config.model import Config
from pgmux.errors import ConfigError, Problem
from pgmux.ops.check.gather.compose import ComposeService
from pgmux.ops.check.gather.reading import NotRead, read_bounded
from pgmux.ops.check.gather.variables import UNKNOWN
from pgmux.ops.container import files
from pgmux.ops.container.backends import find_backends
from pgmux.ops.container.environment import ContainerError, Environment

_BACKENDS = ("DATABASE_URL", "DATABASE_URLS", "DB_HOST", "DATABASE_URL_FILE", "DATABASE_URLS_FILE")
_MADE_OF_UNSET = "unset"


def made_configuration(pooler: ComposeService) -> Config | None:
    """None where its variables name no database. Raises: NotRead, where they can't be used."""
    variables = {each.name: each for each in pooler.written}
    if not any(name in variables for name in _BACKENDS):
        return None

    def read_secret(path: str) -> str:
        here = pooler.service.path_here(path)
        try:
            return read_bounded(here) if here is not None else ""
        except NotRead as error:
            raise OSError(0, str(error), path) from error

    texts = {name: each.value.replace(UNKNOWN, _MADE_OF_UNSET) for name, each in variables.items()}
    environment = Environment(texts, read_secret)
    settings, backends = environment.settings(), find_backends(environment)
    said = {key: text for backend in backends for key, text in backend.settings.items()}
    name = f"{pooler.service.where} ({pooler.service.name})"
    userlist = settings.setdefault("auth_file", "/etc/pgbouncer/userlist.txt")
    try:
        environment.raise_any()
        made = {
            name: files.ini_text(backends, environment.entry_keys(), {**said, **settings}),
            userlist: files.user_lines("", files.missing_users("", userlist, backends)),
        }
        config = load_config(name, made.__getitem__)
    except (ContainerError, ConfigError, ValueError) as error:
        raise NotRead(f"no configuration can be made of its variables: {error}") from error
    places = {
        key: (variables[variable].file, variables[variable].line)
        for key in config.settings.places
        for variable in (f"PGBOUNCER_{key.upper()}", key.upper())
        if variable in variables
    }
    conffile = re.sub(r" \(.*", "", name)
    if not backends:
        unread = Problem("the variable that names its databases is in a file that isn't here")
        config = replace(config, access_problems=(unread,))
    return replace(config, settings=replace(config.settings, places=places, conffile=conffile))
