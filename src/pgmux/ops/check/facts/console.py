"""The pooler's console: version, settings in force, pools, clients, servers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsoleFacts:
    """`place` is host:port; `version` as SHOW VERSION has it."""

    place: str
    version: str
