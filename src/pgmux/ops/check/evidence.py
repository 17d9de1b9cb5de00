"""Everything that rules judge: gathered once, frozen, without secrets where that can be.

A field is None where it couldn't be looked at; why, `unread` says. Who gathers what: `gather/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgmux.config.model import Config
from pgmux.ops.check.facts import (
    ConsoleFacts,
    EnvironmentFacts,
    FileFacts,
    MachineFacts,
    OutsideFacts,
    ServerFacts,
)


@dataclass(frozen=True, slots=True)
class Unread:
    """What couldn't be looked at (a field of `Evidence`), why, and what to do about it."""

    part: str
    reason: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """`files`: those of the configuration and the secrets; `environment`: variables, .env, compose
    files; `servers`: every PostgreSQL that was asked, one entry a host and port;
    `outside`: what answers at an address, which is asked alone, without all the others.
    """

    config_file: str
    config: Config | None = None
    files: tuple[FileFacts, ...] | None = None
    environment: EnvironmentFacts | None = None
    machine: MachineFacts | None = None
    servers: tuple[ServerFacts, ...] | None = None
    console: ConsoleFacts | None = None
    outside: OutsideFacts | None = None
    unread: tuple[Unread, ...] = ()

    def asked(self) -> tuple[str, ...]:
        """Who was asked, and as whom: the console, each PostgreSQL."""
        found = [f"{self.console.name} at {self.console.place}"] if self.console else []
        for server in self.servers or ():
            version = server.settings.get("server_version")
            number = f" {version.value.split()[0]}" if version else ""
            found.append(f"PostgreSQL{number} at {server.place} as {server.user}")
        return tuple(found)
