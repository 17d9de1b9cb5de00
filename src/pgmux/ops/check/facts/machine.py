"""This machine: file descriptors, who listens where, the firewall."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Filled by the part that gathers it."""
