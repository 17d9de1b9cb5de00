"""A result as SARIF 2.1.0 (OASIS), with what GitHub code scanning asks for beyond it.

URIs are relative to the root of the repository (the folder above the DAGs that has `.git`), else to
the working directory. A notebook's lines are those of its JSON text, which is what a viewer of the
file has; the message names cell and line. The fingerprint of a finding survives moved lines.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pgmux_apps import __version__
from pgmux_apps.airflow.checker.finding import Finding
from pgmux_apps.airflow.checker.run import Result
from pgmux_apps.airflow.rules import RULES, Rule, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"
_SEVERITY = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "recommendation"}


def build_sarif(result: Result, folder: Path) -> dict[str, Any]:
    """The log of one run."""
    root = _root_of(folder)
    driver = {
        "name": "pgmux-airflow",
        "version": __version__,
        "informationUri": "https://github.com/pgmux/pgmux",
        "rules": [_rule(each) for each in RULES],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"uri": root.as_uri().rstrip("/") + "/"}},
        "results": list(_results(result.findings, root)),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def write_sarif(result: Result, folder: Path) -> str:
    """The log as text."""
    return json.dumps(build_sarif(result, folder), indent=2) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    name = "".join(part.capitalize() for part in rule.name.split("-"))
    text = f"{rule.reason} {rule.advice}".format(pool="db_pool") if "{pool}" in rule.advice else (
        f"{rule.reason} {rule.advice}"
    )  # fmt: skip
    return {
        "id": rule.id,
        "name": name,
        "shortDescription": {"text": _sentence(rule.text)},
        "fullDescription": {"text": rule.reason},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {
            "tags": ["airflow", "postgresql", "connections"],
            "precision": "high",
            "problem.severity": _SEVERITY[rule.severity],
        },
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _results(findings: Iterable[Finding], root: Path) -> Iterable[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for finding in findings:
        uri = _uri_of(finding.file, root)
        key = "\n".join((finding.rule.id, uri, finding.task or "", finding.source_line))
        seen[key] += 1
        print_of = hashlib.sha256(f"{key}\n{seen[key]}".encode("utf-8", "replace")).hexdigest()
        yield {
            "ruleId": finding.rule.id,
            "ruleIndex": RULES.index(finding.rule),
            "level": finding.rule.severity.value,
            "message": {"text": _message(finding)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri, "uriBaseId": _ROOT},
                        "region": _region(finding),
                    }
                }
            ],
            "partialFingerprints": {"pgmuxFinding/v1": print_of[:32]},
        }


def _message(finding: Finding) -> str:
    task = f"task {finding.task} " if finding.task else ""
    cell = finding.place.cell
    where = "" if cell is None else f" (cell {cell}, line {finding.place.line})"
    text = f"{task}{finding.message}{where}. {finding.advice}"
    return text[:1].upper() + text[1:]


def _region(finding: Finding) -> dict[str, int]:
    if finding.place.cell is not None:
        return {"startLine": max(1, finding.file_line)}
    return {"startLine": max(1, finding.place.line), "startColumn": max(1, finding.place.column)}


def _root_of(folder: Path) -> Path:
    absolute = Path(os.path.normpath(folder.absolute()))
    for above in (absolute, *absolute.parents):
        if (above / ".git").exists():
            return above
    here = Path.cwd()
    return here if absolute.is_relative_to(here) else absolute.parent


def _uri_of(file: str, root: Path) -> str:
    absolute = Path(os.path.normpath(Path(file).absolute()))
    relative = absolute.relative_to(root) if absolute.is_relative_to(root) else Path(file)
    return quote(relative.as_posix().encode("utf-8", "surrogateescape"))
