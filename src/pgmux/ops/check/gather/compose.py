"""Compose files -> their services and what each is told. Nothing in them is run or fetched.

Source: compose-spec. Of several files the later ones count, as with `docker compose -f a -f b`;
`extends` and `include` aren't followed. Errors: NotRead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from pgmux.ops.check.facts.environment import Mount, Published, Role, Service
from pgmux.ops.check.gather.env_file import read_env_file
from pgmux.ops.check.gather.interpolation import interpolate
from pgmux.ops.check.gather.reading import NotRead, read_bounded
from pgmux.ops.check.gather.variables import UNKNOWN, Written
from pgmux.ops.check.gather.yaml_tree import Items, Table, Text, Tree, read_yaml

MOST_BYTES = 256 << 10  # of a compose file
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PORT = re.compile(r"(\d+)(?:-\d+)?")
_POOLER_NAMES = re.compile(r"pgbouncer|pgmux|(?:^|[-_])(?:pooler|bouncer)$", re.IGNORECASE)
_POSTGRES_IMAGE = re.compile(
    r"(?:^|/)(?:postgres|postgresql|postgis|pgvector|citus|timescaledb(?:-ha|-docker)?)$"
)


@dataclass(frozen=True, slots=True)
class ComposeService:
    """A service, and its variables in the order in which they count, the last wins."""

    service: Service
    written: tuple[Written, ...] = field(repr=False)

    def over(self, earlier: ComposeService) -> ComposeService:
        """What the two say of one service: this one counts, lists go on."""
        old, new = earlier.service, self.service
        said = {
            each.name: getattr(new, each.name)
            for each in fields(new)
            if getattr(new, each.name) != each.default
        }
        said |= {
            "where": old.where,
            "names": tuple({*old.names, *new.names}),
            "published": (*old.published, *new.published),
            "mounts": (*old.mounts, *new.mounts),
        }
        return ComposeService(replace(old, **said), (*earlier.written, *self.written))


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """`left_out`: keys of it that name other files, which aren't followed, with their lines."""

    services: tuple[ComposeService, ...]
    left_out: tuple[str, ...]


def read_compose(path: str, variables: Mapping[str, str]) -> ComposeFile:
    """The services of one file; `variables` are what its references mean. Raises: NotRead."""
    root = read_yaml(read_bounded(path, MOST_BYTES))
    if not isinstance(root.get("services"), Table):
        raise NotRead("no compose file: it has no services")
    overlays = {
        name
        for name, network in root.table("networks").entries.items()
        if isinstance(network, Table) and network.text("driver") == "overlay"
    }
    reader = _Reader(path, variables, overlays)
    left_out = [f"{path}:{root.entries['include'].line}: include"] if root.get("include") else []
    services = []
    for name, entry in root.table("services").entries.items():
        if isinstance(entry, Table):
            services.append(reader.service(name, entry))
            if entry.get("extends"):
                left_out.append(f"{path}:{entry.entries['extends'].line}: extends")
    return ComposeFile(tuple(services), tuple(left_out + reader.unread))


