"""A report for people and for programs.

For people: the worst first, each rule once with all its places, what was seen, what to do, where to
read on; then what couldn't be looked at; then the count. Lines are no longer than one can read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgmux.ops.check.facts.outside import SPEAKS, Asks, OutsideFacts
from pgmux.ops.check.judge import Finding, Report
from pgmux.ops.printing import printable, styled, to_json
from pgmux.ops.severity import Severity

WIDTH = 110  # characters
_NAMES = {
    "config": "the configuration",
    "files": "files",
    "environment": "the environment",
    "machine": "this machine",
    "servers": "PostgreSQL",
    "console": "the console",
}


def print_report(report: Report, terminal: Console) -> None:
    """All of it."""
    width = min(WIDTH, terminal.width)
    if report.asked:
        text = Text(printable(f"asked: {'; '.join(report.asked)}"), "dim")
        terminal.print(Padding(text, (0, 0, 1, 0), expand=False), width=width)
    for _, findings in groupby(report.findings, lambda each: (each.severity, each.rule)):
        terminal.print(_block(list(findings)), width=width)
    if report.unread:
        terminal.print(_unread(report), width=width)
    terminal.print(_summary(report), width=width)


def _block(findings: list[Finding]) -> RenderableType:
    """What one rule has found: its title, its places, where to read on."""
    first = findings[0]
    block = _grid()
    block.add_row(
        styled(str(first.severity), str(first.severity)),
        Text.assemble((first.rule, "bold"), f"  {printable(first.title)}"),
    )
    where = ""
    for finding in findings:
        if finding.where != where:
            where = finding.where
            block.add_row("", Text(printable(where), "bold dim"))
        block.add_row("", Text(printable(finding.evidence, keep="\n")))
        block.add_row("", _advice(finding.advice))
    block.add_row("", Text(first.anchor, "dim"))
    return Padding(block, (0, 0, 1, 0), expand=False)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=7)
    grid.add_column(overflow="fold")
    return grid


def _advice(text: str) -> Table:
    """After an arrow, all its lines behind that."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row("→", Text(printable(text, keep="\n")))
    return grid


def _unread(report: Report) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for unread in report.unread:
        part = printable(_NAMES.get(unread.part, unread.part))
        grid.add_row("·", Text.assemble((part, "bold"), f": {printable(unread.reason)}"))
        if unread.advice:
            grid.add_row("", _advice(unread.advice))
    whole = Table.grid()
    whole.add_row(Text("Not looked at:", "bold"))
    whole.add_row(grid)
    return Padding(whole, (0, 0, 1, 0), expand=False)


def _summary(report: Report) -> Text:
    """`1 error, 2 warnings; 20 rules found nothing; 6 couldn't be checked, for want of …`."""
    counts = [
        _count(sum(each.severity is severity for each in report.findings), str(severity))
        for severity in sorted(Severity, reverse=True)
    ]
    parts = [", ".join(text for text in counts if text) or "nothing found"]
    if report.good:
        parts.append(f"{_count(len(report.good), 'rule')} found nothing")
    if report.unchecked:
        wanted = _wanted(report.unchecked)
        parts.append(f"{len(report.unchecked)} couldn't be checked, for want of {wanted}")
    worst = max((each.severity for each in report.findings), default=None)
    style = "green" if worst is None else str(styled("", str(worst)).style)
    return Text.assemble((parts[0], style), *(f"; {part}" for part in parts[1:]))


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}" if number else ""


def _wanted(unchecked: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """`PostgreSQL (SIZE001, PG001), the console (POOL001)`, by the first thing that each lacks."""
    by_part: dict[str, list[str]] = {}
    for rule, parts in unchecked:
        by_part.setdefault(parts[0].split("|")[0], []).append(rule)
    return ", ".join(
        f"{_NAMES.get(part, part)} ({', '.join(rules)})" for part, rules in by_part.items()
    )


def json_of(report: Report, outside: OutsideFacts | None = None) -> str:
    """Severities by name."""
    content = asdict(report)
    for finding in content["findings"]:
        finding["severity"] = str(finding["severity"])
    content["unchecked"] = [
        {"rule": rule, "lacking": list(parts)} for rule, parts in report.unchecked
    ]
    if outside is not None:
        facts = {**asdict(outside), "insists_on_tls": outside.insists_on_tls}
        names = ("answers", "asks", "asks_in_clear")
        content["outside"] = facts | {
            name: None if facts[name] is None else facts[name].name.lower() for name in names
        }
    return to_json(content)


def print_outside(facts: OutsideFacts, terminal: Console) -> None:
    """What answers, before what is wrong with it."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, text in _lines(facts):
        grid.add_row(name, Text(printable(text)))
    width = min(WIDTH, terminal.width)
    terminal.print(Padding(grid, (0, 0, 1, 0), expand=False), width=width)


def _lines(facts: OutsideFacts) -> Iterator[tuple[str, str]]:
    reached = "" if facts.address == facts.asked else f" ({facts.address})"
    yield "address", f"{facts.asked}{reached}"
    detail = f": {facts.detail}" if facts.detail else ""
    version = f" {facts.version}" if facts.version else ""
    yield "answers", f"{facts.answers.value}{version}{detail}"
    if facts.answers not in SPEAKS:
        return
    yield "TLS", _tls(facts)
    if facts.certificate is not None:
        yield "certificate", _certificate(facts)
    yield f"asks {facts.user} for", _asks(facts.asks, facts.refusal)
    if facts.has_tls and facts.asks_in_clear is not None:
        yield "without TLS", _asks(facts.asks_in_clear, "")


def _tls(facts: OutsideFacts) -> str:
    if not facts.has_tls:
        return "not offered"
    how = "from the first byte on" if facts.is_direct_tls else "offered"
    wants = ", wants a client's certificate" if facts.wants_certificate else ""
    insists = ", and insisted on" if facts.insists_on_tls else ""
    return f"{how}{f', {facts.tls_version}' if facts.tls_version else ''}{insists}{wants}"


def _certificate(facts: OutsideFacts) -> str:
    found = facts.certificate
    assert found is not None
    until = "" if found.not_after is None else f"valid until {found.not_after:%Y-%m-%d}"
    return "; ".join(
        text for text in (until, found.fault or "as a careful client wants it") if text
    )


def _asks(asks: Asks | None, refusal: str) -> str:
    if asks is None:
        return "no answer to that"
    return f"{asks.value} ({refusal})" if refusal else asks.value
