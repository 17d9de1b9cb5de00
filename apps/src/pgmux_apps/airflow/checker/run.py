"""The check of a folder: every rule over every file, one file's trouble is that file's finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pgmux_apps.airflow.checker import at_import, env_file
from pgmux_apps.airflow.checker.closing import ClosingRule
from pgmux_apps.airflow.checker.document import Place
from pgmux_apps.airflow.checker.finding import Finding, Findings
from pgmux_apps.airflow.checker.folder import Folder, Source
from pgmux_apps.airflow.checker.names import Names
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.ports import PortRule
from pgmux_apps.airflow.checker.prepared import PreparedRule
from pgmux_apps.airflow.checker.scopes import (
    Module,
)
from pgmux_apps.airflow.checker.tasks import TaskRule
from pgmux_apps.airflow.rules import UNREADABLE


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found, and what it left out."""

    findings: tuple[Finding, ...]
    files: int
    silenced: int
    hidden: int  # tasks whose pool the source doesn't show
    skipped: tuple[tuple[str, str], ...]


def check_folder(
    folder: Folder,
    sources: Sequence[Source],
    policy: Policy,
    rules: Iterable[str],
    progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Check these sources of a folder; `progress` hears how many are done."""
    names = Names(folder, sources)
    findings = Findings()
    tasks = TaskRule(policy, findings)
    checks: list[Callable[[Module], None]] = [
        tasks.check,
        lambda module: at_import.check(module, findings),
        PortRule(policy, findings).check,
        ClosingRule(policy, findings).check,
        PreparedRule(policy, findings).check,
    ]
    for done, source in enumerate(sources):
        progress(done)
        _check_source(source, names, checks, findings)
    env_file.check(folder.path, policy, findings)
    wanted = set(rules)
    found = sorted(
        (each for each in findings.items if each.rule.id in wanted),
        key=lambda each: (each.file, each.place.cell or 0, each.place.line, each.place.column),
    )
    skipped = tuple(dict.fromkeys(folder.skipped))
    return Result(tuple(found), len(sources), findings.silenced, tasks.hidden, skipped)


def _check_source(
    source: Source,
    names: Names,
    checks: Sequence[Callable[[Module], None]],
    findings: Findings,
) -> None:
    try:
        module = names.module(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        _add_unreadable(findings, source, Place(1, 1), f"can't be read: {reason or error}")
        return
    for place, message in module.document.problems:
        _add_unreadable(findings, source, place, message)
    try:
        for check in checks:
            check(module)
    except RecursionError:
        _add_unreadable(findings, source, Place(1, 1), "nested too deeply to be checked")


def _add_unreadable(findings: Findings, source: Source, place: Place, message: str) -> None:
    line = place.line if place.cell is None else 1
    advice = UNREADABLE.advice
    findings.add_unless(Finding(UNREADABLE, source.shown, place, message, advice, None, line), ())