class _Reader:
    def __init__(self, path: str, variables: Mapping[str, str], overlays: set[str]) -> None:
        self._path = path
        self._directory = os.path.dirname(path)
        self._variables = variables
        self._overlays = overlays
        self.unread: list[str] = []

    def service(self, name: str, entry: Table) -> ComposeService:
        image = self._text(entry.get("image"))
        dockerfile = self._dockerfile(entry)
        networks = set(_names(entry.get("networks")))
        return ComposeService(
            Service(
                name,
                f"{self._path}:{entry.line}",
                _role(name, image, dockerfile),
                image,
                is_pgmux="pgmux" in image or re.search(r"\bpgmux\b", dockerfile) is not None,
                names=tuple({name, *self._names_of(entry)}),
                published=tuple(self._published(entry.get("ports"))),
                mounts=tuple(self._mounts(entry.get("volumes"))),
                open_files=self._open_files(entry.get("ulimits", "nofile")),
                stop_signal=self._text(entry.get("stop_signal")) or _stop_signal(dockerfile),
                stop_grace=_seconds(self._text(entry.get("stop_grace_period"))),
                command=" ".join(
                    word
                    for key in ("entrypoint", "command")
                    for word in self._words(entry.get(key))
                ),
                replicas=_number(entry.text("deploy", "replicas"), entry.text("scale")) or 1,
                shares_network=bool(self._text(entry.get("network_mode"))),
                is_on_overlay=bool(networks & self._overlays),
            ),
            tuple(self._written(entry)),
        )

    def _text(self, tree: Tree | None) -> str:
        raw = tree.text if isinstance(tree, Text) else ""
        return interpolate(raw, self._variables, UNKNOWN)

    def _words(self, tree: Tree | None) -> list[str]:
        items = tree.items if isinstance(tree, Items) else (tree,)
        return [text for each in items if (text := self._text(each))]

    def _names_of(self, entry: Table) -> Iterator[str]:
        for key in ("container_name", "hostname"):
            if name := self._text(entry.get(key)):
                yield name
        for network in entry.table("networks").entries.values():
            if isinstance(network, Table):
                yield from self._words(network.get("aliases"))

    def _written(self, entry: Table) -> Iterator[Written]:
        for file in self._env_files(entry.get("env_file")):
            path = os.path.join(self._directory, file)
            try:
                yield from read_env_file(path, self._variables)
            except NotRead as error:
                self.unread.append(f"{path}: {error}")
        said = entry.get("environment")
        if isinstance(said, Table):
            for name, value in said.entries.items():
                if isinstance(value, Text):
                    yield self._variable(name, value.text, value.line)
        elif isinstance(said, Items):
            for item in said.items:
                if isinstance(item, Text):
                    name, equals, text = item.text.partition("=")
                    yield self._variable(name, text if equals else f"${{{name}:-}}", item.line)

    def _variable(self, name: str, raw: str, line: int) -> Written:
        return Written(name, raw, interpolate(raw, self._variables, UNKNOWN), self._path, line)

    def _env_files(self, tree: Tree | None) -> list[str]:
        items = tree.items if isinstance(tree, Items) else (tree,)
        return [
            text
            for each in items
            if (text := self._text(each.get("path") if isinstance(each, Table) else each))
        ]

    def _published(self, tree: Tree | None) -> Iterator[Published]:
        for item in tree.items if isinstance(tree, Items) else ():
            where = f"{self._path}:{item.line}"
            if isinstance(item, Table):
                inside = _number(self._text(item.get("target")))
                outside = _number(self._text(item.get("published")))
                address = self._text(item.get("host_ip"))
                if inside and self._text(item.get("protocol")) != "udp":
                    yield Published(address, outside, inside, where)
                continue
            found = _short_port(self._text(item), where)
            if found is not None:
                yield found

    def _mounts(self, tree: Tree | None) -> Iterator[Mount]:
        for item in tree.items if isinstance(tree, Items) else ():
            if isinstance(item, Table):
                source, target = self._text(item.get("source")), self._text(item.get("target"))
            else:
                source, _, rest = self._text(item).partition(":")
                target = rest.partition(":")[0]
            if source.startswith((".", "/", "~")) and target:
                path = os.path.join(self._directory, os.path.expanduser(source))
                yield Mount(os.path.realpath(path), target)

    def _open_files(self, tree: Tree | None) -> int | None:
        return _number(self._text(tree.get("soft") if isinstance(tree, Table) else tree))

    def _dockerfile(self, entry: Table) -> str:
        """The text of what the service is built of; "" where there is none to be read."""
        build = entry.get("build")
        if build is None:
            return ""
        context = self._text(build.get("context") if isinstance(build, Table) else build) or "."
        name = self._text(build.get("dockerfile")) if isinstance(build, Table) else ""
        try:
            return read_bounded(os.path.join(self._directory, context, name or "Dockerfile"))
        except NotRead:
            return ""


def _role(name: str, image: str, dockerfile: str) -> Role:
    repository = image.partition("@")[0].rpartition("/")[2]
    place = image.removesuffix(repository) + repository.partition(":")[0]
    if "exporter" in image or "exporter" in name:
        return Role.EXPORTER
    if _POOLER_NAMES.search(image) or _POOLER_NAMES.search(name):
        return Role.POOLER
    if _POSTGRES_IMAGE.search(place):
        return Role.POSTGRES
    if "airflow" in image.lower() or "airflow" in name.lower():
        return Role.AIRFLOW
    return Role.OTHER


def _short_port(text: str, where: str) -> Published | None:
    """`[ADDRESS:][OUTSIDE:]INSIDE[/tcp]`; the first port of a range."""
    text, _, protocol = text.partition("/")
    rest, _, last = text.rpartition(":")
    address, _, first = rest.rpartition(":")
    inside, outside = _PORT.fullmatch(last), _PORT.fullmatch(first)
    if inside is None or protocol == "udp" or UNKNOWN in text:
        return None
    port = int(outside[1]) if outside is not None else None
    return Published(address.strip("[]"), port, int(inside[1]), where)


def _stop_signal(dockerfile: str) -> str:
    found = re.findall(r"(?im)^\s*STOPSIGNAL\s+(\S+)", dockerfile)
    return found[-1] if found else ""


def _names(tree: Tree | None) -> Iterable[str]:
    if isinstance(tree, Table):
        return tree.entries.keys()
    items = tree.items if isinstance(tree, Items) else ()
    return [item.text for item in items if isinstance(item, Text)]


def _seconds(text: str) -> float | None:
    parts = _DURATION.findall(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else None


def _number(*texts: str) -> int | None:
    return next((int(text) for text in texts if text.isdecimal() and len(text) < 10), None)
