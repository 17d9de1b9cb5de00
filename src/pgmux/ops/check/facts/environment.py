"""What applications are told: variables, .env files, compose files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnvironmentFacts:
    """Filled by the part that gathers it."""
