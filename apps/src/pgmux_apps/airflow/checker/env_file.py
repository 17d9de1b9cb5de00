"""AIRFLOW_CONN_ variables of a `.env` file in the DAGs folder or beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pgmux_apps.airflow.checker.document import Place
from pgmux_apps.airflow.checker.finding import Finding, Findings
from pgmux_apps.airflow.checker.folder import read_bytes
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.ports import targets_of_text
from pgmux_apps.airflow.checker.prepared import NO_EXTRA, is_off_in_connection
from pgmux_apps.airflow.rules import DIRECT, PREPARED, Rule

NAME = ".env"

_LINE = re.compile(r"\s*(?:export\s+)?(AIRFLOW_CONN_\w+)\s*=\s*(['\"]?)(.*?)\2\s*$")
_IS_POSTGRES = re.compile(r'postgres(?:ql)?(?:\+\w+)?://|\{.*"conn_type"\s*:\s*"postgres"', re.I)


def check(folder: Path, policy: Policy, findings: Findings) -> None:
    """Judge the connections of the files, if there are any that can be read."""
    for path in (folder / NAME, folder.absolute().parent / NAME):
        try:
            text = read_bytes(path).decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        shown = path if path.parent == folder else folder / ".." / NAME
        for number, line in enumerate(text.split("\n"), 1):
            for rule, message in _wrong(line, policy):
                place = Place(number, 1)
                found = Finding(rule, shown.as_posix(), place, message, rule.advice, None, number)
                findings.add_unless(found, [line])


def _wrong(line: str, policy: Policy) -> Iterator[tuple[Rule, str]]:
    found = _LINE.match(line)
    if not found:
        return
    name, value = found[1], re.sub(r"\s+#\s*noqa.*$", "", found[3], flags=re.I)
    for target in targets_of_text(value, policy):
        if target.port in policy.direct_ports:
            yield DIRECT, f"{name} {target.text()}"
    is_asked = policy.max_prepared_statements == 0 and policy.airflow >= 3
    if is_asked and _IS_POSTGRES.match(value) and not is_off_in_connection(value):
        yield PREPARED, f"{name} is {NO_EXTRA}"
