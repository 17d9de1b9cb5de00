"""Evidence and rules -> a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgmux.ops.check.evidence import Evidence, Unread
from pgmux.ops.check.rule import Found, Rule
from pgmux.ops.severity import Severity


@dataclass(frozen=True, slots=True)
class Finding:
    rule: str
    severity: Severity
    title: str
    where: str
    evidence: str
    advice: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Report:
    """`findings`, the worst first; `good`: rules that found nothing; `unchecked`: (rule, the parts
    that it lacked), whose reasons `unread` has; `asked`: the pooler and the servers that were.
    """

    findings: tuple[Finding, ...]
    good: tuple[str, ...]
    unchecked: tuple[tuple[str, tuple[str, ...]], ...]
    unread: tuple[Unread, ...]
    asked: tuple[str, ...] = ()


def judge(evidence: Evidence, rules: Iterable[Rule]) -> Report:
    findings: list[Finding] = []
    good: list[str] = []
    unchecked: list[tuple[str, tuple[str, ...]]] = []
    for each in rules:
        lacking = tuple(need for need in each.needs if not _has(evidence, need))
        if lacking:
            unchecked.append((each.id, lacking))
            continue
        found = [_finding(each, one) for one in each.find(evidence)]
        findings += found
        if not found:
            good.append(each.id)
    findings.sort(key=lambda finding: (-finding.severity, finding.rule, finding.where))
    return Report(tuple(findings), tuple(good), tuple(unchecked), evidence.unread, evidence.asked())


def _has(evidence: Evidence, need: str) -> bool:
    return any(getattr(evidence, part) is not None for part in need.split("|"))


def _finding(each: Rule, found: Found) -> Finding:
    severity = each.severity if found.severity is None else found.severity
    return Finding(
        each.id, severity, each.title, found.where, found.evidence, found.advice, each.anchor
    )
