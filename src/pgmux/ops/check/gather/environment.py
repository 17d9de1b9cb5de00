"""Variables, .env files, compose files, airflow.cfg and dashboards, beside the configuration and as
the user names them. Nothing found is run, no value that may be a secret is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from pgmux.config.model import Config
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts.environment import (
    EnvironmentFacts,
    Program,
    Query,
    Role,
    WrittenSecret,
)
from pgmux.ops.check.gather.compose import ComposeFile, ComposeService, read_compose
from pgmux.ops.check.gather.env_file import read_env_file
from pgmux.ops.check.gather.made_configuration import made_configuration
from pgmux.ops.check.gather.reading import NotRead, read_bounded, shown
from pgmux.ops.check.gather.variables import Written, program_of, secrets_of

PART = "environment"
COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OVERRIDES = tuple(name.replace(".y", ".override.y") for name in COMPOSE_NAMES)
_ENV_NAMES = (".env", "airflow.cfg")
_MOST_DASHBOARDS = 200
_MOST_ENTRIES = 5000
_METRIC = re.compile(
    r"(?P<stats>pgbouncer_stats_(?!totals_)\w+)"
    r"|(?P<saturation>clamp_min\(\s*pgbouncer_config_max_user_connections)"
    r"|(?P<utilization>sqlalchemy_pool_size(?:\{[^}]*\})?\s*\+\s*sqlalchemy_pool_overflow)"
)


def gather(
    config_file: str,
    env_files: Sequence[str] = (),
    compose_files: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> tuple[EnvironmentFacts, list[Unread]]:
    """What was found; and what was named, or is there, and couldn't be read."""
    gatherer = _Gatherer(os.environ if environ is None else environ)
    directory = os.path.dirname(os.path.abspath(config_file))
    composes = [*(compose_files or _composes_near(directory, config_file))]
    homes = list(
        dict.fromkeys([directory, *(os.path.dirname(os.path.abspath(c)) for c in composes)])
    )
    gatherer.add_env_files([*_there(homes, _ENV_NAMES), *_airflow_home(environ), *env_files])
    for path in composes:
        gatherer.add_compose(path)
    return gatherer.facts(), gatherer.unread


class _Gatherer:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._dotenv: dict[str, str] = {}
        self._written: list[Written] = []
        self._env_programs: list[Program] = []
        self._services: dict[str, ComposeService] = {}
        self._secrets: list[WrittenSecret] = []
        self._files: list[str] = []
        self.unread: list[Unread] = []

    def add_env_files(self, paths: Sequence[str]) -> None:
        for path in dict.fromkeys(map(shown, paths)):
            try:
                written = read_env_file(path, {**self._dotenv, **self._environ})
            except NotRead as error:
                self._fail(path, str(error))
                continue
            self._files.append(path)
            self._dotenv |= {each.name: each.value for each in written}
            self._secrets += secrets_of(written, is_compose=False)
            self._env_programs.append(program_of(path, written))

    def add_compose(self, path: str) -> None:
        path = shown(path)
        try:
            found = read_compose(path, {**self._dotenv, **self._environ})
        except NotRead as error:
            self._fail(path, str(error))
            return
        self._files.append(path)
        self._take(found)
        for text in found.left_out:
            advice = "give what `docker compose config` writes by --compose"
            self.unread.append(Unread(PART, f"{text} isn't followed", advice))

    def _take(self, found: ComposeFile) -> None:
        for each in found.services:
            old = self._services.get(each.service.name)
            self._services[each.service.name] = each if old is None else each.over(old)
            self._secrets += secrets_of(each.written, is_compose=True)

    def facts(self) -> EnvironmentFacts:
        own = [Written(name, text, text) for name, text in self._environ.items()]
        services = self._services.values()
        programs = [
            program_of("environment", own),
            *self._env_programs,
            *(program_of(each.service.name, each.written, each.service) for each in services),
        ]
        homes = {os.path.dirname(os.path.realpath(path)) for path in self._files}
        mounts = [
            mount.source
            for each in services
            for mount in each.service.mounts
            if any(mount.source.startswith(f"{home}/") for home in homes)
        ]
        return EnvironmentFacts(
            tuple(programs),
            tuple(dict.fromkeys(self._secrets)),
            tuple(_queries(mounts)),
            tuple(self._files),
            self._made_configuration(),
        )

    def _made_configuration(self) -> Config | None:
        """Of the only pooler's variables, where they name a database."""
        poolers = [each for each in self._services.values() if each.service.role is Role.POOLER]
        if len(poolers) != 1:
            return None
        try:
            return made_configuration(poolers[0])
        except NotRead as error:
            self._fail(poolers[0].service.where, str(error))
            return None

    def _fail(self, path: str, reason: str) -> None:
        self.unread.append(Unread(PART, f"{path}: {reason}", ""))


def _composes_near(directory: str, config_file: str) -> list[str]:
    """The compose files beside the configuration; else those of the directory above that mount it,
    as bouncer/pgbouncer.ini is from the compose file that starts it.
    """
    beside = _there([directory], (*COMPOSE_NAMES, *_OVERRIDES))
    if beside:
        return beside
    above = _there([os.path.dirname(directory)], (*COMPOSE_NAMES, *_OVERRIDES))
    for path in above[:1]:
        try:
            services = [each.service for each in read_compose(path, {}).services]
        except NotRead:
            return []
        if any(service.mounts_file(config_file) for service in services):
            return above
    return []


def _there(directories: Sequence[str], names: Sequence[str]) -> list[str]:
    paths = [os.path.join(directory, name) for directory in directories for name in names]
    return [path for path in paths if os.path.lexists(path)]


def _airflow_home(environ: Mapping[str, str] | None) -> list[str]:
    home = (os.environ if environ is None else environ).get("AIRFLOW_HOME")
    return _there([home], ["airflow.cfg"]) if home else []


def _queries(paths: Sequence[str]) -> Iterator[Query]:
    """Of the dashboards and alert rules that containers are given."""
    for path in _dashboards(paths):
        try:
            text = read_bounded(path, 4 << 20)
        except NotRead:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for found in _METRIC.finditer(line):
                yield Query(f"{shown(path)}:{number}", found.lastgroup or "")
                break


def _dashboards(paths: Sequence[str]) -> list[str]:
    found: list[str] = []
    seen = 0
    for top in dict.fromkeys(paths):
        is_file = os.path.isfile(top)
        walked = [(os.path.dirname(top), [], [os.path.basename(top)])] if is_file else os.walk(top)
        for directory, directories, names in walked:
            directories[:] = sorted(name for name in directories if not name.startswith("."))
            seen += len(names) + len(directories) + 1
            if seen > _MOST_ENTRIES or len(found) >= _MOST_DASHBOARDS:
                return found[:_MOST_DASHBOARDS]
            found += [
                os.path.join(directory, name)
                for name in sorted(names)
                if name.endswith((".json", ".yml", ".yaml"))
            ]
    return found
