"""A rule, what it finds, and how one is written.

    @rule("EXPO004", Severity.ERROR, "an empty password", needs=("config",))
    def empty_password(evidence: Evidence) -> Iterator[Found]:
        yield Found("userlist.txt:3: postgres", "give the role a password", "/etc/…/userlist.txt:3")

`needs` names the fields of `Evidence` without which nothing can be said: where one is None the rule
is reported as not checked. "config|console" is either of them. Every rule has a
heading `### ID` in docs/checks.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.severity import Severity


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a rule's trigger holds. No text has a secret.

    `evidence`: what was seen, with its numbers. `advice`: what to do. `where`: file:line, host:port
    or a name. `severity`: another than the rule's.
    """

    evidence: str
    advice: str
    where: str = ""
    severity: Severity | None = None


Find = Callable[[Evidence], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    severity: Severity
    title: str
    needs: tuple[str, ...]
    find: Find

    @property
    def anchor(self) -> str:
        return f"docs/checks.md#{self.id.lower()}"


def rule(
    name: str, severity: Severity, title: str, *, needs: tuple[str, ...]
) -> Callable[[Find], Rule]:
    """Makes a rule of a function that yields what it finds."""

    def make(find: Find) -> Rule:
        return Rule(name, severity, title, needs, find)

    return make
