"""A report for people and for programs."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from pgmux.ops.check.judge import Finding, Report
from pgmux.ops.printing import printable, styled, to_json


def print_report(report: Report, terminal: Console) -> None:
    """Each finding with evidence, advice and where to read on; then what couldn't be checked."""
    for finding in report.findings:
        terminal.print(_block(finding))
    for unread in report.unread:
        advice = f" ({unread.advice})" if unread.advice else ""
        terminal.print(
            Text(printable(f"not looked at: {unread.part}: {unread.reason}{advice}"), "dim")
        )
    terminal.print(_summary(report))


def _block(finding: Finding) -> RenderableType:
    head = Text.assemble(
        styled(f"{finding.severity!s:<8}", str(finding.severity)),
        (f"{finding.rule}  ", "bold"),
        printable(finding.title),
        (printable(f"  {finding.where}") if finding.where else "", "dim"),
    )
    lines = [
        Text(printable(finding.evidence, keep="\n")),
        Text(f"→ {printable(finding.advice, keep=chr(10))}"),
        Text(finding.anchor, "dim"),
    ]
    return Group(head, Padding(Group(*lines), (0, 0, 1, 8)))


def _summary(report: Report) -> Text:
    counts = [f"{len(report.findings)} findings", f"{len(report.good)} rules found nothing"]
    if report.unchecked:
        ids = ", ".join(rule for rule, _ in report.unchecked)
        counts.append(f"{len(report.unchecked)} couldn't be checked ({ids})")
    return Text("; ".join(counts))


def json_of(report: Report) -> str:
    """Severities by name."""
    content = asdict(report)
    for finding in content["findings"]:
        finding["severity"] = str(finding["severity"])
    content["unchecked"] = [
        {"rule": rule, "lacking": list(parts)} for rule, parts in report.unchecked
    ]
    return to_json(content)
