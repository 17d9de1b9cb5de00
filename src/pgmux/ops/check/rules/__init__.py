"""All rules, in the order of a report. A new one goes into the module of its letters."""

from __future__ import annotations

from pgmux.ops.check.rule import Rule
from pgmux.ops.check.rules import (
    exposure,
    firewall,
    limits,
    load,
    lookup,
    outside,
    roles,
    server,
)

RULES: tuple[Rule, ...] = (
    *exposure.RULES,
    *firewall.RULES,
    *lookup.RULES,
    *limits.RULES,
    *roles.RULES,
    *server.RULES,
    *load.RULES,
)

OUTSIDE_RULES: tuple[Rule, ...] = outside.RULES
"""What `--from` is judged by, which reads nothing else."""
