"""All that needs no connection: environment, configuration, files, machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pgmux.config.model import Config
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.gather import configuration, environment, files, machine


def gather(
    config_file: str,
    env_files: Sequence[str] = (),
    compose_files: Sequence[str] = (),
) -> Iterator[tuple[str, Any, list[Unread]]]:
    """Each part of `Evidence`, what it is (the configuration may be an `Unread`), and what of it
    couldn't be looked at.
    """
    told, unread = environment.gather(config_file, env_files, compose_files)
    yield "environment", told, unread
    found = configuration.gather(config_file, told)
    config = found if isinstance(found, Config) else None
    yield "config", found, configuration.unread_of(config) if config else []
    yield "files", *files.gather(config_file, config, told)
    yield "machine", *machine.gather(config)
