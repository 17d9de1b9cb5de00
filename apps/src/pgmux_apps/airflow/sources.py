"""What the files say that live DAG objects come from: the checker's knowledge, for the policy.

A function of a task is found in its file by its code's first line, and judged there as the checker
judges it. Files are read again when they change; one that can't be read says nothing: Airflow has
just imported it, and says itself what is wrong with it.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from pgmux_apps.airflow.checker import at_import
from pgmux_apps.airflow.checker.finding import Finding, Findings
from pgmux_apps.airflow.checker.folder import Folder, Source
from pgmux_apps.airflow.checker.names import Names
from pgmux_apps.airflow.checker.objects import Kind, argument, text_of, thing_of
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.ports import PortRule
from pgmux_apps.airflow.checker.scopes import (
    Module,
    body_of,
    walk,
)
from pgmux_apps.airflow.checker.uses import find_use
from pgmux_apps.airflow.tasks import Use

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
DEFAULT_CONN_ID = "postgres_default"


@dataclass(slots=True)
class _Read:
    """A file as it was read: its module, or None, and what its tree has been asked."""

    changed_at: int
    module: Module | None
    findings: tuple[Finding, ...] | None = None
    task_lines: dict[str, int] | None = None
    uses: dict[tuple[int, str], tuple[Use, ...]] = field(default_factory=dict)


class Sources:
    """The files of one process's DAGs, read when something is asked about them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._read: dict[str, _Read] = {}

    def findings(self, file: str) -> tuple[Finding, ...]:
        """What the checker finds in a file beside its tasks: hooks at import, ports of servers."""
        read = self._file(file)
        if read.module is None:
            return ()
        if read.findings is None:
            found = Findings()
            at_import.check(read.module, found)
            PortRule(self._policy, found).check(read.module)
            read.findings = tuple(sorted(found.items, key=lambda each: each.place.line))
        return read.findings

    def task_line(self, file: str, task_id: str) -> int | None:
        """The line that a task is made at, where the file says it: `task_id="…"`, or `def`."""
        read = self._file(file)
        if read.module is None:
            return None
        if read.task_lines is None:
            read.task_lines = dict(_task_lines(read.module.document.tree))
        # in a task group the id is group.task
        return read.task_lines.get(task_id) or read.task_lines.get(task_id.rpartition(".")[2])

    def uses(self, function: Callable[..., Any]) -> tuple[Use, ...]:
        """What a function uses of PostgreSQL: the first use of all, and each hook of its own."""
        code = getattr(function, "__code__", None)
        if not isinstance(code, CodeType) or "postgres" not in self._policy.database_conn_types:
            return ()
        read = self._file(code.co_filename)
        if read.module is None:
            return ()
        key = code.co_firstlineno, code.co_name
        if key not in read.uses:
            read.uses[key] = tuple(_uses(read.module, code))
        return read.uses[key]

    def _file(self, file: str) -> _Read:
        try:
            changed_at = os.stat(file).st_mtime_ns
        except OSError:  # a zip file's member, a cell, <string>
            return _Read(0, None)
        read = self._read.get(file)
        if read is None or read.changed_at != changed_at:
            read = self._read[file] = _Read(changed_at, _module(Path(file)))
        return read


def _module(path: Path) -> Module | None:
    """The file's module among those that it can import from beside it."""
    root = _root_of(path)
    source = Source(path, str(path), root)
    try:
        return Names(Folder(root)).module(source)
    except (OSError, ValueError):
        return None


def _root_of(path: Path) -> Path:
    """The folder of sys.path that the file is in, which its own imports start from."""
    above = [Path(entry) for entry in sys.path if entry and path.is_relative_to(entry)]
    return max(above, key=lambda folder: len(folder.parts), default=path.parent)


def _task_lines(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in walk(tree.body):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "task_id" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value), node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
            yield node.name, node.lineno


def _uses(module: Module, code: CodeType) -> Iterator[Use]:
    node = _node_of(module, code)
    if node is None:
        return
    used = find_use(body_of(node), module.scope[node])
    if used is None:
        return
    inside = module.scope[node]
    place = f"{used.scope.module.source.path}:{used.node.lineno}"
    conn_id = _conn_id(used.node, used.scope)
    yield Use(f"uses the database ({used.text(inside)})", conn_id, is_database=True, place=place)
    for each in walk(body_of(node)):
        if isinstance(each, ast.Call) and each is not used.node:
            scope = module.scope[each]
            thing = thing_of(each, scope)
            if thing is not None and thing.kind is Kind.HOOK and (found := _conn_id(each, scope)):
                place = f"{module.source.path}:{each.lineno}"
                yield Use(f"uses the database ({thing.what})", found, is_database=True, place=place)


def _conn_id(node: ast.expr, scope: Any) -> str | None:
    """The connection that a call of a hook names, as far as it is a plain text."""
    thing = thing_of(node, scope)
    if thing is None or thing.kind is not Kind.HOOK or not isinstance(node, ast.Call):
        return None
    given = argument(node, 0, "postgres_conn_id", "conn_id")
    if given is None:
        return DEFAULT_CONN_ID
    text = text_of(given, scope)
    return text if text and text.isprintable() else None


def _node_of(
    module: Module, code: CodeType
) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    """The definition that a code object was compiled from."""
    for node in module.nodes():
        if not isinstance(node, _FUNCTIONS):
            continue
        lines = {node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))}
        if code.co_firstlineno in lines and getattr(node, "name", "<lambda>") == code.co_name:
            return node
    return None
