"""What the checker finds, where, and whether the line asks for silence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pgmux_apps.airflow.checker.document import Place
from pgmux_apps.airflow.checker.scopes import (
    Module,
)
from pgmux_apps.airflow.rules import Rule

_NOQA = re.compile(r"#\s*noqa(?::\s*(?P<ids>[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*))?", re.I)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `line` of a notebook is in the cell, `file_line` in the file."""

    rule: Rule
    file: str
    place: Place
    message: str
    advice: str
    task: str | None = None
    file_line: int = 1
    source_line: str = ""


def is_silenced(line: str, rule: Rule) -> bool:
    """Whether a line says `# noqa`, for all rules or for this one."""
    found = _NOQA.search(line) if "#" in line else None
    if not found:
        return False
    return found["ids"] is None or rule.id in re.split(r"[,\s]+", found["ids"].upper())


@dataclass(slots=True)
class Findings:
    """Collects what is found; one finding a rule and place, none where the line silences it."""

    items: dict[Finding, None] = field(default_factory=dict)
    silenced: int = 0

    def add(
        self, rule: Rule, module: Module, node: ast.AST, message: str, advice: str, task: str = ""
    ) -> None:
        """Add what was found at a node."""
        document = module.document
        line = getattr(node, "lineno", 1)
        last = getattr(node, "end_lineno", None) or line
        place = document.place(line, getattr(node, "col_offset", 0))
        file_line = document.file_lines.get(line, 1) if document.cells else line
        text = document.line(line).strip()
        found = Finding(
            rule, module.source.shown, place, message, advice, task or None, file_line, text
        )
        self.add_unless(found, {document.line(each) for each in {line, last}})

    def add_unless(self, found: Finding, lines: Iterable[str]) -> None:
        """Add a finding unless one of these lines silences it."""
        if any(is_silenced(line, found.rule) for line in lines):
            self.silenced += 1
        else:
            self.items[found] = None
