"""What applications are told: variables, .env files, compose files, airflow.cfg. No secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pgmux.config.model import Config


@dataclass(frozen=True, slots=True)
class Variable:
    """`value` is None where it may be a secret, or depends on what isn't set. `where`: file:line,
    or "environment".
    """

    name: str
    value: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Target:
    """A PostgreSQL, or pooler, that a program is told to connect to.

    `variable` says so, at `where`. `driver` is what follows `+` in a URL's scheme, or jdbc. `host`
    and `port` are None where they depend on what isn't set. `parameters`: of its URL, those that
    matter here.
    """

    variable: str
    where: str
    driver: str = ""
    host: str | None = None
    port: int | None = 5432
    user: str = ""
    database: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.host or '?'}:{self.port or '?'}"


class Role(StrEnum):
    """What a service of a compose file is, by its image or name."""

    POOLER = "pooler"
    POSTGRES = "postgres"
    AIRFLOW = "airflow"
    EXPORTER = "exporter"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Published:
    """A port of a container that Docker opens on the host; `address` "" is all addresses."""

    address: str
    outside: int | None
    inside: int
    where: str


@dataclass(frozen=True, slots=True)
class Mount:
    """A path here, absolute and without links, that a container has at `target`."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a compose file.

    `image` is repository:tag; `is_pgmux`: its Dockerfile, or image, is pgmux's. `names` are those
    that other containers reach it by. `stop_signal` and `stop_grace` (seconds): "" and None where
    neither file nor Dockerfile say. `command` is entrypoint and command.
    """

    name: str
    where: str
    role: Role = Role.OTHER
    image: str = ""
    is_pgmux: bool = False
    names: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    mounts: tuple[Mount, ...] = ()
    open_files: int | None = None
    stop_signal: str = ""
    stop_grace: float | None = None
    command: str = ""
    replicas: int = 1
    shares_network: bool = False
    is_on_overlay: bool = False

    def mounts_file(self, path: str) -> bool:
        """Whether the container is given that file, by itself or with its directory."""
        real = os.path.realpath(path)
        return any(f"{real}/".startswith(f"{mount.source}/") for mount in self.mounts)

    def path_here(self, path: str) -> str | None:
        """Where a file of the container is on this machine; None where it is in the container."""
        for mount in sorted(self.mounts, key=lambda mount: -len(mount.target)):
            if f"{path}/".startswith(f"{mount.target.rstrip('/')}/"):
                return mount.source + path[len(mount.target.rstrip("/")) :]
        return None


@dataclass(frozen=True, slots=True)
class Program:
    """Whoever is given one set of variables: a service, or what reads a file or this environment.

    `name` is the service's, the file's, or "environment".
    """

    name: str
    variables: Mapping[str, Variable] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    service: Service | None = None

    def value(self, *names: str) -> str:
        """The first of these variables that has a value; "" where none has."""
        return next((each.value for each in self._found(*names) if each.value), "")

    def number(self, *names: str) -> int | None:
        value = self.value(*names)
        return int(value) if value.isdecimal() and len(value) < 10 else None

    def place(self, *names: str) -> str:
        """Where the first of these variables is set, else the program's name."""
        return next((each.where for each in self._found(*names)), self.name)

    def _found(self, *names: str) -> list[Variable]:
        return [self.variables[name] for name in names if name in self.variables]


@dataclass(frozen=True, slots=True)
class Query:
    """A line of a dashboard or of alert rules that asks for a metric which matters here."""

    where: str
    metric: str


@dataclass(frozen=True, slots=True)
class WrittenSecret:
    """A variable whose secret stands in a file as it is."""

    file: str
    line: int
    variable: str
    is_compose: bool = False


@dataclass(frozen=True, slots=True)
class EnvironmentFacts:
    """`files`: those that were read; `secrets`: what of secrets they have; `made`: what the
    pooler's container makes of its variables.
    """

    programs: tuple[Program, ...] = ()
    secrets: tuple[WrittenSecret, ...] = ()
    queries: tuple[Query, ...] = ()
    files: tuple[str, ...] = ()
    made: Config | None = field(default=None, repr=False)

    @property
    def services(self) -> tuple[Service, ...]:
        return tuple(each.service for each in self.programs if each.service is not None)
