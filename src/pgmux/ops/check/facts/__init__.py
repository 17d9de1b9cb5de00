"""What is known of each part, as values. One module a part."""

from __future__ import annotations

from pgmux.ops.check.facts.console import ConsoleFacts
from pgmux.ops.check.facts.environment import EnvironmentFacts
from pgmux.ops.check.facts.files import FileFacts
from pgmux.ops.check.facts.machine import MachineFacts
from pgmux.ops.check.facts.outside import OutsideFacts
from pgmux.ops.check.facts.server import ServerFacts

__all__ = [
    "ConsoleFacts",
    "EnvironmentFacts",
    "FileFacts",
    "MachineFacts",
    "OutsideFacts",
    "ServerFacts",
]
