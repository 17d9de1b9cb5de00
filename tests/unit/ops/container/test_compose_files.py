"""deploy/docker: what its files name is there, and their configurations are good ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgmux.config import load_config
from pgmux.ops.container.prepare import prepare

ROOT = Path(__file__).parents[4]
DOCKER = ROOT / "deploy/docker"
COMPOSE_FILES = sorted((DOCKER / "compose").glob("*/compose.yaml"))
VARIABLE = re.compile(r"\$\{\w+:\?\}")


def services_of(path: Path) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return services


def pooler_of(path: Path) -> dict[str, Any]:
    return services_of(path)["pgbouncer"]


def environ_of(path: Path, secrets: Path) -> dict[str, str]:
    """As compose hands it over: numbers are text, ${X:?} is replaced."""
    said = pooler_of(path).get("environment", {})
    texts = {name: VARIABLE.sub("secret", str(value)) for name, value in said.items()}
    return {name: value.replace("/run/secrets", str(secrets)) for name, value in texts.items()}


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.parent.name)


def test_there_is_one_for_each_deployment() -> None:
    inis = (ROOT / "tests/unit/config/deployments").glob("*.ini")
    assert [path.parent.name for path in COMPOSE_FILES] == sorted(ini.stem for ini in inis)


@each(COMPOSE_FILES)
def test_what_a_compose_file_mounts_or_builds_is_there(path: Path) -> None:
    for service in services_of(path).values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (path.parent / source).exists(), source
    build = pooler_of(path)["build"]
    context = (path.parent / build["context"]).resolve()
    assert context == ROOT
    assert context / build["dockerfile"] == DOCKER / "Dockerfile"


@each(COMPOSE_FILES)
def test_the_pooler_listens_on_the_published_port_and_serves_the_service_beside_it(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "database_url").write_text("postgres://trader:p@db:5432/mt5_trading\n")
    mounted = path.parent / "bouncer/pgbouncer.ini"
    ini = tmp_path / "pgbouncer.ini"
    if mounted.exists():
        ini.write_text(mounted.read_text())
    prepared = prepare(environ_of(path, tmp_path), ["pgbouncer", str(ini)], tmp_path)
    config = load_config(str(ini), lambda path: Path(path).read_text())
    assert [*prepared.warnings, *config.warnings] == []
    ports = [str(port).rpartition(":")[2] for port in pooler_of(path)["ports"]]
    assert ports == [str(config.settings.listen_port)]
    databases = [*config.databases.values(), *([config.autodb] if config.autodb else [])]
    hosts = {host for database in databases for host in database.hosts}
    assert hosts
    assert hosts <= services_of(path).keys()


def test_the_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    for arguments in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in kept
