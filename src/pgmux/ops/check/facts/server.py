"""One PostgreSQL: its settings, who is connected, its roles and lookup functions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`place` is host:port."""

    place: str
