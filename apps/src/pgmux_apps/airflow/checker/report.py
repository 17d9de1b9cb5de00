"""A result for a reader: a table on a terminal (rich's, if it is installed), plain lines elsewhere.

What comes out of the files is made printable: nobody's file name moves the cursor.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TextIO

from pgmux_apps.airflow.aligned import aligned
from pgmux_apps.airflow.checker.finding import Finding
from pgmux_apps.airflow.checker.run import Result
from pgmux_apps.airflow.rules import Severity

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def printable(text: str) -> str:
    """The text without control characters and half surrogates."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def place_of(finding: Finding) -> str:
    """`file:line:column`, the notebook's cell before them."""
    place = finding.place
    cell = "" if place.cell is None else f"cell {place.cell}:"
    return f"{finding.file}:{cell}{place.line}:{place.column}"


def print_table(result: Result, file: TextIO) -> None:
    """The findings, what to do, and a summary."""
    if result.findings and not (file.isatty() and _print_rich(result, file)):
        for line in aligned([_row(finding) for finding in result.findings]):
            print(line, file=file)
    for line in _below(result):
        print(printable(line), file=file)


def _row(finding: Finding) -> tuple[str, str, str, str]:
    cells = (place_of(finding), finding.rule.id, finding.task or "", finding.message)
    place, rule, task, message = map(printable, cells)
    return place, rule, task, message


def _print_rich(result: Result, file: TextIO) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("where", "rule", "task", "what"):
        table.add_column(title, overflow="fold")
    for finding in result.findings:
        place, rule, task, message = _row(finding)
        style = _STYLES[finding.rule.severity]
        table.add_row(Text(place), Text(rule, style), Text(task), Text(message))
    width = shutil.get_terminal_size().columns
    Console(file=file, width=width, highlight=False).print(table)
    return True


def _below(result: Result) -> Iterator[str]:
    advice = dict.fromkeys((each.rule.id, each.advice) for each in result.findings)
    if advice:
        yield ""
        yield "What to do:"
        yield from (f"  {rule}  {text}" for rule, text in sorted(advice))
    if result.skipped:
        yield ""
        yield "Not checked:"
        yield from (f"  {name}: {reason}" for name, reason in result.skipped)
    if advice or result.skipped:
        yield ""
    yield summary_of(result)


def summary_of(result: Result) -> str:
    """One line: how much was checked, and what was found."""
    counts = sorted(Counter(each.rule.id for each in result.findings).items())
    parts = [f"{_count(result.files, 'file')} checked"]
    if counts:
        each = ", ".join(f"{rule} {number}" for rule, number in counts)
        parts.append(f"{_count(len(result.findings), 'finding')} ({each})")
    else:
        parts.append("nothing found")
    if result.silenced:
        parts.append(f"{result.silenced} silenced by noqa")
    if result.hidden:
        parts.append(f"{_count(result.hidden, 'pool')} taken to be right: not in the source")
    return ", ".join(parts)


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def print_json(result: Result, file: TextIO) -> None:
    """The findings as one JSON object."""
    found = {
        "findings": [_as_json(each) for each in result.findings],
        "skipped": [{"file": name, "reason": reason} for name, reason in result.skipped],
        "summary": {
            "files": result.files,
            "findings": len(result.findings),
            "silenced": result.silenced,
            "pools_not_in_source": result.hidden,
            "rules": _per_rule(result.findings),
        },
    }
    print(json.dumps(found, indent=2), file=file)


def _per_rule(findings: Iterable[Finding]) -> dict[str, int]:
    return dict(sorted(Counter(each.rule.id for each in findings).items()))


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule.id,
        "name": finding.rule.name,
        "severity": finding.rule.severity.value,
        "file": finding.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "cell": finding.place.cell,
        "task": finding.task,
        "message": finding.message,
        "advice": finding.advice,
    }
