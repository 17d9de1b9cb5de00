"""All rules, in the order of a report. A new one goes into the module of its letters."""

from __future__ import annotations

from pgmux.ops.check.rule import Rule
from pgmux.ops.check.rules import exposure

RULES: tuple[Rule, ...] = (*exposure.RULES,)
