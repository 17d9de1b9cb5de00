"""All rules, in the order of a report. A new one goes into the module of its letters."""

from __future__ import annotations

from pgmux.ops.check.rule import Rule
from pgmux.ops.check.rules import (
    airflow,
    deployment,
    exposure,
    firewall,
    limits,
    load,
    lookup,
    observing,
    outside,
    prepared,
    roles,
    server,
    session,
    sizing,
)

RULES: tuple[Rule, ...] = (
    *exposure.RULES,
    *firewall.RULES,
    *lookup.RULES,
    *limits.RULES,
    *sizing.RULES,
    *roles.RULES,
    *server.RULES,
    *load.RULES,
    *prepared.RULES,
    *session.RULES,
    *deployment.RULES,
    *airflow.RULES,
    *observing.RULES,
)

OUTSIDE_RULES: tuple[Rule, ...] = outside.RULES
"""What `--from` is judged by, which reads nothing else."""
